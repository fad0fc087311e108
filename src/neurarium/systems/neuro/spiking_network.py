r"""Spiking networks: neurons that hear of each other through spikes alone.

Every neuron has a voltage and a synaptic current. A spike that arrives over a connection adds its weight to the
current, which decays; the voltage leaks towards current and input; at the threshold the neuron fires, and its spike is
on its way to others. Two such networks stand here.

`SpikingNetwork` simulates given weights, dense or sparse, with delays. Excitation that inhibition just about cancels
(Brunel 2000) leaves each neuron to the fluctuations: under a constant drive, all fire as irregularly as by chance.

`SpikingReader` learns: an image is written as spike trains, the neurons, all connected to all, fire, and the spikes of
the last of them are counted. A spike has no gradient, so the weights are taught by a **surrogate** gradient (see
`parts.surrogate`) through time; the spikes that are sent and counted are true ones. The moment within a step at which a
refractory period ends is taken as it is, and no gradient goes through the reset.

Source: CS 479 §3.1.2, §3.2 (full LIF model: currents, voltages, s ← s + w/τ at a spike); Brunel 2000, §2.1; Neftci,
Mostafa & Zenke 2019, Surrogate gradient learning in spiking neural networks, §III–IV.
Differs: spikes arrive after one step or more, and spread their weight over the step in which they do.
Shapes: B batch, T time steps, N neurons, I inputs (pixels), D features, M maps. Units: s, Hz; voltage and current
without dimension (rest 0, threshold 1), weights in s (the current that 1 Hz makes).
"""

from collections.abc import Callable
from math import isfinite, prod, sqrt
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import one_hot

from neurarium.errors import InvalidValue, require
from neurarium.parts import spike_trains
from neurarium.parts.blocks import Blocks
from neurarium.parts.encoders import Encoded, Encoder
from neurarium.parts.simulation import Simulated
from neurarium.parts.spike_trains import latency_code, rate_code
from neurarium.parts.surrogate import Slope, fast_sigmoid, spike
from neurarium.parts.synapses import TAU, Exponential, exponential
from neurarium.parts.tuning import TAU_MEMBRANE, TAU_REFRACTORY
from neurarium.parts.wiring import Wiring
from neurarium.systems.neuro.lif import LIF, Factors, Stepped, exact_step
from neurarium.systems.neuro.lif import State as Membranes

DT = 0.001  # s, one step
WINDOW = 100  # steps over which a rate is taken when looking for a network that runs away
HALF = 0.5  # of the fastest rate; weights whose excitation is twice what keeps activity alive reach it
TYPICAL = 50.0  # Hz of a neuron inside the reader, to which recurrent weights are scaled
DRIVE, FEEDBACK, BIAS = 3.0, 0.5, 0.5  # input and recurrent weights and bias of an untrained reader, see its weights
VOTE = 0.2  # what a spike of an output neuron adds to its class

Code = Literal["rate", "latency"]
CODES: dict[str, Callable[..., Tensor]] = {"rate": rate_code, "latency": latency_code}

Fire = Callable[[Membranes, Float[Tensor, "B N"], Factors], Stepped]
"""One step of the membranes under a current."""


class State(NamedTuple):
    """Where a network stands between two steps.

    Attributes:
        membranes: voltages, and what is left of refractory periods.
        current: s, through the synapses.
        past: spikes of the last steps, the latest first, as many as the longest delay.
    """

    membranes: Membranes
    current: Float[Tensor, "B N"]
    past: tuple[Float[Tensor, "B N"], ...]


class Recording(NamedTuple):
    """A simulation: spikes (0 or 1) of each step, voltages and synaptic currents at its end, the state at the end."""

    spikes: Float[Tensor, "B T N"]
    voltage: Float[Tensor, "B T N"]
    current: Float[Tensor, "B T N"]
    state: State


