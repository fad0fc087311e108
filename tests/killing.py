"""Kill runs with SIGKILL at random moments, resume them, and compare with a run that was left alone, bit for bit.

`python -m tests.killing [KILLS] [RECIPE ...]` kills each recipe so often (default 5) and tells where the blows fell.
Every run saves after every step, so that many blows fall while a checkpoint is being written.
"""

import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from neurarium.errors import RunError
from neurarium.running.catalogue import Entry, catalogue
from neurarium.running.probes import remains
from neurarium.running.settings import Settings
from neurarium.running.states import difference
from neurarium.running.train import Finished, resume, train


def kill_and_compare(entry: Entry, kills: int, chance: random.Random, root: Path) -> Counter[str]:
    """Kill one run `kills` times, each time after it has gone on a little, then let it finish.

    Returns:
        How many blows fell where: while a checkpoint was being written, at an epoch's end, elsewhere.

    Raises:
        AssertionError: the run that was killed ends otherwise than the one that was not.
    """
    smoke = dict(entry.load().smoke)
    settings = Settings(device="cpu", threads=1, save_seconds=0.0)
    seconds = _in_child(lambda: train(entry, smoke, settings, out=root, name="whole"))
    folder = root / entry.name / "killed"

    def start() -> object:
        return train(entry, smoke, settings, out=root, name="killed")

    where: Counter[str] = Counter()
    while where.total() < kills:
        work = (lambda: resume(folder)) if (folder / "run.json").exists() else start
        if not _killed(work, _moment(chance, folder, seconds)):
            folder.rename(folder.with_name(f"done{time.monotonic_ns()}"))  # it finished before the blow: once more
            continue
        where[_place(folder)] += 1
        if folder.exists() and not (folder / "run.json").exists():
            _expect_refusal(folder)
    _in_child((lambda: resume(folder)) if folder.exists() else start)
    whole, killed = (remains(_finished(root / entry.name / name)) for name in ("whole", "killed"))
    place = difference(whole, killed)
    assert place is None, f"{entry.name}, killed {kills} times, differs at {place}"
    return where


def _moment(chance: random.Random, folder: Path, seconds: float) -> Callable[[], bool]:
    """When to strike: after a random time, while the next checkpoint is being written, or at an epoch's end."""
    end = time.perf_counter() + chance.uniform(0.02, 1.0) * seconds
    match chance.choice(("random", "writing", "epoch")):
        case "writing":
            return lambda: bool(list(folder.glob("checkpoints/*/.*.partial"))) and chance.random() < 0.3
        case "epoch":
            return lambda: time.perf_counter() > end or _at_epoch_end(folder) is True
        case _:
            return lambda: time.perf_counter() > end


def _at_epoch_end(folder: Path) -> bool | None:
    """Whether the newest checkpoint stands at an epoch's end; None if its stream has no epochs."""
    try:
        newest = max(folder.glob("checkpoints/*/*/manifest.json"), key=lambda path: path.parent.name)
        stream = json.loads(newest.read_text())["state"]["stream"]["dict"]
    except (OSError, ValueError):
        return None
    if not {"position", "size", "length"} <= set(stream):
        return None
    return bool(stream["position"] + stream["size"] > stream["length"])


def _finished(folder: Path) -> Finished:
    return Finished(folder, json.loads((folder / "result.json").read_text()), [])


def _in_child(work: Callable[[], object]) -> float:
    """Do the work in a forked process to its end; returns the seconds it took."""
    start = time.perf_counter()
    child = _fork(work)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the run failed with status {status}"
    return time.perf_counter() - start


def _killed(work: Callable[[], object], now: Callable[[], bool]) -> bool:
    """Do the work in a forked process and kill it at the moment; False if it was done before."""
    child = _fork(work)
    while not now():
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the run failed with status {status}"
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return status != 0


def _fork(work: Callable[[], object]) -> int:
    # Forked rather than spawned, to save the seconds of importing PyTorch; the parent itself never computes.
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def _place(folder: Path) -> str:
    if list(folder.glob("checkpoints/*/.*.partial")):
        return "while a checkpoint was being written"
    if not list(folder.glob("checkpoints/*/*")):
        return "before the first checkpoint"
    ends = _at_epoch_end(folder)
    return "between checkpoints" if ends is None else "at an epoch's end" if ends else "within an epoch"


def _expect_refusal(folder: Path) -> None:
    try:
        resume(folder)
    except RunError:
        folder.rename(folder.with_name(f"empty{time.monotonic_ns()}"))
        return
    raise AssertionError("a folder without run.json was resumed")


def main(words: list[str]) -> int:
    """Kill every recipe, or the named ones."""
    kills = int(words[0]) if words else 5
    known = catalogue()
    importlib.import_module("sklearn.datasets")  # once here, rather than in every child
    for name in words[1:] or known:
        with tempfile.TemporaryDirectory() as root:
            where = kill_and_compare(known[name], kills, random.Random(name), Path(root))
        print(f"{name}: killed {where.total()} times, resumed, same to the bit; {dict(where)}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
