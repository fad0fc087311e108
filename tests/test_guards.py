"""The guards of conftest.py, tried out."""

import os
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from beartype.roar import BeartypeException
from jaxtyping import TypeCheckError

from neurarium.parts.bundles import Labelled, check_batch


@pytest.mark.offline
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.invalid"])
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(ConnectionError, match="tests have no network"):
        socket.create_connection((host, 80), timeout=1)


@pytest.mark.offline
def test_code_sees_what_it_sees_offline() -> None:
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen("http://example.invalid/", timeout=1)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_every_test_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    assert Path.cwd() == tmp_path


def test_torch_uses_one_thread() -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert torch.get_num_threads() == 1


def test_shapes_are_enforced_at_run_time() -> None:
    with pytest.raises((TypeCheckError, BeartypeException)):
        check_batch(3, wanted="images")  # type: ignore[arg-type]
