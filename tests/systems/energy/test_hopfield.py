"""Hopfield's memory against loops, its energy against every order of updates, its theory against the literature."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from neurarium.errors import DataError, InvalidValue
from neurarium.recipes.energy.hopfield import binarised, load_pictures, one_step_errors, random_patterns
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.energy.hopfield import (
    Hopfield,
    energy,
    heard,
    hebbian_weights,
    predicted_error,
    predicted_overlap,
    signs,
    softmax_energy,
    softmax_recall,
    update_in_turn,
)

DOUBLE = torch.float64


def patterns(count: int, neurons: int, seed: int = 0) -> Tensor:
    return random_patterns(count, neurons, torch.Generator().manual_seed(seed))


def symmetric(neurons: int, seed: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    weight = torch.randn(neurons, neurons, generator=chance, dtype=DOUBLE)
    return (weight + weight.T).fill_diagonal_(0), torch.randn(neurons, generator=chance, dtype=DOUBLE)


def test_weights_and_energy_are_the_sums_of_their_definitions() -> None:
    stored, states = patterns(3, 6), patterns(2, 6, seed=1)
    weight, bias = hebbian_weights(stored), torch.randn(6)
    for i in range(6):
        for j in range(6):
            mean = sum(float(row[i] * row[j]) for row in stored) / 3
            assert weight[i, j].item() == pytest.approx(0.0 if i == j else mean)
    for state, found in zip(states, energy(states, weight, bias), strict=True):
        pairs = sum(float(state[i] * weight[i, j] * state[j]) for i in range(6) for j in range(6) if i != j)
        assert found.item() == pytest.approx(-pairs / 2 - float(bias @ state), abs=1e-5)


def test_both_rules_go_down_the_energys_gradient() -> None:
    stored = patterns(5, 8).double()
    weight = torch.zeros(8, 8, dtype=DOUBLE, requires_grad=True)
    bias = torch.zeros(8, dtype=DOUBLE, requires_grad=True)
    energy(stored, weight, bias).mean().backward()
    assert weight.grad is not None
    assert bias.grad is not None
    # A pair of connections counts twice in the sum and has half of it each; a unit has none to itself.
    torch.testing.assert_close(hebbian_weights(stored), -2 * weight.grad.fill_diagonal_(0))
    memory = Hopfield(neurons=8)
    memory.store(stored.float(), biases=True)
    torch.testing.assert_close(memory.bias, -bias.grad.float())
    some, drift = symmetric(8, seed=2)
    states = stored.clone().requires_grad_()
    energy(states, some, drift).sum().backward()
    assert states.grad is not None
    torch.testing.assert_close(heard(stored, some, drift), -states.grad)


@given(
    neurons=st.integers(1, 12),
    seed=st.integers(0, 2**20),
    order=st.lists(st.integers(0, 11), min_size=1, max_size=60),
    unknown=st.booleans(),
)
def test_the_energy_never_rises_asynchronously(neurons: int, seed: int, order: list[int], unknown: bool) -> None:
    weight, bias = symmetric(neurons, seed)
    states = patterns(4, neurons, seed).double()
    states = states * (patterns(4, neurons, seed + 1) > 0) if unknown else states
    before = energy(states, weight, bias)
    for unit in order:
        states = update_in_turn(states, torch.tensor([unit % neurons]), weight, bias)
        after = energy(states, weight, bias)
        assert bool((after <= before + 1e-9).all())
        before = after


@given(neurons=st.integers(2, 10), seed=st.integers(0, 2**20))
def test_updates_in_turn_are_those_of_a_loop(neurons: int, seed: int) -> None:
    weight, bias = symmetric(neurons, seed)
    order = torch.randperm(neurons, generator=torch.Generator().manual_seed(seed))
    states = patterns(3, neurons, seed).double()
    slow = states.clone()
    for row in slow:
        for unit in order.tolist():
            row[unit] = 1.0 if sum(row[j] * weight[j, unit] for j in range(neurons)) + bias[unit] >= 0 else -1.0
    assert torch.equal(update_in_turn(states, order, weight, bias), slow)


@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
def test_a_memory_completes_halves_and_settles(mode: str) -> None:
    stored = patterns(5, 200)
    memory = Hopfield(neurons=200)
    memory.store(stored)
    cue = stored.clone()
    cue[:, 100:] = 0
    recall = memory.recall(cue, mode=mode)  # type: ignore[arg-type]
    assert torch.equal(recall.states, stored)
    assert bool(recall.settled.all())
    assert torch.equal(memory(recall.states), recall.states)
    assert bool((recall.energies.diff(dim=0) <= 1e-3).all())


def test_all_units_at_once_may_swing_for_ever_and_are_not_called_settled() -> None:
    memory = Hopfield(neurons=2)
    memory.store(torch.tensor([[1.0, 1.0]]))
    recall = memory.recall(torch.tensor([[1.0, -1.0], [1.0, 1.0]]), mode="synchronous")
    assert recall.settled.tolist() == [False, True]


def test_one_steps_errors_are_those_of_theory_and_hide_behind_self_connections() -> None:
    stored = patterns(200, 1000)
    assert one_step_errors(stored, False) == pytest.approx(predicted_error(0.2), rel=0.1)
    assert one_step_errors(stored, True) < 0.5 * predicted_error(0.2)


def test_the_theory_has_its_known_values() -> None:
    # Hertz, Krogh & Palmer 1991, table 2.1: the loads at which a unit errs with these probabilities.
    for error, load in ((0.001, 0.105), (0.0036, 0.138), (0.01, 0.185), (0.05, 0.37), (0.1, 0.61)):
        assert predicted_error(load) == pytest.approx(error, rel=0.03)
    assert predicted_overlap(0.1379) == pytest.approx(0.967, abs=0.005)  # Amit, Gutfreund & Sompolinsky 1985
    assert predicted_overlap(0.139) == 0.0


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), sharpness=st.floats(0.5, 64.0))
def test_the_softmax_memorys_energy_never_rises_nor_falls_below_0(seed: int, sharpness: float) -> None:
    chance = torch.Generator().manual_seed(seed)
    stored = torch.randn(6, 10, generator=chance, dtype=DOUBLE)
    states = torch.randn(4, 10, generator=chance, dtype=DOUBLE)
    for _ in range(5):
        following = softmax_recall(stored, states, sharpness=sharpness, steps=1)
        before, after = (softmax_energy(stored, each, sharpness=sharpness) for each in (states, following))
        assert bool((after <= before + 1e-9).all())
        assert bool((after >= -1e-9).all())
        states = following


def test_a_softmax_memory_holds_more_patterns_than_it_has_units() -> None:
    stored = patterns(300, 100)
    assert torch.equal(signs(softmax_recall(stored, stored)), stored)


def test_pictures_of_ones_own_are_stored_from_a_folder(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for number in range(4):
        below = tmp_path / "holiday" if number > 1 else tmp_path
        below.mkdir(exist_ok=True)
        Image.fromarray(chance.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(below / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = load_pictures(f"folder:{tmp_path}", count=9, size=12, seed=0)
    assert found.shape == (4, 12, 12)
    assert set(binarised(found).flatten().tolist()) == {-1.0, 1.0}
    assert len(load_pictures("digits", count=5, size=8, seed=0)) == 5
    with pytest.raises(DataError, match="is not a folder"):
        load_pictures(f"folder:{tmp_path}/none", count=2, size=8, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has 0 pictures; one to store"):
        load_pictures(f"folder:{tmp_path}/empty", count=2, size=8, seed=0)
    with pytest.raises(DataError, match="picture 2 is of one grey"):
        binarised(torch.stack([found[0], torch.full((12, 12), 0.5)]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda memory: memory.store(patterns(5, 4)), "5 patterns for 4 neurons; at most one a neuron"),
        (lambda memory: memory.store(patterns(2, 5)), "must be rows of 4 units"),
        (lambda memory: memory.store(torch.zeros(0, 4)), "there are no patterns"),
        (lambda memory: memory.store(torch.zeros(1, 4)), "other values than -1 and 1; binarise"),
        (lambda memory: memory.recall(torch.full((1, 4), torch.nan)), "other values than -1, 1 and 0"),
        (lambda memory: memory.recall(torch.ones(1, 4), mode="both"), "must be asynchronous or synchronous"),
        (lambda memory: memory.recall(torch.ones(1, 4), sweeps=0), "sweeps is 0"),
        (lambda _: Hopfield(neurons=0), "neurons is 0"),
        (lambda _: predicted_error(0.0), "load is 0.0"),
        (lambda _: predicted_overlap(-1.0), "load is -1.0"),
        (lambda _: softmax_recall(torch.ones(1, 4), torch.ones(1, 4), sharpness=0.0), "sharpness is 0.0"),
        (lambda _: softmax_recall(torch.ones(1, 4), torch.ones(1, 4), steps=-1), "steps is -1"),
    ],
)
def test_what_cannot_be_stored_or_recalled_is_refused(wrong, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidValue, match=message):
        wrong(Hopfield(neurons=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(neurons=20), "neurons is 20"),
        (dict(networks=0), "networks is 0"),
        (dict(noise=0.7), "noise is 0.7"),
        (dict(pictures=0), "pictures is 0"),
        (dict(size=1), "size is 1"),
    ],
)
def test_options_outside_their_rules_are_refused(options: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=message):
        train(find("hopfield"), options, Settings(device="cpu"), out=tmp_path)
