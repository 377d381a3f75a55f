"""The folder of the locks: one that no other user can take away, replace by a link, or make unusable."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

SYSTEM = Path("/run/lock/ascend-launcher")
"""For all users of the machine. Root makes it with its first run, or `install -d -m 1777`."""
VARIABLE = "LAUNCHER_LOCK_DIR"


def default_lock_dir(env: Mapping[str, str] = os.environ) -> Path:
    """$LAUNCHER_LOCK_DIR; else the system's folder; else one of this user alone, for this machine. Makes nothing."""
    if named := env.get(VARIABLE):
        return Path(named)
    if is_for_all(SYSTEM) or (os.geteuid() == 0 and not os.path.lexists(SYSTEM)):
        return SYSTEM
    return private_lock_dir(env)


def private_lock_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Of this user alone, for this machine: a home may be shared by several."""
    state = env.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.path.expanduser(state)) / "ascend-launcher" / f"locks-{socket.gethostname()}"  # noqa: PTH111 - never raises


def is_for_all(folder: Path) -> bool:
    """Whether every user can take part, and only root can remove what others have made."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and status.st_mode & 0o1777 == 0o1777


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise OSError(
            errno.ENOTDIR, "it is a link, and whoever made it can point it elsewhere", str(folder)
        ) from None


def prepare(folder: Path) -> None:
    """Make the folder, for all users unless it is this user's own. Raises OSError for one that isn't safe."""
    own = folder == private_lock_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = _open_folder(folder)
    try:
        if not own:
            with contextlib.suppress(PermissionError):
                os.fchmod(handle, 0o1777)
        status = os.fstat(handle)
    finally:
        os.close(handle)
    if own and status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it belongs to another user", str(folder))
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise OSError(
            errno.EPERM, "every user can remove the locks of others in it (no sticky bit)", str(folder)
        )
