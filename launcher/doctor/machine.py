"""Is this machine fit for a job? Each check answers with a value; nothing here prints.

MindSpore is never imported: what is installed is read from the packages' own records.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.runfolder import paths
from launcher.units import show_bytes

Status = Literal["ok", "warn", "fail", "none"]
"""`none`: not here, and only needed for some jobs."""

MINDSPORE = "2.10"
LITTLE_DISK = 20 << 30
LITTLE_INODES = 100_000
LITTLE_SHM = 1 << 30
_ASCEND = Path("/usr/local/Ascend")
_TOOL_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. `fix` is what to do, for warn and fail."""

    name: str
    status: Status
    text: str
    fix: str = ""


def machine_checks(*, home: Path | None = None, ascend: Path = _ASCEND) -> list[Check]:
    """Everything that needs neither a job nor a store."""
    checks: list[Callable[[], Check | Iterable[Check]]] = [
        _python,
        _mindspore,
        _numpy,
        _compiler,
        _cores,
        _shared_memory,
        lambda: _disk("disk", home or paths.home()),
        _locks,
        lambda: _cann(ascend),
        lambda: _driver(ascend),
        _slurm,
        _modelarts,
        _git,
    ]
    found: list[Check] = []
    for check in checks:
        result = check()
        found += [result] if isinstance(result, Check) else result
    return found


def program_output(*command: str) -> str | None:
    """The first line a tool prints; None when it is not there, fails, or does not answer in time."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TOOL_S, stdin=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.strip() or done.stderr.strip()).split("\n", 1)[0]


def version_of(package: str) -> str:
    """Empty when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _python() -> Check:
    version = platform.python_version()
    text = f"{version} at {sys.executable}, launcher {version_of('ascend-launcher') or 'not installed'}"
    if sys.version_info[:2] == (3, 11):
        return Check("Python", "ok", text)
    return Check("Python", "warn", text, "ranks need Python 3.11; name one in local.python")


def _mindspore() -> Check:
    version = version_of("mindspore")
    if not version:
        fix = "pip install 'ascend-launcher[train]', or name a Python that has it in local.python"
        return Check("MindSpore", "warn", "not installed for this Python; enough to submit and fetch", fix)
    if version.startswith(f"{MINDSPORE}."):
        return Check("MindSpore", "ok", version)
    return Check(
        "MindSpore", "warn", f"{version}; tested with {MINDSPORE}", f"pip install 'mindspore=={MINDSPORE}.*'"
    )


def _numpy() -> Iterable[Check]:
    version = version_of("numpy")
    if version and version_of("mindspore") and not version.startswith("1."):
        yield Check(
            "NumPy", "fail", f"{version}; MindSpore {MINDSPORE} breaks with it", "pip install 'numpy<2'"
        )
    elif version:
        yield Check("NumPy", "ok", version)


def _compiler() -> Iterable[Check]:
    """What training on CPU compiles its operators with."""
    if not version_of("mindspore"):
        return
    from vitmodels.device.kernels.library import Unavailable, compiler

    try:
        yield Check("C++ compiler", "ok", compiler())
    except Unavailable:
        yield Check("C++ compiler", "none", "none here: training on CPU takes twice as long; NPUs need none")


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"{usable} of {os.cpu_count()} cores usable"
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return Check("CPU", "ok", text)
    return Check("CPU", "ok", f"{text}, {show_bytes(memory)} of memory")


def _shared_memory() -> Iterable[Check]:
    shm = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    if not shm.is_dir():
        return
    disk = os.statvfs(shm)
    free = disk.f_bavail * disk.f_frsize
    if free >= LITTLE_SHM:
        yield Check("shared memory", "ok", f"{show_bytes(free)} free")
    else:
        fix = "start the container with a larger one, for example --shm-size=8g"
        yield Check("shared memory", "warn", f"only {show_bytes(free)} free; data workers may crash", fix)


def _disk(name: str, folder: Path) -> Check:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        return Check(
            name, "fail", f"{existing} can't be written to", "set LAUNCHER_HOME to a folder of your own"
        )
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    text = f"{show_bytes(free)} free for {folder}"
    if free < LITTLE_DISK:
        return Check(
            name, "warn", text, "launcher prune --data, or another disk: LAUNCHER_HOME, data.cache_dir"
        )
    if disk.f_files and disk.f_favail < LITTLE_INODES:
        return Check(
            name,
            "warn",
            f"{text}, but only {disk.f_favail} inodes",
            "remove small files, or use another disk",
        )
    return Check(name, "ok", text)


