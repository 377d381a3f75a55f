"""Containers of the stand-in for Kubernetes: a process with a root, a network, a host name and process numbers of its own.

The root has this machine's system and Python, as an image would, an empty home, and what the pod's volumes bring. Nothing else of the
machine is in it, and what is written elsewhere is gone with the container. All mounts and interfaces are in name spaces that end with the process.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.fakes.kubernetes_network import NODE_IP, PREFIX, Network
from tests.servers.kube import SERVICE_IP
from tests.servers.process import dying_with_us

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc")
EMPTY = ("proc", "sys", "dev", "tmp", "run", "root", "home", "var/tmp", "var/lib")
SHM = "64m"
"""Of a container whose pod has no volume there, as container runtimes make it."""


@dataclass(frozen=True)
class Mount:
    """`source`: a folder or file of this machine; empty for memory of `size`."""

    path: str
    source: str = ""
    read_only: bool = False
    size: str = ""


class Container:
    """A process that has begun. `kill` also ends all that it has started, where it has process numbers of its own."""

    def __init__(self, process: subprocess.Popen[bytes], *, isolated: bool) -> None:
        self._process, self._isolated = process, isolated
        self.poll, self.wait, self.kill = process.poll, process.wait, process.kill

    def terminate(self) -> None:
        """SIGTERM for the first process; while it is still being made, it is killed."""
        if not self._isolated:
            self._process.terminate()
        elif (first := self._first()) is None:
            self._process.kill()
        else:
            with suppress(ProcessLookupError):
                os.kill(first, signal.SIGTERM)

    def _first(self) -> int | None:
        """The process that is number 1 in its own name space."""
        number = self._process.pid
        with suppress(OSError):
            for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
                status = Path(f"/proc/{child}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
                if numbers.split()[-1] == "1":
                    return int(child)
        return None


def start_plain(command: Sequence[str], env: Mapping[str, str], folder: Path, output: BinaryIO) -> Container:
    """Without name spaces: a process of this machine, in a session of its own."""
    process = subprocess.Popen(
        dying_with_us(list(command)),
        env=env,
        cwd=folder,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    return Container(process, isolated=False)


def start_isolated(
    command: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    output: BinaryIO,
    *,
    name: str,
    address: str,
    network: Network,
    mounts: Sequence[Mount],
) -> Container:
    """`address` is the node's for a pod in the node's network. What the container writes outside of volumes is in memory."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    (folder / "hostname").write_text(f"{name}\n")
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    (folder / "resolv.conf").write_text(
        f"nameserver {SERVICE_IP}\n"
    )  # there is none, and that is said at once
    base = [*_python(), Mount("/dev", "/dev"), Mount("/dev/shm", size=SHM)]
    fstab = folder / "fstab"
    fstab.write_text("".join(_line(root, each) for each in [*base, *sorted(mounts, key=lambda m: m.path)]))
    inside = ["unshare", "--pid", "--fork", "--kill-child", f"--root={root}", "--wd=/", "--mount-proc"]
    script = [
        f"hostname {shlex.quote(name)}",
        *_network(network, address),
        *_system(root, [folder / each for each in ("hostname", "hosts", "resolv.conf")]),
        shlex.join(["mount", "--no-mtab", "--all", "--fstab", str(fstab)]),
        f"exec {shlex.join([*inside, *command])}",
    ]
    own = ["unshare", "--mount", "--uts", "--ipc", *([] if address == NODE_IP else ["--net"])]
    outer = [*own, "sh", "-ec", "\n".join(script)]
    if address == NODE_IP:
        outer = ["nsenter", f"--net={network.space}", *outer]
    process = subprocess.Popen(
        dying_with_us(outer),
        env=env,
        stdout=output,
        stderr=output,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    return Container(process, isolated=True)


def _network(network: Network, address: str) -> list[str]:
    """Commands that give the name space of this shell an interface on the node's bridge."""
    if address == NODE_IP:
        return []
    name = "v" + "-".join(address.split(".")[2:])
    node = [f"link add {name} type veth peer name eth0 netns $$", f"link set {name} master br0 up"]
    pod = [f"addr add {address}/{PREFIX} dev eth0", "link set lo up", "link set eth0 up"]
    pod += [f"route add default via {NODE_IP}"]
    gone = f"nsenter --net={network.space} ip link del {name} 2>/dev/null || true"  # of its last container
    return [
        gone,
        "\n".join([f"nsenter --net={network.space} ip -batch - <<END", *node, "END"]),
        "\n".join(["ip -batch - <<END", *pod, "END"]),
    ]


def _system(root: Path, names: Sequence[Path]) -> list[str]:
    """Commands that put this machine's system below a layer in memory, and `names` into its /etc."""
    folders = [name for name in SYSTEM if Path("/", name).is_dir() and not Path("/", name).is_symlink()]
    links = [name for name in SYSTEM if Path("/", name).is_symlink()]
    layer = root / ".layer"
    made = [*(str(root / name) for name in (*EMPTY, *folders))]
    made += [str(layer / name / part) for name in folders for part in ("upper", "work")]
    found = [
        ["mount", "--no-mtab", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root)],
        ["mkdir", "-p", *made],
        ["chmod", "1777", str(root / "tmp"), str(root / "var/tmp")],
        *(["ln", "-s", str(Path("/", name).readlink()), str(root / name)] for name in links),
        ["ln", "-s", "../run", str(root / "var/run")],
        ["cp", *map(str, names), str(layer / "etc" / "upper")],
    ]
    for name in folders:
        parts = f"lowerdir=/{name},upperdir={layer}/{name}/upper,workdir={layer}/{name}/work"
        found.append(["mount", "--no-mtab", "-t", "overlay", "-o", parts, "overlay", str(root / name)])
    return [shlex.join(each) for each in found]


def _python() -> list[Mount]:
    """The Python that runs the tests and its packages, where an image has its own."""
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    found = {str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix, *packages)}
    return [Mount(path, path, read_only=True) for path in sorted(found) if not path.startswith("/usr")]


def _line(root: Path, mount: Mount) -> str:
    """Of fstab(5)."""
    ways = "ro" if mount.read_only else "rw"
    if mount.source:
        kind, source, options = "none", mount.source, f"bind,{ways}"
    else:
        kind, source, options = (
            "tmpfs",
            "tmpfs",
            ",".join([ways, *([f"size={mount.size}"] if mount.size else [])]),
        )
    made = ",X-mount.mkdir" if not mount.source or Path(mount.source).is_dir() else ""
    words = [source, f"{root}{mount.path}", kind, options + made, "0", "0"]
    return " ".join(word.replace("\\", "\\134").replace(" ", "\\040") for word in words) + "\n"
