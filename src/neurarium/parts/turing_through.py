r"""A controller and its addressed memory, all steps in one call, with the backward pass written out.

A step is some fifty operations on small tensors, and for each autograd makes a node and keeps its operands. Here the
loop forward writes into tensors of all steps, and the loop backward is the chain rule by hand: fewer operations, larger
where they can be, and the weights' gradients taken once for all steps. The memory lies with its rows last (B W N), so
that what is the same for a whole row or a whole column runs along contiguous numbers.

Source: Graves, Wayne & Danihelka 2014, Neural Turing Machines, eq. 2–9; `addressing` has them to be read, and is the
oracle of this file. d_x stands for the gradient of the loss by x.
Shapes: as in `turing`; T steps, G sums of the controller (4C of an LSTM, C of a feed-forward layer).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurarium.parts.addressing import LEAST_SQUARE, LEAST_WEIGHT
from neurarium.parts.turing import Sizes

Steps = tuple[Tensor, ...]
"""A tensor of all steps, as a view of each: cheaper than to index it in the loop."""

State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Features (B F), the LSTM's cells (B C), addresses (B H N) and memory (B N W)."""


def through(
    sizes: Sizes,
    projected: Float[Tensor, "T B G"],
    state: State,
    recurrent: Float[Tensor, "A G"],
    emit: Float[Tensor, "C P"],
    bias: Float[Tensor, " P"],
) -> tuple[Float[Tensor, "T B F"], State]:
    """All steps.

    Args:
        sizes: of controller, heads and memory.
        projected: what the inputs add to the controller's sums; an LSTM's are output, input, forget and candidate.
        state: before the first step.
        recurrent: from the features that the controller sees again to its sums.
        emit: from the controller's units to what the heads are told.
        bias: of that.

    Returns:
        The features of every step, and the state after the last.
    """
    features, *rest = Through.apply(sizes, projected.to(emit.dtype), *state, recurrent, emit, bias)  # type: ignore[no-untyped-call]
    return features, (features[-1], *rest)


class Layer:
    """A feed-forward controller: forward and backward of a step, given its sums."""

    def __init__(self, units: Float[Tensor, "T B C"], cell: Float[Tensor, "B C"]) -> None:
        self.units, self.cell, self.d_cell = units, cell, cell
        self.out = units.unbind(0)

    def step(self, t: int, sums: Tensor) -> None:
        """Units: h = tanh(sums)."""
        torch.tanh(sums, out=self.out[t])

    def turn(self, d_cell: Tensor, d_sums: Tensor) -> None:
        """From here on backward."""
        self.d_cell = d_cell
        self.slope, self.d_sums = (1 - self.units.square()).unbind(0), d_sums.unbind(0)

    def back(self, t: int, d_units: Tensor) -> None:
        """From the units to the sums."""
        torch.mul(d_units, self.slope[t], out=self.d_sums[t])


