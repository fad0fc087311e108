"""Files that are whole or absent, and folders that one process holds at a time."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from neurarium.errors import RunError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file through to the disk, under a name of its own until it is whole."""
    draft = path.with_name(f".{path.name}.partial")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def flush_folder(folder: Path) -> None:
    """Make the folder's entries themselves last (a rename is only in memory until then); not needed on Windows."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process alone; the system lets go of it even if the process is killed.

    Raises:
        RunError: another process holds it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"{folder} is in use by another process; wait for it, or train under another --name") from None
    try:
        yield
    finally:
        lock.release()


NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}
NO_WRITING = {errno.EROFS: "the disk is read-only", errno.EACCES: "permission denied", errno.EPERM: "permission denied"}


@contextmanager
def disk_errors_told(folder: Path) -> Iterator[None]:
    """Turn the ways in which a disk refuses into one line that says what to do.

    Raises:
        RunError: the disk is full, read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        reason = {**NO_ROOM, **NO_WRITING}.get(error.errno or 0)
        if reason is None:
            raise
        remedy = "make room" if error.errno in NO_ROOM else "choose another folder with --out"
        raise RunError(
            f"cannot write to {error.filename or folder}: {reason}; {remedy} (what was whole still is)"
        ) from error
