"""The network of the stand-in's node: a bridge in a name space of its own, on which every pod has an address.

No interface of the machine is touched. The name space belongs to this process: it is gone when the process is. Pods reach servers of the
machine's loopback only through addresses of services, which are passed on as kube-proxy does.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar

from tests.servers.kube import SERVICE_IP

NODE_IP, PREFIX = "10.244.0.1", 16
"""The node's address on the bridge, and the bits of its network."""
BRIDGE = "02:00:0a:f4:00:01"
"""The bridge's own address. Without one a bridge takes that of one of its ports, and pods lose it when that pod ends."""
NEEDED = """
ip link add br0 type bridge
ip link add v0 type veth peer name v1
mount -t tmpfs tmpfs /tmp
mkdir /tmp/upper /tmp/work /tmp/root
mount -t overlay -o lowerdir=/usr,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/root
cat /proc/1/task/1/children
"""
"""What containers are made with, tried in name spaces that end with it."""
CLONE_NEWNET = 0x40000000
T = TypeVar("T")


@cache
def why_not() -> str:
    """Why pods can't have name spaces here; empty where they can."""
    if os.geteuid():
        return "it takes root"
    missing = [name for name in ("unshare", "nsenter", "ip", "mount") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed"
    command = [
        "unshare",
        "--mount",
        "--net",
        "--uts",
        "--ipc",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-ec",
    ]
    tried = subprocess.run([*command, NEEDED], check=False, capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else ""


class Network:
    """`space`: path of the node's name space, for nsenter."""

    def __init__(self) -> None:
        self._pods = itertools.count(2)
        self._services: list[Service] = []
        self._space = _in_thread(_make_space)
        self.space = f"/proc/{os.getpid()}/fd/{self._space}"

    def address(self) -> str:
        """Of a new pod."""
        number = next(self._pods)
        return f"10.244.{number // 250}.{number % 250 + 2}"

    def serve(self, port: int, target: tuple[str, int], address: str = SERVICE_IP) -> Service:
        """Pods that connect to the address get to `target` of the machine, until the service or the network is closed."""
        listener = _in_thread(lambda: _listen(self._space, address, port))
        self._services.append(Service(listener, target))
        return self._services[-1]

    def close(self) -> None:
        for service in self._services:
            service.close()
        os.close(self._space)


class Service(socketserver.ThreadingTCPServer):
    """Passes connections on to a server of this machine; one that is away closes them."""

    daemon_threads, block_on_close, request_queue_size = True, False, 64

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        super().__init__(("", 0), _Relay, bind_and_activate=False)
        self.socket.close()
        self.socket, self.target = listener, target
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Relay(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(self.server.target) as server:  # type: ignore[attr-defined]
            back = threading.Thread(target=_copy, args=(server, self.request), daemon=True)
            back.start()
            _copy(self.request, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source ends, which the target gets to see."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _in_thread(work: Callable[[], T]) -> T:
    """A thread that changes its name space keeps it, so it does nothing else."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def _make_space() -> int:
    """A descriptor of a new name space with a bridge."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    lines = [
        "link set lo up",
        f"addr add {SERVICE_IP}/32 dev lo",
        f"link add br0 address {BRIDGE} type bridge",
    ]
    lines += [f"addr add {NODE_IP}/{PREFIX} dev br0", "link set br0 up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    # Addresses that nobody has are answered as such, and no pod waits for them.
    subprocess.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _listen(space: int, address: str, port: int) -> socket.socket:
    if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    return socket.create_server((address, port), backlog=64)
