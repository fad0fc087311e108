"""What holds for every test and doctest: one torch thread, no network, a working folder that is thrown away."""

import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# The suite runs in several processes, which must not fight over cores; set before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"

hypothesis.settings.register_profile("local", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


class NetworkClosed(ConnectionError):
    """A test reached for the network. Code under test sees what it would see on a machine that is offline."""


def is_loopback(host: str | bytes | None) -> bool:
    """Whether a host name or address is this machine itself."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Network:
    """Sockets that reach loopback alone, and a list of the hosts that were asked for besides."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def check(self, host: Any) -> None:
        if not is_loopback(host):
            self.refused.append(str(host))
            raise NetworkClosed(f"tests have no network, but something asked for {host}")

    def close(self, patch: pytest.MonkeyPatch) -> None:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, self._guarded(getattr(socket.socket, method)))
        look_up = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
            self.check(host)
            return look_up(host, *args, **options)

        patch.setattr(socket, "getaddrinfo", getaddrinfo)

    def _guarded(self, method: Any) -> Any:
        def connect(sock: socket.socket, address: Any) -> Any:
            if isinstance(address, tuple):  # a Unix socket's address is a path
                self.check(address[0])
            return method(sock, address)

        return connect


@pytest.fixture(autouse=True)
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Refuse every host but loopback; fail a test that asked for one unless it is marked `offline`."""
    network = Network()
    network.close(monkeypatch)
    yield network
    if network.refused and request.node.get_closest_marker("offline") is None:
        pytest.fail(f"the test asked the network for {', '.join(network.refused)}; mark it `offline` if it means to")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run every test in a folder of its own, so that runs/ and whatever else it writes is thrown away."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