def _locks() -> Check:
    from launcher.devices.inventory import default_lock_dir

    folder = default_lock_dir()
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if os.access(existing, os.W_OK):
        return Check("device locks", "ok", str(folder))
    fix = "let its owner make it writable for all (mode 1777), or set LAUNCHER_LOCK_DIR, the same one for all users"
    return Check("device locks", "fail", f"{existing} can't be written to", fix)


def device_checks(chip: str) -> list[Check]:
    """NPUs of this machine: how many, their health and addresses. `chip` as in resources.device."""
    from launcher.devices.inventory import check_devices, list_devices
    from launcher.errors import LauncherError

    try:
        devices = list_devices(chip)
    except LauncherError as error:
        if shutil.which("npu-smi") or any(Path("/dev").glob("davinci[0-9]*")):
            return [
                Check("NPUs", "fail", str(error.what), error.hint or "look at `npu-smi info` and `dmesg`")
            ]
        return [Check("NPUs", "none", "no npu-smi and no /dev/davinci*: jobs run on CPU here")]
    names = ", ".join(sorted({device.name for device in devices if device.name}))
    found = [Check("NPUs", "ok", f"{len(devices)} × {names or chip}")]
    for finding in check_devices(devices, [device.device_id for device in devices]):
        found.append(
            Check(f"NPU {finding.where.removeprefix('device ')}", "warn", finding.message, finding.fix)
        )
    lacking = [str(device.device_id) for device in devices if not device.device_ip]
    if lacking and len(devices) > 1:
        fix = "set them with `hccn_tool -i N -ip -s …`, or in /etc/hccn.conf"
        found.append(Check("HCCN", "fail", f"no network address for NPU {', '.join(lacking)}", fix))
    elif chip != "cpu":
        found.append(Check("HCCN", "ok", "every NPU has a network address"))
    return found


def _cann(ascend: Path) -> Check:
    names = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
    places = [Path(os.environ[name]) for name in names if os.environ.get(name)]
    for place in [*places, ascend / "ascend-toolkit" / "latest", ascend / "cann"]:
        if place.is_dir():
            version = _version_in(place)
            if places:
                return Check("CANN", "ok", f"{version or 'found'} at {place}")
            fix = f"source {ascend}/ascend-toolkit/set_env.sh in the shell that submits"
            return Check(
                "CANN", "warn", f"{version or 'found'} at {place}, but its environment is not set", fix
            )
    return Check("CANN", "none", "not installed; only NPU jobs need it")


def _driver(ascend: Path) -> Iterable[Check]:
    place = ascend / "driver"
    if place.is_dir():
        yield Check("driver", "ok", _version_in(place) or f"found at {place}")


def _version_in(folder: Path) -> str:
    for name in ("version.info", "version.cfg"):
        for path in (folder / name, *folder.glob(f"*/{name}")):
            try:
                lines = path.read_text(errors="replace").splitlines()
            except OSError:
                continue
            for line in lines:
                key, _, value = line.partition("=")
                if key.strip().lower() in ("version", "package_version"):
                    return value.strip()
    return ""


def _slurm() -> Check:
    text = program_output("sbatch", "--version")
    if not text:
        return Check("Slurm", "none", "no sbatch here")
    from launcher.backends.slurm.check import describe_cluster
    from launcher.errors import BackendError

    try:
        return Check("Slurm", "ok", f"{text}; {describe_cluster()}")
    except BackendError as error:
        fix = "`scontrol ping` tells who is down; SLURM_CONF names the cluster's configuration"
        return Check("Slurm", "warn", f"{text}, but the controller does not answer: {error.what}", fix)


def _modelarts() -> Check:
    version = version_of("huaweicloudsdkmodelarts")
    if not version:
        return Check("ModelArts", "none", "no SDK: pip install huaweicloudsdkmodelarts for that back end")
    missing = [name for name in ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK") if not os.environ.get(name)]
    profile = Path(os.environ.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE") or "~/.huaweicloud/credentials")
    if not missing:
        return Check("ModelArts", "ok", f"SDK {version}, credentials in the environment")
    if profile.expanduser().is_file():
        return Check("ModelArts", "ok", f"SDK {version}, credentials in {profile}")
    return Check("ModelArts", "none", f"SDK {version}, but no {' and '.join(missing)} in the environment")


def _git() -> Check:
    text = program_output("git", "--version")
    return (
        Check("git", "ok", text)
        if text
        else Check("git", "none", "not here: records of runs lack the commit")
    )


def worst(checks: Sequence[Check]) -> Status:
    """fail, warn or ok."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "ok"