class LSTM:
    """An LSTM as controller: forward and backward of a step, given its sums in the order o, i, f, g."""

    def __init__(self, units: Float[Tensor, "T B C"], cell: Float[Tensor, "B C"]) -> None:
        steps, batch, width = units.shape
        self.gates = units.new_empty(steps, batch, 4 * width)
        self.cells = torch.cat([cell.unsqueeze(0), torch.empty_like(units)])
        self.squashed = torch.empty_like(units)
        self.out, self.tanh, self.c = units.unbind(0), self.squashed.unbind(0), self.cells.unbind(0)
        self.widths = [3 * width, width]
        self.oif = self.gates[..., : 3 * width].unbind(0)
        self.o, self.i, self.f, self.g = (gate.unbind(0) for gate in self.gates.chunk(4, dim=2))

    @property
    def cell(self) -> Tensor:
        """After the last step."""
        return self.cells[-1].clone()

    def step(self, t: int, sums: Tensor) -> None:
        """Cells and units: c = f c + i g, h = o tanh(c)."""
        gates, candidate = sums.split(self.widths, dim=1)
        torch.sigmoid(gates, out=self.oif[t])
        torch.tanh(candidate, out=self.g[t])
        torch.addcmul(self.i[t] * self.g[t], self.f[t], self.c[t], out=self.c[t + 1])
        torch.tanh(self.c[t + 1], out=self.tanh[t])
        torch.mul(self.o[t], self.tanh[t], out=self.out[t])

    def turn(self, d_cell: Tensor, d_sums: Tensor) -> None:
        """From here on backward; slopes are taken for all steps at once."""
        o, i, f, g = self.gates.chunk(4, dim=2)
        self.d_cell = d_cell
        self.cell_slope = (o * (1 - self.squashed.square())).unbind(0)
        self.o_slope = (self.squashed * o * (1 - o)).unbind(0)
        ifg_slope = [g * i * (1 - i), self.cells[:-1] * f * (1 - f), i * (1 - g.square())]
        self.ifg_slope = torch.stack(ifg_slope, dim=2).unbind(0)
        split = d_sums.unflatten(2, (4, -1))
        self.d_o, self.d_ifg = split[:, :, 0].unbind(0), split[:, :, 1:].unbind(0)

    def back(self, t: int, d_units: Tensor) -> None:
        """From the units and the cells to the sums and the cells before."""
        d_cell = torch.addcmul(self.d_cell, d_units, self.cell_slope[t])
        torch.mul(self.o_slope[t], d_units, out=self.d_o[t])
        torch.mul(self.ifg_slope[t], d_cell.unsqueeze(1), out=self.d_ifg[t])
        self.d_cell = d_cell * self.f[t]


class Circle:
    """Addresses with their last rows before the first and the first behind the last, so that shifts are slices."""

    def __init__(self, circle: Float[Tensor, "T B H M"], reach: int) -> None:
        rows = circle.shape[3] - 2 * reach
        self.reach = reach
        self.middle = circle[..., reach : reach + rows].unbind(0)
        self.before, self.last = circle[..., :reach].unbind(0), circle[..., rows : rows + reach].unbind(0)
        self.behind, self.first = circle[..., reach + rows :].unbind(0), circle[..., reach : 2 * reach].unbind(0)
        self.windows = [step.unbind(2) for step in circle.unfold(3, rows, 1).unbind(0)]

    def close(self, t: int) -> None:
        """Once the middle is filled."""
        if self.reach:
            self.before[t].copy_(self.last[t])
            self.behind[t].copy_(self.first[t])

    def add_up(self, t: int, weights: Steps, *, turned: bool) -> Tensor:
        """Windows weighted by shifts, the last window the first shift's; turned, as the gradient flows, the first."""
        windows = self.windows[t] if turned else self.windows[t][::-1]
        total = windows[0] * weights[0]
        for window, weight in zip(windows[1:], weights[1:], strict=True):
            total.addcmul_(window, weight)
        return total


