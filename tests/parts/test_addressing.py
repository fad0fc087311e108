"""Addressing: each equation against its plain reading, and the notes' example."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from neurarium.errors import InvalidValue
from neurarium.parts.addressing import by_content, interpolate, read, sharpen, shift, similarity, write

NOTES = torch.tensor([[[3.0, 1.0, 4.0, 1.0], [5.0, 9.0, 9.0, 7.0], [2.0, 7.0, 2.0, 8.0]]])


def addresses(seed: int, *, heads: int, rows: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(2, heads, rows, generator=chance, dtype=torch.double), dim=2)


def test_the_notes_second_row_is_read() -> None:
    assert read(NOTES, torch.tensor([[[0.0, 1.0, 0.0]]])).flatten().tolist() == [5, 9, 9, 7]


def test_half_of_two_rows_reads_their_mean() -> None:
    assert torch.equal(read(NOTES, torch.tensor([[[0.5, 0.5, 0.0]]]))[0, 0], NOTES[0, :2].mean(0))


def test_content_is_a_softmax_of_cosines() -> None:
    torch.manual_seed(0)
    memory, keys, strength = torch.randn(2, 7, 4).double(), torch.randn(2, 3, 4).double(), torch.rand(2, 3).double()
    cosines = cosine_similarity(keys.unsqueeze(2), memory.unsqueeze(1), dim=3)
    torch.testing.assert_close(similarity(memory, keys, least=0.0), cosines, rtol=1e-12, atol=1e-12)
    wanted = torch.softmax(strength.unsqueeze(2) * cosines, dim=2)
    torch.testing.assert_close(by_content(memory, keys, strength), wanted, rtol=1e-7, atol=1e-7)


def test_an_empty_row_looks_like_nothing_and_has_a_gradient() -> None:
    memory = torch.zeros(1, 3, 4, requires_grad=True)
    cosines = similarity(memory, torch.ones(1, 1, 4))
    cosines.sum().backward()
    assert cosines.tolist() == [[[0, 0, 0]]]
    assert memory.grad is not None
    assert memory.grad.isfinite().all()
    assert memory.grad.ne(0).all()


def test_the_middle_shift_and_power_one_keep_an_address() -> None:
    address = addresses(0, heads=2, rows=5)
    stay = torch.tensor([0.0, 1.0, 0.0]).double().expand(2, 2, 3)
    kept = sharpen(shift(address, stay), torch.ones(2, 2).double())
    torch.testing.assert_close(kept, address, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 1000), rows=st.integers(5, 9), reach=st.integers(0, 2))
def test_a_shift_is_a_sum_around_the_circle(seed: int, rows: int, reach: int) -> None:
    address, shifts = addresses(seed, heads=2, rows=rows), addresses(seed + 1, heads=2, rows=2 * reach + 1)
    moved = shift(address, shifts)
    for i in range(rows):
        wanted = sum(address[..., (i - j) % rows] * shifts[..., j + reach] for j in range(-reach, reach + 1))
        torch.testing.assert_close(moved[..., i], wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moved.sum(2), torch.ones(2, 2).double(), rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 1000), power=st.floats(1, 20))
def test_sharpening_is_a_power_and_makes_the_greatest_greater(seed: int, power: float) -> None:
    address = addresses(seed, heads=1, rows=6)
    sharp = sharpen(address, torch.full((2, 1), power, dtype=torch.double))
    wanted = address**power
    torch.testing.assert_close(sharp, wanted / wanted.sum(2, keepdim=True), rtol=1e-9, atol=1e-12)
    assert (sharp.amax(2) >= address.amax(2) - 1e-12).all()


def test_the_gate_chooses_between_content_and_place() -> None:
    content, before = addresses(0, heads=2, rows=4), addresses(1, heads=2, rows=4)
    gate = torch.tensor([[0.0, 1.0], [0.25, 0.5]]).double()
    between = interpolate(content, before, gate)
    torch.testing.assert_close(between[0], torch.stack([before[0, 0], content[0, 1]]))
    torch.testing.assert_close(between[1, 0], 0.25 * content[1, 0] + 0.75 * before[1, 0])


def test_writing_erases_with_all_heads_and_then_adds() -> None:
    torch.manual_seed(0)
    memory, where = torch.randn(2, 5, 3).double(), addresses(0, heads=2, rows=5)
    erase, add = torch.rand(2, 2, 3).double(), torch.randn(2, 2, 3).double()
    wanted = memory.clone()
    for b in range(2):
        for i in range(5):
            for head in range(2):
                wanted[b, i] *= 1 - where[b, head, i] * erase[b, head]
            for head in range(2):
                wanted[b, i] += where[b, head, i] * add[b, head]
    torch.testing.assert_close(write(memory, where, erase, add), wanted, rtol=1e-12, atol=1e-12)


def test_shifts_without_a_middle_or_beyond_the_circle_are_refused(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="shifts is 2; it must be odd"):
        shift(torch.ones(1, 1, 5), torch.ones(1, 1, 2))
    with pytest.raises(InvalidValue, match="there are 7 shifts but 5 rows"):
        shift(torch.ones(1, 1, 5), torch.ones(1, 1, 7))
