"""Steps of a Dockerfile, carried out in a folder that holds a Debian system: by chroot, since no engine for containers is needed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
TIMEOUT_S = 900


def make_root(folder: Path) -> None:
    """A minimal Debian with its own Python and pip, and nothing else. Needs root and the network."""
    command = [
        "debootstrap",
        "--variant=minbase",
        "--include=python3,python3-pip",
        "bookworm",
        folder,
        MIRROR,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Word and rest of each instruction, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        yield word, rest.strip()


class BareRoot:
    """A system in a folder. `env` is what its commands get: arguments and variables of the Dockerfile."""

    def __init__(self, folder: Path, context: Path) -> None:
        self.folder, self.context = folder, context
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        self.env |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}

    def build(self, dockerfile: Path, **arguments: str) -> None:
        """Raises CalledProcessError with the output of the step that failed."""
        for word, rest in instructions(dockerfile.read_text()):
            if word == "ARG":
                name, _, default = rest.partition("=")
                self.env[name] = arguments.get(name, default)
            elif word == "ENV":
                self.env |= dict(part.split("=", 1) for part in shlex.split(rest))
            elif word == "COPY":
                *sources, target = rest.split()
                self._copy(sources, target)
            elif word == "RUN":
                self.run(rest)
            elif word not in ("FROM", "USER", "WORKDIR"):
                raise ValueError(f"{dockerfile}: {word} is not known here")

    def run(self, command: str) -> str:
        """The output of a command in a shell of the system. What pip of this machine reads is there, too."""
        mounts = [f"mount --bind {path} {self.folder}{path}" for path in self._pip_paths()]
        mounts += [f"mount -t proc proc {self.folder}/proc"]
        inside = shlex.join(["chroot", str(self.folder), "/bin/sh", "-c", command])
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", "\n".join([*mounts, inside])],
            env=self.env,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        ).stdout

    def _copy(self, sources: list[str], target: str) -> None:
        place = Path(f"{self.folder}{target}")
        for source in (self.context / name for name in sources):
            if source.is_dir():
                shutil.copytree(
                    source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                file = place / source.name if target.endswith("/") else place
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, file)

    def _pip_paths(self) -> list[Path]:
        """Indexes and settings of this machine's pip that are files, with a place for each in the system."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "debug"], check=True, capture_output=True, text=True
        ).stdout
        words = [word.strip("',") for word in listed.replace("file://", " ").split()]
        found = [Path(word) for word in words if word.startswith("/") and Path(word).exists()]
        tops = {Path(*path.parts[:3]) for path in found}
        tops |= {Path(name) for name in ("/etc/resolv.conf", "/etc/ssl/certs") if Path(name).exists()}
        for path in tops:
            place = Path(f"{self.folder}{path}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if path.is_dir() else place.touch()
        return sorted(tops)