def network_step(
    state: State,
    given: Float[Tensor, "B N"],
    *,
    fire: Fire,
    arriving: Callable[[tuple[Float[Tensor, "B N"], ...]], Float[Tensor, "B N"]],
    synapse: Exponential,
    factors: Factors,
) -> tuple[Float[Tensor, "B N"], State]:
    """One step of all neurons: their spikes and the state after it. `given` is a current from outside."""
    # τs ds/dt = −s, and s ← s + wⱼᵢ/τs where a spike of neuron j arrives
    current = synapse.spikes(state.current, arriving(state.past))
    # τm dv/dt = s + input − v; a spike and v ← 0 where v > 1
    spikes, membranes = fire(state.membranes, current + given, factors)
    return spikes, State(membranes, current, (spikes, *state.past[:-1]))


class SpikingNetwork(nn.Module):
    """Spikes of neurons with given connections.

    Args:
        weights: from neuron (row) to neuron (column) in s, dense or sparse.
        delays: in whole steps, of all connections or of each.
        dt: length of a step in s.
        tau_membrane: time constant of the leak in s.
        tau_refractory: silence after a spike in s.
        tau_synapse: time constant of the synaptic current in s.
        compiled: make 10 steps a call of `torch.compile` (dense weights), after some seconds at the first call.

    Raises:
        InvalidValue: unusable weights, delays or times, or sparse weights to be compiled.

    >>> chain = SpikingNetwork(torch.tensor([[0.0, 0.02], [0.0, 0.0]]), delays=3)  # the first excites the second
    >>> current = torch.tensor([2.0, 0.0]).expand(1, 200, 2)
    >>> chain(current).sum(1).tolist()
    [[12.0, 6.0]]
    """

    def __init__(
        self,
        weights: Float[Tensor, "N N"],
        *,
        delays: int | Int64[Tensor, "N N"] = 1,
        dt: float = DT,
        tau_membrane: float = TAU_MEMBRANE,
        tau_refractory: float = TAU_REFRACTORY,
        tau_synapse: float = TAU,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.wiring = Wiring(weights, delays=delays)
        sparse = self.wiring.weights.layout != torch.strided
        require(not (compiled and sparse), "compiled is True, but the weights are sparse; give weights.to_dense()")
        self.neurons, self.dt, self.tau_synapse = self.wiring.neurons, dt, tau_synapse
        self.neuron = LIF(neurons=self.neurons, dt=dt, tau_membrane=tau_membrane, tau_refractory=tau_refractory)
        self.synapse = exponential(dt, tau_synapse)
        self.factors = self.neuron.factors(weights.new_empty(0, layout=torch.strided))
        self.firing, self.recording = Blocks(self.step, compiled=compiled), Blocks(self.show, compiled=compiled)

    def forward(self, current: Float[Tensor, "B T N"], state: State | None = None) -> Float[Tensor, "B T N"]:
        """Spikes (0 or 1) under a current from outside, from rest or from a state.

        Raises:
            InvalidValue: the current is empty, not finite or of another number of neurons; or recurrent weights are
                unstable, so that the network runs away.
        """
        done = self._simulate(self.firing, current, state)
        self._check_calm(done.kept["shown"], done.state)
        return done.kept["shown"]

    def record(self, current: Float[Tensor, "B T N"], state: State | None = None) -> Recording:
        """Spikes, voltages and synaptic currents of every step.

        Raises:
            InvalidValue: as `forward` does.
        """
        done = self._simulate(self.recording, current, state)
        spikes, voltage, synaptic = done.kept["shown"].unbind(-1)
        self._check_calm(spikes, done.state)
        return Recording(spikes, voltage, synaptic, done.state)

    def step(self, state: State, given: Float[Tensor, "B N"]) -> tuple[Float[Tensor, "B N"], State]:
        """One step, a rule for `simulate`."""
        return network_step(
            state, given, fire=exact_step, arriving=self.wiring, synapse=self.synapse, factors=self.factors
        )

    def show(self, state: State, given: Float[Tensor, "B N"]) -> tuple[Float[Tensor, "B N 3"], State]:
        """One step that shows spikes, voltages and synaptic currents."""
        spikes, state = self.step(state, given)
        return torch.stack([spikes, state.membranes.voltage, state.current], dim=-1), state

    def rest(self, current: Float[Tensor, "B ..."]) -> State:
        """The state of a silent network, for currents (B, N) or (B, T, N) like this one."""
        membranes = self.neuron.rest(current)
        silent = torch.zeros_like(membranes.voltage)
        return State(membranes, silent, (silent,) * self.wiring.longest)

    def scattered(self, current: Float[Tensor, "B ..."], *, generator: torch.Generator) -> State:
        """The same with voltages anywhere between rest and threshold, so that neurons do not begin in step."""
        state = self.rest(current)
        voltage = torch.rand(state.current.shape, generator=generator).to(state.current)
        return state._replace(membranes=Membranes(voltage, state.membranes.hold))

    def _simulate(self, blocks: Blocks[State], current: Tensor, state: State | None) -> Simulated[State]:
        # How many neurons fire in a step is known to a compiled program only while it runs.
        with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
            return blocks.simulate(self._begin(current, state), current, keep=True, dt=self.dt)

    def _begin(self, current: Tensor, state: State | None) -> State:
        shape = tuple(current.shape)
        if current.ndim != 3 or shape[-1] != self.neurons:
            raise InvalidValue(f"the current is {shape}, but must be (batch, steps, {self.neurons} neurons)")
        require(current.numel() > 0, f"the current is {shape}: empty; give at least one step of one example")
        low, high = torch.aminmax(current)
        require(
            isfinite(low) and isfinite(high), "the current is NaN or infinite somewhere; every value must be finite"
        )
        state = self.rest(current) if state is None else state
        wanted, at = (shape[0], self.neurons), tuple(state.current.shape)
        require(at == wanted, f"the state is {at}, but this current needs {wanted}; see rest()")
        return state

    def _check_calm(self, spikes: Float[Tensor, "B T N"], state: State) -> None:
        rates = torch.stack([window.mean() for window in spikes.split(WINDOW, dim=1)]) / self.dt
        fastest = 1 / self.neuron.tau_refractory
        # Neurons that are driven hard from outside may fire as fast; then the current is not their own doing.
        if bool((rates > HALF * fastest).any()) and float(state.current.mean()) > 1:
            seconds = min(int((rates > HALF * fastest).int().argmax() + 1) * WINDOW, spikes.shape[1]) * self.dt
            told = f"the recurrent weights are unstable: by {seconds:g} s neurons fire at {float(rates.max()):.0f} Hz"
            limit = f"the refractory period allows no more than {fastest:g} Hz"
            remedy = "weaken excitation or strengthen inhibition"
            raise InvalidValue(f"{told}, driven by each other, and {limit}; {remedy}")


def surrogate_step(
    state: Membranes, current: Float[Tensor, "B N"], factors: Factors, *, slope: Slope = fast_sigmoid
) -> Stepped:
    """The step of `lif.exact_step`, value for value, with a surrogate gradient for current and voltage."""
    with torch.no_grad():
        after = exact_step(state, current, factors)
        # e^(−a/τm), a the part of the step outside the refractory period
        decay = state.hold.mul(factors.decay).clamp_(min=factors.floor, max=1)
    # v ← J + (v − J) e^(−a/τm)
    voltage = torch.lerp(current, state.voltage, decay)
    spikes = spike(voltage - factors.threshold, slope)
    # v ← 0 where fired
    return Stepped(spikes, Membranes(voltage * (1 - after.spikes), after.state.hold))


class SpikingReader(Encoder):
    """Spike counts of output neurons from images, in a network of neurons all connected to all.

    Args:
        shape: channels, height and width of the images.
        neurons: N, the outputs among them.
        outputs: how many of them, the last, are counted.
        code: how pixels are written as spikes: how many, or how soon.
        steps: T.
        dt: length of a step in s.

    Raises:
        InvalidValue: an unknown code, no step or neuron, or more outputs than neurons.

    >>> counts = SpikingReader(shape=(1, 8, 8), neurons=50, outputs=10)(torch.ones(2, 1, 8, 8))
    >>> counts.shape, bool((counts == counts.round()).all())
    (torch.Size([2, 10]), True)
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        neurons: int = 200,
        outputs: int = 100,
        code: Code = "rate",
        steps: int = 30,
        dt: float = DT,
    ) -> None:
        super().__init__(shape=shape, width=outputs)
        if code not in CODES:
            raise InvalidValue(f"code is '{code}', but must be one of {', '.join(CODES)}")
        require(steps >= 1, f"steps is {steps}, but must be at least 1")
        few = f"neurons is {neurons}, but must be at least the {outputs} outputs among them"
        require(neurons >= outputs, few)
        self.neurons, self.code, self.steps = neurons, code, steps
        self.neuron, self.synapse = LIF(neurons=neurons, dt=dt), exponential(dt)
        inputs = prod(shape)
        self.input_weights = nn.Parameter(DRIVE / sqrt(inputs) * torch.randn(inputs, neurons))
        self.weights = nn.Parameter(FEEDBACK / sqrt(neurons) * torch.randn(neurons, neurons))
        self.bias = nn.Parameter(torch.full((neurons,), BIAS))
        most = {"rate": spike_trains.OFTEN, "latency": 1 / steps}[code]  # spikes a step of a white pixel
        # So that a weight of 1 makes a current of about 1: of a white pixel, of a neuron that fires as most do.
        self.input_scale, self.scale = dt / most, 1 / TYPICAL

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """How often each output neuron fired; as maps, the counts of all neurons."""
        counts = self.fire(images).sum(1)
        return Encoded(counts[:, -self.width :], counts[:, :, None, None])

    def write(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T I"]:
        """The spike trains that an image is turned into.

        Raises:
            InvalidValue: a pixel is not finite.
        """
        if not torch.compiler.is_compiling():  # nor exporting, where no value is known
            finite = bool(images.isfinite().all())
            require(finite, "a pixel is NaN or infinite, and no spikes can be made of it; every pixel must be finite")
        return CODES[self.code](images.flatten(1), steps=self.steps)

    def fire(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T N"]:
        """The spikes of all neurons; under autograd they carry a surrogate gradient."""
        arriving = self.write(images) @ (self.input_scale * self.input_weights)
        weights, factors = self.scale * self.weights, self.neuron.factors(arriving)
        fire = surrogate_step if torch.is_grad_enabled() else exact_step
        silent = torch.zeros_like(arriving[:, 0])
        bias = self.bias.expand_as(silent)
        state, trains = State(Membranes(silent, torch.ones_like(silent)), silent, (silent,)), []
        for entering in arriving.unbind(1):

            def arrive(past: tuple[Tensor, ...], entering: Tensor = entering) -> Tensor:
                # Σⱼ wⱼᵢ aⱼ of the inputs and of the neurons themselves
                return torch.addmm(entering, past[0], weights)

            spikes, state = network_step(state, bias, fire=fire, arriving=arrive, synapse=self.synapse, factors=factors)
            trains.append(spikes)
        return torch.stack(trains, dim=1)


def let_vote(head: nn.Linear) -> None:
    """Make a layer of logits count votes: each output neuron's spikes are for one class, and nothing is learned there.

    >>> head = nn.Linear(4, 2)
    >>> let_vote(head)
    >>> (head(torch.tensor([[3.0, 0.0, 2.0, 1.0]])) / VOTE).round().tolist()  # 3 + 2 spikes against 0 + 1
    [[5.0, 1.0]]
    """
    classes, outputs = head.weight.shape
    require(outputs >= classes, f"{outputs} output neurons cannot vote for {classes} classes; take at least one each")
    with torch.no_grad():
        head.weight.copy_(VOTE * one_hot(torch.arange(outputs) % classes, classes).T)
        head.bias.zero_()
    head.requires_grad_(False)
