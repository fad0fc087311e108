"""The guards of conftest.py, tried out."""

import os
import random
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from neurarium.errors import InvalidValue
from neurarium.systems.vision.lenet import LeNet
from tests import checked


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
    net = LeNet(shape=(1, 8, 8))
    with pytest.raises(TypeCheckError, match="images"):
        net(torch.zeros(1, 8, 8))


@pytest.mark.usefixtures("unchecked")
def test_a_test_can_see_what_users_see() -> None:
    net = LeNet(shape=(1, 8, 8))
    with pytest.raises(InvalidValue, match="images are"):
        net(torch.zeros(1, 8, 8))


@checked
def half(number: float, parts: list[int]) -> float:
    return number / 2 if parts else 0


def test_checking_leaves_the_random_state_alone() -> None:
    before = random.getstate()
    assert half(3, [1, 2, 3, 4]) == 1.5
    assert random.getstate() == before