class Forward:
    """The loop forward, and what it leaves."""

    def __init__(self, sizes: Sizes, projected: Tensor, state: State) -> None:
        first, cell, self.address, memory = state
        self.sizes, self.memory = sizes, memory.transpose(1, 2).contiguous()
        steps, batch, heads, split = *projected.shape[:2], sizes.heads, (sizes.writing, sizes.width)

        def room(*shape: int) -> Tensor:
            return projected.new_empty(steps, batch, *shape)

        self.features = torch.cat([first.unsqueeze(0), room(sizes.features)])
        self.seen = self.features[..., sizes.again].unbind(0)
        units, reads = self.features[1:].split([sizes.controller, sizes.reading * sizes.width], dim=2)
        self.units, self.reads = units.unbind(0), reads.unflatten(2, (sizes.reading, -1)).unbind(0)
        self.control = (LSTM if sizes.lstm else Layer)(units, cell)
        # As emitted, and in range (shifts, positive numbers, fractions).
        self.emitted = room(sizes.emitted)
        self.all_keys, shifts, positive, fractions, self.all_add = self.emitted.split(sizes.parts, dim=2)
        self.all_keys, self.all_add = self.all_keys.unflatten(2, (heads, -1)), self.all_add.unflatten(2, split)
        self.told, self.zero = self.emitted.unbind(0), projected.new_zeros(())
        self.raw = (shifts.unflatten(2, (heads, -1)).unbind(0), positive.unbind(0), fractions.unbind(0))
        self.all_shifts, self.all_positive, self.all_fractions = (
            room(heads, sizes.shifts),
            torch.empty_like(positive),
            torch.empty_like(fractions),
        )
        self.ranged = tuple(part.unbind(0) for part in (self.all_shifts, self.all_positive, self.all_fractions))
        self.all_strength, power = self.all_positive.unflatten(2, (2, heads, 1)).unbind(2)
        self.keys, self.strength, self.power = self.all_keys.unbind(0), self.all_strength.unbind(0), power.unbind(0)
        self.shifts = [step.unsqueeze(3).unbind(2) for step in self.ranged[0]]
        self.gate = self.all_fractions[..., :heads].unsqueeze(3).unbind(0)
        self.erase = [step.unflatten(1, (*split, 1)).unbind(1) for step in self.all_fractions[..., heads:].unbind(0)]
        self.add = self.all_add.transpose(2, 3).unbind(0)
        self.circle = Circle(room(heads, sizes.rows + sizes.shifts - 1), sizes.shifts // 2)
        self.found: list[Steps] = []
        self.erased: list[list[Tensor]] = []

    def run(self, projected: Tensor, recurrent: Tensor, emit: Tensor, bias: Tensor) -> None:
        """All steps."""
        for t, ahead in enumerate(projected.unbind(0)):
            self.control.step(t, torch.addmm(ahead, self.seen[t], recurrent))
            torch.addmm(bias, self.units[t], emit, out=self.told[t])
            torch.softmax(self.raw[0][t], dim=2, out=self.ranged[0][t])
            # softplus(x) = log(eˣ + e⁰)
            torch.logaddexp(self.raw[1][t], self.zero, out=self.ranged[1][t])
            torch.sigmoid(self.raw[2][t], out=self.ranged[2][t])
            self.look(t)
            self.touch(t)

    def look(self, t: int) -> None:
        """Addresses: content, interpolation, shift, sharpening."""
        key, memory, before = self.keys[t], self.memory, self.address
        row_scale = (memory * memory).sum(1, keepdim=True).add_(LEAST_SQUARE).rsqrt_()
        query = (key * key).sum(2, keepdim=True).add_(LEAST_SQUARE).rsqrt_().mul_(self.strength[t]) * key
        scores = torch.bmm(query, memory).mul_(row_scale)
        content = torch.softmax(scores, dim=2)
        torch.lerp(before, content, self.gate[t], out=self.circle.middle[t])
        self.circle.close(t)
        shifted = self.circle.add_up(t, self.shifts[t], turned=False).add_(LEAST_WEIGHT)
        logs = torch.log(shifted)
        # γ = 1 + power
        self.address = torch.softmax(torch.addcmul(logs, logs, self.power[t]), dim=2)
        self.found.append((row_scale, scores, content, before, shifted, logs, self.address))

    def touch(self, t: int) -> None:
        """Read, then erase head by head, then add."""
        reading, writing = self.address.split([self.sizes.reading, self.sizes.writing], dim=1)
        torch.bmm(reading, self.memory.transpose(1, 2), out=self.reads[t])
        erased, memory = [], self.memory
        for where, what in zip(writing.unsqueeze(2).unbind(1), self.erase[t], strict=True):
            erased.append(memory)
            memory = torch.addcmul(memory, where, what * memory, value=-1)
        self.memory = memory.baddbmm_(self.add[t], writing)
        self.erased.append(erased)


class Backward:
    """The loop backward."""

    def __init__(self, done: Forward, d_features: Tensor, d_cell: Tensor, d_address: Tensor, d_memory: Tensor) -> None:
        self.done, self.sizes = done, done.sizes
        sizes, heads, split = done.sizes, done.sizes.heads, (done.sizes.writing, done.sizes.width)
        self.d_address, self.d_memory = d_address, d_memory.transpose(1, 2).contiguous()
        self.d_features = torch.cat([torch.zeros_like(d_features[:1]), d_features])
        units, reads = self.d_features[1:].split([sizes.controller, sizes.reading * sizes.width], dim=2)
        self.d_seen, self.d_units = self.d_features[..., sizes.again].unbind(0), units.unbind(0)
        self.d_reads = reads.unflatten(2, (sizes.reading, -1)).unbind(0)
        self.d_sums = d_features.new_empty(*units.shape[:2], (4 if sizes.lstm else 1) * sizes.controller)
        done.control.turn(d_cell, self.d_sums)
        self.d_emitted = torch.empty_like(done.emitted)
        keys, shifts, positive, fractions, add = self.d_emitted.split(sizes.parts, dim=2)
        self.d_told = self.d_emitted.unbind(0)
        self.d_keys, self.d_shifts = (part.unflatten(2, (heads, -1)).unbind(0) for part in (keys, shifts))
        self.d_strength, self.d_power = (part.unbind(0) for part in positive.unflatten(2, (2, heads, 1)).unbind(2))
        self.d_gate, self.d_add = fractions[..., :heads].unbind(0), add.unflatten(2, split).unbind(0)
        self.d_erase = [step.unflatten(1, (*split, 1)).unbind(1) for step in fractions[..., heads:].unbind(0)]
        self.slopes = self.ranges().unbind(0)
        key_scale = torch.rsqrt(done.all_keys.square().sum(3, keepdim=True) + LEAST_SQUARE)
        self.unit_keys, self.key_slope = (
            (done.all_keys * key_scale).unbind(0),
            (key_scale * done.all_strength).unbind(0),
        )
        self.queries = (done.all_keys * key_scale * done.all_strength).transpose(2, 3).unbind(0)
        self.circle = Circle(
            done.features.new_empty(1, *done.circle.middle[0].shape[:2], sizes.rows + sizes.shifts - 1),
            sizes.shifts // 2,
        )

    def ranges(self) -> Tensor:
        """The slopes of what brought the emitted numbers into range, elementwise; 1 where there is none."""
        slopes = torch.ones_like(self.done.emitted)
        _, _, positive, fractions, _ = slopes.split(self.sizes.parts, dim=2)
        # softplus' = 1 − exp(−softplus), σ' = σ (1 − σ)
        torch.neg(torch.expm1(-self.done.all_positive), out=positive)
        torch.mul(self.done.all_fractions, 1 - self.done.all_fractions, out=fractions)
        return slopes

    def run(self, recurrent: Tensor, emit: Tensor) -> None:
        """All steps, the last first."""
        for t in reversed(range(len(self.d_told))):
            self.look(t, self.touch(t))
            self.d_told[t].mul_(self.slopes[t])
            self.d_units[t].addmm_(self.d_told[t], emit.t())
            self.done.control.back(t, self.d_units[t])
            self.d_seen[t].addmm_(self.d_sums[t], recurrent.t())

    def touch(self, t: int) -> Tensor:
        """From the memory and what was read to the addresses, which are returned, and to erase and add."""
        address, erased = self.done.found[t][-1], self.done.erased[t]
        reading, writing = address.split([self.sizes.reading, self.sizes.writing], dim=1)
        torch.bmm(writing, self.d_memory.transpose(1, 2), out=self.d_add[t])
        d_writing = torch.bmm(self.done.all_add[t], self.d_memory)
        wheres, d_wheres = writing.unsqueeze(2).unbind(1), d_writing.unsqueeze(2).unbind(1)
        for head in reversed(range(self.sizes.writing)):
            d_lost = self.done.erase[t][head] * self.d_memory
            d_wheres[head].sub_((d_lost * erased[head]).sum(1, keepdim=True))
            d_what = torch.bmm(self.d_memory * erased[head], wheres[head].transpose(1, 2))
            torch.neg(d_what, out=self.d_erase[t][head])
            self.d_memory = torch.addcmul(self.d_memory, wheres[head], d_lost, value=-1)
        d_reading = torch.bmm(self.d_reads[t], erased[0])
        self.d_memory.baddbmm_(self.d_reads[t].transpose(1, 2), reading)
        return torch.cat([d_reading, d_writing], dim=1).add_(self.d_address)

    def look(self, t: int, d_address: Tensor) -> None:
        """From the addresses to those before, to the memory, and to what the heads were told."""
        row_scale, scores, content, before, shifted, logs, address = self.done.found[t]
        d_scores = softmax_back(d_address, address)
        torch.sum(d_scores * logs, dim=2, keepdim=True, out=self.d_power[t])
        torch.div(torch.addcmul(d_scores, d_scores, self.done.power[t]), shifted, out=self.circle.middle[0])
        self.circle.close(0)
        windows = self.done.circle.windows[t][::-1]
        d_shifts = torch.stack([(window * self.circle.middle[0]).sum(2) for window in windows], dim=2)
        self.d_shifts[t].copy_(softmax_back(d_shifts, self.done.ranged[0][t]))
        d_blended = self.circle.add_up(0, self.done.shifts[t], turned=True)
        torch.sum(d_blended * (content - before), dim=2, out=self.d_gate[t])
        d_content = d_blended * self.done.gate[t]
        self.d_address = d_blended.sub_(d_content)
        d_scores = softmax_back(d_content, content)
        pull = (d_scores * scores).sum(1, keepdim=True).mul_(row_scale).mul_(row_scale)
        d_products = d_scores.mul_(row_scale)
        d_query = torch.bmm(d_products, self.done.erased[t][0].transpose(1, 2))
        d_strength = torch.sum(d_query * self.unit_keys[t], dim=2, keepdim=True, out=self.d_strength[t])
        # Of a key only what is across it counts, for its length does not.
        torch.mul(d_query.addcmul_(self.unit_keys[t], d_strength, value=-1), self.key_slope[t], out=self.d_keys[t])
        self.d_memory.baddbmm_(self.queries[t], d_products).addcmul_(self.done.erased[t][0], pull, value=-1)


def softmax_back(gradient: Tensor, values: Tensor) -> Tensor:
    """Through a softmax over the last dimension, in one operation."""
    return torch._softmax_backward_data(gradient, values, -1, values.dtype)


class Through(torch.autograd.Function):
    """`through`, as autograd sees it."""

    @staticmethod
    def forward(ctx: Any, sizes: Sizes, projected: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        features, cell, address, memory, recurrent, emit, bias = rest
        ctx.done = Forward(sizes, projected, (features, cell, address, memory))
        ctx.save_for_backward(recurrent, emit)
        with torch.autocast(projected.device.type, enabled=False):
            ctx.done.run(projected, recurrent, emit, bias)
        memory = ctx.done.memory.transpose(1, 2).contiguous()
        return ctx.done.features[1:].clone(), ctx.done.control.cell.clone(), ctx.done.address.clone(), memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        recurrent, emit = ctx.saved_tensors
        back, features, sizes = Backward(ctx.done, *gradients), ctx.done.features, ctx.done.sizes
        with torch.autocast(emit.device.type, enabled=False):
            back.run(recurrent, emit)
            sums, told = back.d_sums.flatten(0, 1), back.d_emitted.flatten(0, 1)
            d_recurrent = features[:-1, :, sizes.again].flatten(0, 1).t() @ sums
            d_emit = features[1:, :, : sizes.controller].flatten(0, 1).t() @ told
        d_state = (back.d_features[0], ctx.done.control.d_cell, back.d_address, back.d_memory.transpose(1, 2))
        return None, back.d_sums, *d_state, d_recurrent, d_emit, told.sum(0)
