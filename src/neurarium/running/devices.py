"""Devices and precision: where the tensors live, and in how many bits the products are taken."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from neurarium.errors import InvalidValue
from neurarium.learners.learner import Learner
from neurarium.parts.attention import MultiHeadAttention

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "auto"]

WORTH_IT = 16  # channels: convolutions narrower than this lose more to conversion than bfloat16 saves
WIDE_ATTENTION = 64  # numbers a token: the same for attention and the dense layers beside it


def choose_device(name: DeviceName) -> torch.device:
    """The device of this name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        InvalidValue: the device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    have = [device for device, is_there in there.items() if is_there]
    if name != "auto" and name not in have:
        raise InvalidValue(f"--device {name}: PyTorch finds no such device on this machine; it has: {', '.join(have)}")
    return torch.device(have[0] if name == "auto" else name)


def choose_precision(precision: Precision, learner: Learner[Any], device: torch.device) -> torch.dtype:
    """The type that products are taken in.

    `auto` means bfloat16 where the processor computes in it and the networks have something to gain (wide
    convolutions or attention, or any network on CUDA), float32 elsewhere.
    """
    if precision == "auto":
        gains = device.type == "cuda" or any(map(_gains, learner.modules().values()))
        precision = "bfloat16" if gains and computes_in_bfloat16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, rather than imitating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(has.get(feature, False) for feature in ("avx512_bf16", "amx_bf16", "bf16"))


def settle(learner: Learner[Any], device: torch.device, dtype: torch.dtype, *, compiled: bool = False) -> None:
    """Bring a learner to its device, in the memory layout that its precision is fast in."""
    learner.to(device)
    for module in learner.modules().values():
        if dtype == torch.bfloat16 and learner.channels_last:
            # Only weights are laid out: a convolution gives its output the layout of its weights.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            module.compile()


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """The context in which a step runs.

    Without autocast's cache of converted weights: it outlives an optimiser step inside the context, and the second
    player of an adversarial step would see the first one's weights from before its update.
    """
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)


@contextmanager
def untouched_chance(device: torch.device) -> Iterator[None]:
    """Inside, chance may be drawn freely; afterwards the generators stand where they stood."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory rather than return it every step (it costs a page fault to get back).

    Large tensors freed and allocated each step otherwise cost 100,000 page faults an epoch: a third of the time of
    a small network. Linux with glibc only; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, 1 << 30)
    libc.mallopt(top_pad, 1 << 26)


def _gains(module: nn.Module) -> bool:
    return any(
        (isinstance(part, nn.Conv2d) and part.out_channels >= WORTH_IT)
        or (isinstance(part, MultiHeadAttention) and part.width >= WIDE_ATTENTION)
        for part in module.modules()
    )
