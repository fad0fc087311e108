r"""Temporal convolutional network: sequences without recurrence, by causal convolutions that look ever further back.

A convolution over time whose window ends at the present step never sees the future. One of width K sees K steps; let
its taps lie d steps apart, and double d from block to block, and a few layers see thousands: how far is a formula, not
something to be learned. All steps are computed at once, and gradients reach a distant input in as many hops as there
are layers. The memory is the window: what lies before it is as if it had never been.

Source: NYU NN II, 2D convolution (here in one dimension); Bai, Kolter & Koltun 2018, An empirical evaluation of generic
convolutional and recurrent networks for sequence modeling, §3.1 (causal), §3.2 (dilated), §3.3 and fig. 1b (residual
block).
Differs: no dropout. The inputs a window reaches back to may be given as a state, so that a sequence can be continued,
or read step by step. Where only the last output is wanted, no more is computed than it sees.
Shapes: B batch, T time steps, I inputs, C, D channels, O outputs, R steps that a convolution reaches back, (K − 1) d,
G places of a grid: every so many steps, counted from the last.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad, relu

from neurarium.errors import InvalidValue, require

Past = tuple[Tensor, ...]
"""The last inputs (B, C, R) of each convolution."""

CONVOLUTIONS = 2  # of a block, fig. 1b


def receptive_field(*, kernel: int, dilations: list[int]) -> int:
    """Steps that an output depends on: itself and those before.

    Args:
        kernel: width K of every convolution.
        dilations: d of each block, which has two convolutions.

    Raises:
        InvalidValue: a width or dilation below 1.

    >>> receptive_field(kernel=3, dilations=[1, 2, 4])
    29
    """
    check_window(kernel, dilations)
    # r = 1 + 2 (K − 1) Σ d
    return 1 + CONVOLUTIONS * (kernel - 1) * sum(dilations)


def doubling(steps: int, *, kernel: int) -> list[int]:
    """Dilations 1, 2, 4, ... of as few blocks as see that many steps.

    Raises:
        InvalidValue: fewer than 1 step, or a kernel that sees one step only.

    >>> doubling(200, kernel=5), receptive_field(kernel=5, dilations=doubling(200, kernel=5))
    ([1, 2, 4, 8, 16], 249)
    """
    require(steps >= 1, f"a window of {steps} steps was asked for, but it must have at least 1")
    require(kernel >= 2, f"the kernel is {kernel} wide; only from 2 on does it look back")
    dilations = [1]
    while receptive_field(kernel=kernel, dilations=dilations) < steps:
        dilations.append(2 * dilations[-1])
    return dilations


def check_window(kernel: int, dilations: list[int]) -> None:
    """Refuse windows that see nothing.

    Raises:
        InvalidValue: a width or dilation below 1, or no block.
    """
    require(kernel >= 1, f"the kernel is {kernel} wide; it needs at least 1")
    require(bool(dilations), "there are no dilations; give one for each block")
    require(min(dilations) >= 1, f"the dilations are {dilations}; each must be at least 1")


class CausalConvolution(nn.Module):
    """A convolution whose taps are the present step and every d-th before it.

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        kernel: number of taps K.
        dilation: steps d from tap to tap.

    Raises:
        InvalidValue: a width or dilation below 1, inputs of another width, or a past of another shape.

    >>> convolution = CausalConvolution(channels_in=2, channels=3, kernel=4, dilation=5)
    >>> values, past = convolution(torch.zeros(1, 2, 7))
    >>> values.shape, past.shape  # as many steps as came in; 15 are kept, to go on from
    (torch.Size([1, 3, 7]), torch.Size([1, 2, 15]))
    """

    def __init__(self, *, channels_in: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        require(min(channels_in, channels) >= 1, f"the channels are {channels_in} and {channels}; give at least 1")
        check_window(kernel, [dilation])
        self.dilation = dilation
        self.reach = (kernel - 1) * dilation
        direction = nn.init.kaiming_normal_(torch.empty(channels, channels_in, kernel), nonlinearity="relu")
        self.direction = nn.Parameter(direction)
        self.gain = nn.Parameter(direction.flatten(1).norm(dim=1))
        self.bias = nn.Parameter(torch.zeros(channels))

    @property
    def weight(self) -> Float[Tensor, "D C K"]:
        """The taps, length and direction of each channel's apart (weight normalisation)."""
        # W = g V/‖V‖
        norm = self.direction.flatten(1).norm(dim=1)
        return self.direction * (self.gain / norm)[:, None, None]

    def forward(
        self, inputs: Float[Tensor, "B C T"], past: Float[Tensor, "B C R"] | None = None
    ) -> tuple[Float[Tensor, "B D T"], Float[Tensor, "B C R"]]:
        """The output at every step, and the inputs that the steps to come will look back on."""
        self._check_width(inputs)
        seen = torch.cat([self.before(inputs, past), inputs], dim=2)
        # y_t = c + Σ_k W_k x_{t − d (K − 1 − k)}
        outputs = conv1d(seen, self.weight, self.bias, dilation=self.dilation)
        return outputs, seen[:, :, seen.shape[2] - self.reach :]

    def before(self, inputs: Float[Tensor, "B C T"], past: Float[Tensor, "B C R"] | None) -> Float[Tensor, "B C R"]:
        """What came before the first step: the past given if it fits, else zeros."""
        wanted = (*inputs.shape[:2], self.reach)
        if past is None:
            return inputs.new_zeros(wanted)
        if past.shape != wanted:
            raise InvalidValue(f"the past to go on from is {tuple(past.shape)}, but these sequences need {wanted}")
        return past

    def on_grid(self, inputs: Float[Tensor, "B C G"], every: int) -> Float[Tensor, "B D H"]:
        """The output at every so many places, the last among them, from inputs that lie d steps apart."""
        self._check_width(inputs)
        # On a grid of d steps the taps are neighbours.
        seen = pad(inputs, (self.direction.shape[2] - 1, 0))
        return conv1d(seen[:, :, (inputs.shape[2] - 1) % every :], self.weight, self.bias, stride=every)

    def _check_width(self, inputs: Tensor) -> None:
        if inputs.shape[1] != self.direction.shape[1]:
            raise InvalidValue(
                f"the inputs are {inputs.shape[1]} wide, but this convolution was built for {self.direction.shape[1]}"
            )


