"""Processes: shares of a piece of work done side by side on one machine, each by a fresh interpreter.

The processes exchange nothing: each leaves its share where the one that asked will look for it (a checkpoint, a file).
A wish to stop is handed on to them as the system's own request to end, and whoever is left behind by a killed parent
ends by itself, so that nobody goes on writing into a folder that is then taken up again.

Differs: not a pool; a share is given beforehand, because what is done must not depend on who is faster.
"""

import os
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context

from neurarium.errors import require

LOOK = 0.1  # s between two looks at whether someone asked to stop, or the parent is gone


def side_by_side(work: Callable[[int], None], *, processes: int, stop_asked: Callable[[], bool]) -> None:
    """Do every share of some work, each in a process of its own, and wait for all of them.

    A process that fails tells why on its standard error; the others go on.

    Args:
        work: takes the number of its share, from 0. It travels to the processes, so it is a function of a module, or a
            `functools.partial` of one.
        processes: how many shares there are.
        stop_asked: whether the processes shall be asked to end (by SIGTERM), looked at while they work.

    Raises:
        InvalidValue: fewer than 1 process.

    >>> side_by_side(abs, processes=1, stop_asked=lambda: False)
    """
    require(processes >= 1, f"processes is {processes}, but must be at least 1")
    context = get_context("spawn")  # a fork would copy threads' locks, and cannot use a GPU
    children = [
        context.Process(target=_begin, args=(work, share, os.getpid()), daemon=True) for share in range(processes)
    ]
    for child in children:
        child.start()
    asked = False
    while any(child.is_alive() for child in children):
        if stop_asked() and not asked:
            asked = True
            for child in children:
                child.terminate()
        time.sleep(LOOK)


def _begin(work: Callable[[int], None], share: int, parent: int) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C at the terminal then reaches the parent alone, which hands it on once
    threading.Thread(target=_end_without, args=(parent,), daemon=True).start()
    work(share)


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)
