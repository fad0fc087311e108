import random

import numpy as np
import pytest
import torch
from torch import nn

from neurarium.errors import InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.transformer import Block
from neurarium.running.devices import autocast, choose_device, choose_precision, computes_in_bfloat16, settle
from neurarium.running.seeds import generator, random_state, restore_random_state, seed_everything

CPU = torch.device("cpu")


def wide() -> Classify[nn.Module]:
    return Classify(nn.Sequential(nn.Conv2d(1, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 2)))


def test_auto_takes_what_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(InvalidValue, match="--device cuda: PyTorch finds no such device"):
        choose_device("cuda")


def test_auto_precision_needs_processor_and_network_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, learner, expected in (
        (True, wide(), torch.bfloat16),
        (False, wide(), torch.float32),
        (True, Classify(nn.Linear(2, 2)), torch.float32),
        (True, Classify(Block(width=64, heads=4)), torch.bfloat16),
        (True, Classify(Block(width=16, heads=4)), torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert computes_in_bfloat16(CPU) is has
        assert choose_precision("auto", learner, CPU) == expected
    assert choose_precision("bfloat16", wide(), CPU) == torch.bfloat16
    assert choose_precision("float32", wide(), CPU) == torch.float32


def test_channels_last_only_where_the_learner_allows() -> None:
    for allowed in (True, False):
        learner = wide()
        learner.channels_last = allowed
        settle(learner, CPU, torch.bfloat16)
        image = learner.model[0](torch.rand(2, 1, 8, 8))  # type: ignore[index]
        assert image.is_contiguous(memory_format=torch.channels_last) is allowed


def test_autocast_keeps_no_stale_weights() -> None:
    layer = nn.Linear(4, 4)
    inputs = torch.randn(2, 4)
    with autocast(CPU, torch.bfloat16):
        before = layer(inputs)
        with torch.no_grad():
            layer.weight.add_(1.0)
        assert not torch.equal(layer(inputs), before)


def test_chance_comes_back_to_where_it_stood() -> None:
    seed_everything(3)
    np.random.standard_normal()  # noqa: NPY002 - leaves half a pair behind, which must come back too
    state = random_state()
    first = torch.rand(3), np.random.standard_normal(3), random.random()  # noqa: NPY002
    restore_random_state(state)
    again = torch.rand(3), np.random.standard_normal(3), random.random()  # noqa: NPY002
    assert torch.equal(first[0], again[0])
    assert (first[1] == again[1]).all()
    assert first[2] == again[2]


def test_named_generators_do_not_disturb_each_other() -> None:
    alone = torch.rand(2, generator=generator(0, "a"))
    torch.rand(9, generator=generator(0, "b"))
    assert torch.equal(torch.rand(2, generator=generator(0, "a")), alone)
    assert not torch.equal(torch.rand(2, generator=generator(0, "b")), alone)