class TemporalBlock(nn.Module):
    """Two causal convolutions, and the input added to what they found.

    Args:
        channels_in: channels of the input; if they differ from `channels`, a convolution of width 1 fits the input.
        channels: channels C of both convolutions.
        kernel: number of taps K.
        dilation: steps d from tap to tap.

    Raises:
        InvalidValue: a width or dilation below 1, or a past of another shape.
    """

    def __init__(self, *, channels_in: int, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.first = CausalConvolution(channels_in=channels_in, channels=channels, kernel=kernel, dilation=dilation)
        self.second = CausalConvolution(channels_in=channels, channels=channels, kernel=kernel, dilation=dilation)
        self.fitted = nn.Identity() if channels_in == channels else nn.Conv1d(channels_in, channels, 1)

    def forward(
        self, inputs: Float[Tensor, "B C T"], pasts: tuple[Tensor | None, Tensor | None] = (None, None)
    ) -> tuple[Float[Tensor, "B D T"], tuple[Tensor, Tensor]]:
        """The sum at every step, and both convolutions' last inputs."""
        hidden, first = self.first(inputs, pasts[0])
        hidden, second = self.second(relu(hidden), pasts[1])
        # y = relu(x + F(x))
        return relu(self.fitted(inputs) + relu(hidden)), (first, second)

    def on_grid(self, inputs: Float[Tensor, "B C G"], every: int) -> Float[Tensor, "B D H"]:
        """The sum at every so many places, the last among them, from inputs that lie d steps apart."""
        hidden = self.second.on_grid(relu(self.first.on_grid(inputs, 1)), every)
        return relu(self.fitted(thinned(inputs, every)) + relu(hidden))


def thinned(values: Float[Tensor, "B C G"], every: int) -> Float[Tensor, "B C H"]:
    """Every so many places, the last among them.

    >>> thinned(torch.arange(6.0).reshape(1, 1, 6), 4).flatten().tolist()
    [1.0, 5.0]
    """
    return values[:, :, (values.shape[2] - 1) % every :: every]


class TemporalConvolution(nn.Module):
    """Outputs at every step, from the inputs in a window that ends there.

    Args:
        inputs: width I of a step's input.
        channels: channels C of every block.
        outputs: width O of a step's output.
        kernel: number of taps K of every convolution.
        dilations: steps from tap to tap in each block; `doubling` gives those for a wanted window.
        last_only: compute the last step's output alone, and give zeros for the others and an empty past. A block is
            then computed at no more steps than those above it look at, for which each dilation must be a multiple of
            the one before.

    Raises:
        InvalidValue: a width or dilation below 1, no block, dilations that do not suit `last_only`, inputs of another
            width, a past that does not fit, or sequences without steps.

    >>> net = TemporalConvolution(inputs=2, channels=8, outputs=1, kernel=3, dilations=[1, 2, 4])
    >>> outputs, past = net(torch.zeros(4, 50, 2))
    >>> outputs.shape, len(past), net.receptive_field
    (torch.Size([4, 50, 1]), 6, 29)
    >>> later, _ = net(torch.zeros(4, 1, 2), past)  # the same sequences, a step further
    """

    def __init__(
        self,
        *,
        inputs: int,
        channels: int,
        outputs: int,
        kernel: int,
        dilations: list[int],
        last_only: bool = False,
    ) -> None:
        super().__init__()
        require(outputs >= 1, f"outputs is {outputs}; a network needs at least 1")
        nested = all(later % earlier == 0 for earlier, later in pairwise(dilations))
        require(nested or not last_only, f"the dilations are {dilations}; for last_only each must divide the next")
        self.kernel = kernel
        self.dilations = list(dilations)
        self.last_only = last_only
        self.receptive_field = receptive_field(kernel=kernel, dilations=dilations)
        widths = [inputs, *[channels] * (len(dilations) - 1)]
        self.blocks = nn.ModuleList(
            TemporalBlock(channels_in=width, channels=channels, kernel=kernel, dilation=dilation)
            for width, dilation in zip(widths, dilations, strict=True)
        )
        self.readout = nn.Linear(channels, outputs)

    def forward(self, inputs: Float[Tensor, "B T I"], past: Past | None = None) -> tuple[Float[Tensor, "B T O"], Past]:
        """Outputs of every step, and what the steps to come will look back on."""
        require(inputs.shape[1] >= 1, "the sequences have no steps; give at least one")
        if self.last_only:
            require(past is None, "with last_only there is no past to go on from; build the network without it")
            return pad(self.last(inputs).unsqueeze(1), (0, 0, inputs.shape[1] - 1, 0)), ()
        count = CONVOLUTIONS * len(self.blocks)
        given: tuple[Tensor | None, ...] = past if past is not None else (None,) * count
        require(len(given) == count, f"the past has {len(given)} parts, but there are {count} convolutions")
        hidden, kept = inputs.transpose(1, 2), list[Tensor]()
        for place, block in enumerate(self.blocks):
            hidden, pair = block(hidden, given[CONVOLUTIONS * place : CONVOLUTIONS * (place + 1)])
            kept += pair
        return self.readout(hidden.transpose(1, 2)), tuple(kept)

    def last(self, inputs: Float[Tensor, "B T I"]) -> Float[Tensor, "B O"]:
        """The output of the last step; each block is computed where the next one looks, and nowhere else."""
        hidden, steps = inputs.transpose(1, 2), inputs.shape[1]
        hidden = thinned(hidden, self.dilations[0])
        # From a grid of d steps to one of d' steps every d'/d-th place is kept; in the end the last place alone.
        strides = [later // earlier for earlier, later in pairwise(self.dilations)]
        for block, every in zip(self.blocks, [*strides, steps], strict=True):
            assert isinstance(block, TemporalBlock)
            hidden = block.on_grid(hidden, every)
        answers: Tensor = self.readout(hidden[:, :, -1])
        return answers
