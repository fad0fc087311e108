"""Ranks: the same recipe on many processes under `torchrun`, by PyTorch's own `torch.distributed`.

Every process runs the whole recipe with the same seed, so that all of them build the same learner and the same stream.
Each learns from its own slice of every batch, and just before an optimiser steps, gradients are averaged over the
processes: plain data parallelism, and the update that one process makes of the whole batch if the loss is a mean over
examples. Process 0 alone writes. Without `torchrun` there is one rank, and nothing here costs anything.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from torch import Tensor
from torch.optim import Optimizer

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner
from neurarium.running.trace import Window


@cache
def count() -> int:
    """How many processes run this together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", "0"))


def first() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def speaker(console: Console) -> Console:
    """The console for the first process, silence for the others."""
    return console if first() else Console(quiet=True)


def join() -> None:
    """Meet the other processes, once."""
    if count() > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Part from the other processes, when nothing more is to be exchanged."""
    if dist.is_initialized():
        dist.destroy_process_group()


def agree(decide: Callable[[], str]) -> str:
    """What the first process decides (a folder's name), told to all.

    Raises:
        InvalidValue: the first process could not decide; it says why itself.
    """
    if count() == 1:
        return decide()
    join()
    told = torch.zeros(4096, dtype=torch.uint8, device=_device())
    try:
        if first():
            text = decide().encode()
            told[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
    finally:
        dist.broadcast(told, 0)
    text = bytes(told[told > 0].tolist())
    require(bool(text), "the first process stopped before the run began")
    return text.decode()


def any_asks(*wishes: bool) -> tuple[bool, ...]:
    """For each wish (to stop, to save), whether any process has it; so all of them do the same at the same step."""
    if count() == 1:
        return wishes
    votes = torch.tensor([int(wish) for wish in wishes], device=_device())
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return tuple(bool(vote) for vote in votes.tolist())


def share(batch: Any) -> Any:
    """This process's slice of a batch.

    Raises:
        InvalidValue: the batch cannot be divided equally among the processes.
    """
    if count() == 1:
        return batch

    def part(field: Tensor) -> Tensor:
        if len(field) % count():
            raise InvalidValue(
                f"a batch of {len(field)} cannot be shared equally by {count()} processes; change --batch"
            )
        return field.chunk(count())[rank()]

    return type(batch)(*(part(field) for field in batch))


def learn_together(learner: Learner[Any]) -> None:
    """From now on, average gradients over the processes before every step of every optimiser.

    Raises:
        InvalidValue: the learner has no optimiser, so there are no gradients to average.
    """
    if count() > 1:
        optimizers = learner.optimizers().values()
        name = type(learner).__name__
        require(bool(optimizers), f"{name} learns without an optimiser, so processes cannot share it; run it on one")
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(_average_gradients)


def mean_measures(window: Window) -> None:
    """Put the means over all processes in place of this one's measures."""
    if count() > 1:
        for name, column in window.check().items():
            total = torch.tensor(column, device=_device())
            dist.all_reduce(total)
            window.values[name] = (total / count()).tolist()


def all_random_states(own: Tensor) -> list[Tensor]:
    """Torch's random state in every process, for the checkpoint."""
    if count() == 1:
        return [own]
    states = [torch.empty_like(own, device=_device()) for _ in range(count())]
    dist.all_gather(states, own.to(_device()))
    return [state.cpu() for state in states]


def _average_gradients(optimizer: Optimizer, *_: Any) -> None:
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= count()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
