"""The lock is the kernel's: it dies with its holder and is never stale."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.disk import LockTimeout, locked
from tests.waiting import PATIENCE_S

HOLD = (
    "import sys, time, os\nfrom pathlib import Path\nfrom launcher.disk import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    if len(sys.argv) > 2:\n        if os.fork() == 0:\n            time.sleep(120)\n            os._exit(0)\n"
    "    print('held', flush=True)\n    time.sleep(3600)\n"
)


def hold(path: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *more], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("more", [(), ("fork",)], ids=["alone", "with a forked child"])
def test_a_killed_holder_lets_go(tmp_path: Path, more: tuple[str, ...]) -> None:
    path = tmp_path / "lock"
    holder = hold(path, *more)
    waits: list[int] = []
    with (
        pytest.raises(LockTimeout),
        locked(path, timeout_s=0.3, on_wait=lambda: waits.append(1), poll_s=0.05),
    ):
        pass
    assert waits
    holder.kill()
    holder.wait()
    with locked(path, timeout_s=PATIENCE_S, poll_s=0.02):
        pass
    assert path.exists(), "removing it would let two in"
    if holder.stdout:
        holder.stdout.close()


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with locked(tmp_path / "lock", timeout_s=0):
            pass
    with pytest.raises(ValueError, match="x"), locked(tmp_path / "lock", timeout_s=0):
        raise ValueError("x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
