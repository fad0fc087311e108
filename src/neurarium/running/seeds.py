"""Seeds: where chance begins, and how a checkpoint remembers where it stands.

Torch's, NumPy's and Python's global generators start from the run's seed and are saved in every checkpoint. A recipe
that wants a stream of chance of its own asks for a generator by name, so that adding one draw never shifts another.
"""

import hashlib
import random

import numpy as np
import torch

from neurarium.learners.stream import State


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit seed, different for every seed and every name, from SHA-256.

    >>> seed_for(0, "data") == seed_for(0, "data") != seed_for(0, "noise") != seed_for(1, "noise")
    True
    """
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Start every global generator from the seed."""
    torch.manual_seed(seed_for(seed, "torch"))
    np.random.seed(seed_for(seed, "numpy") % 2**32)  # noqa: NPY002 - for libraries that draw from the global one
    random.seed(seed_for(seed, "python"))


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for the named purpose."""
    return torch.Generator(device).manual_seed(seed_for(seed, *names))


def random_state() -> State:
    """Where the global generators stand."""
    _, key, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    state: State = {
        "torch": torch.get_rng_state(),
        "numpy": {
            "key": torch.from_numpy(np.asarray(key).astype(np.int64)),
            "rest": [int(position), int(has_gauss), float(gauss)],
        },
        "python": random.getstate(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: State) -> None:
    """Set the global generators back to where they stood."""
    torch.set_rng_state(state["torch"])
    key = state["numpy"]["key"].numpy().astype(np.uint32)
    position, has_gauss, gauss = state["numpy"]["rest"]
    np.random.set_state(("MT19937", key, position, has_gauss, gauss))  # noqa: NPY002
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
