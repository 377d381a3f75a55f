"""Disks of their own for runs that lose theirs: one that fills up, and one that becomes read-only. Both need root."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BUSY_S = 120.0
"""How long the processes of a run may take to end after it."""


class FullDisk:
    """A small tmpfs."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.folder = folder
        _mount("-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))

    def fail(self) -> None:
        """Fill it."""
        with contextlib.suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 14))

    def repair(self) -> None:
        """Free what filled it."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)


class ReadOnlyDisk:
    """An ext4 file system, which becomes read-only as after an error of its disk: files that are open can't be written either."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.folder, self._image = folder, folder.with_name(folder.name + ".ext4")
        with self._image.open("wb") as file:
            file.truncate((size_mb + 8) << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        self._mount()

    def fail(self) -> None:
        """What the kernel does after an error of the journal."""
        _mount("-o", "remount,abort", str(self.folder))

    def repair(self) -> None:
        """As an administrator does: check it, once no process uses it any more, and mount it again."""
        deadline = time.monotonic() + BUSY_S
        while subprocess.run(["umount", str(self.folder)], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.folder} is still in use")
            time.sleep(0.2)
        copy = self._image.with_suffix(
            ".copy"
        )  # a namespace that was made meanwhile may hold the old file system for ever
        subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
        self._image.unlink()
        self._image = copy.rename(self._image)
        subprocess.run(["fsck.ext4", "-p", str(self._image)], check=False, stdout=subprocess.DEVNULL)
        self._mount()

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
        self._image.unlink()

    def _mount(self) -> None:
        _mount("-o", "loop", str(self._image), str(self.folder))


Disk = FullDisk | ReadOnlyDisk


@contextlib.contextmanager
def disk_of_its_own(kind: type[Disk], folder: Path, size_mb: int) -> Iterator[Disk]:
    folder.mkdir(exist_ok=True)
    disk = kind(folder, size_mb)
    try:
        yield disk
    finally:
        disk.close()


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
