"""Is this machine fit for a job? Each check answers with a value; nothing here prints.

MindSpore is never imported: what is installed is read from the packages' own records.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.doctor.platform import platform_checks
from launcher.findings import Finding, Severity
from launcher.installed import program_output, version_of
from launcher.portable import disk_space, lacks_of_linux, usable_cores
from launcher.runfolder import paths
from launcher.units import show_bytes

CORNERS = {"3.10": ("2.7",), "3.11": ("2.8", "2.9", "2.10"), "3.12": ("2.10",), "3.13": ()}
"""The MindSpore releases that training was tested with, by Python; on the others only the base package and the node program."""
OLDEST, NEWEST = (2, 7), (2, 10)
"""Releases of MindSpore that were tested."""
LITTLE_DISK = 20 << 30
LITTLE_INODES = 100_000
LITTLE_SHM = 1 << 30
_ASCEND = Path("/usr/local/Ascend")


def machine_checks(*, home: Path | None = None, ascend: Path = _ASCEND) -> list[Finding]:
    """Everything that needs neither a job nor a store."""
    checks: list[Callable[[], Finding | Iterable[Finding]]] = [
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
        platform_checks,
        _git,
    ]
    findings: list[Finding] = []
    for check in checks:
        result = check()
        findings += [result] if isinstance(result, Finding) else result
    return findings


def _python() -> Finding:
    version = platform.python_version()
    text = f"{version} at {sys.executable}, launcher {version_of('ascend-launcher') or 'not installed'}"
    if python_release() in CORNERS:
        return Finding("Python", "ok", text)
    tested = ", ".join(CORNERS)
    return Finding(
        "Python", "warning", f"{text}; tested are {tested}", fix="name one of these in local.python"
    )


def _mindspore() -> Finding:
    version = version_of("mindspore")
    if not version:
        fix = "pip install 'ascend-launcher[train]', or name a Python that has it in local.python"
        return Finding(
            "MindSpore", "warning", "not installed for this Python; enough to submit and fetch", fix=fix
        )
    release = ".".join(version.split(".")[:2])
    here, tested = python_release(), ", ".join(f"{p} with {', '.join(m)}" for p, m in CORNERS.items() if m)
    if release in CORNERS.get(here, ()):
        return Finding("MindSpore", "ok", f"{version}; training was tested with Python {here} and {release}")
    if OLDEST <= _numbers(release) <= NEWEST:
        text = f"{version}; not tested with Python {here}, but Python {tested}"
        return Finding("MindSpore", "info", text)
    return Finding(
        "MindSpore",
        "warning",
        f"{version}; tested are Python {tested}",
        fix="pip install 'mindspore>=2.7,<2.11'",
    )


def python_release() -> str:
    """Of this process, as in `CORNERS`."""
    return ".".join(map(str, sys.version_info[:2]))


def _numbers(release: str) -> tuple[int, ...]:
    """Empty for what is no release."""
    parts = release.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def _numpy() -> Iterable[Finding]:
    version = version_of("numpy")
    if version and version_of("mindspore") and not version.startswith("1."):
        yield Finding("NumPy", "error", f"{version}; MindSpore breaks with it", fix="pip install 'numpy<2'")
    elif version:
        yield Finding("NumPy", "ok", version)


def _compiler() -> Iterable[Finding]:
    """What training on CPU compiles its operators with."""
    if not version_of("mindspore"):
        return
    from vitmodels.device.kernels.library import Unavailable, compiler

    try:
        yield Finding("C++ compiler", "ok", compiler())
    except Unavailable:
        yield Finding(
            "C++ compiler", "info", "none here: training on CPU takes twice as long; NPUs need none"
        )


def _cores() -> Finding:
    text = f"{usable_cores()} of {os.cpu_count()} cores usable"
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return Finding("CPU", "ok", text)
    return Finding("CPU", "ok", f"{text}, {show_bytes(memory)} of memory")


def _shared_memory() -> Iterable[Finding]:
    shm = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    if not shm.is_dir():
        return
    free = disk_space(shm).free
    if free >= LITTLE_SHM:
        yield Finding("shared memory", "ok", f"{show_bytes(free)} free")
    else:
        fix = "start the container with a larger one, for example --shm-size=8g"
        yield Finding(
            "shared memory", "warning", f"only {show_bytes(free)} free; data workers may crash", fix=fix
        )


def _disk(name: str, folder: Path) -> Finding:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):  # what `access` allows may be read-only, or no folder
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        fix = "set LAUNCHER_HOME to a folder of your own"
        return Finding(name, "error", f"{existing} can't be written to: {reason}", fix=fix)
    disk = disk_space(existing)
    text = f"{show_bytes(disk.free)} free for {folder}"
    if disk.free < LITTLE_DISK:
        return Finding(
            name, "warning", text, fix="launcher prune --data, or another disk: LAUNCHER_HOME, data.cache_dir"
        )
    if disk.free_inodes is not None and disk.free_inodes < LITTLE_INODES:
        fix = "remove small files, or use another disk"
        return Finding(name, "warning", f"{text}, but only {disk.free_inodes} inodes", fix=fix)
    return Finding(name, "ok", text)


def _locks() -> Finding:
    if lacking := lacks_of_linux():
        text = f"not used here: without {lacking} no run can be on this machine; it can submit and fetch"
        return Finding("device locks", "info", text)
    from launcher.devices.holders import stuck_holders
    from launcher.devices.lockfolder import SYSTEM, default_lock_dir, private_lock_dir

    folder = default_lock_dir()
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if stuck := stuck_holders(folder):
        fix = "look at these processes; runs wait until they end"
        return Finding("device locks", "warning", f"{folder}: {'; '.join(stuck)}", fix=fix)
    if os.access(existing, os.W_OK):
        alone = f", for you alone; for all users: sudo install -d -m 1777 {SYSTEM}"
        return Finding("device locks", "ok", f"{folder}{alone if folder == private_lock_dir() else ''}")
    fix = "let its owner make it writable for all (mode 1777), or set LAUNCHER_LOCK_DIR, the same one for all users"
    return Finding("device locks", "error", f"{existing} can't be written to", fix=fix)


def device_checks(chip: str, *, asked: bool = False) -> list[Finding]:
    """NPUs of this machine: how many, their health and addresses. `chip` as in resources.device.

    With `asked`, it is what a job asks for, and compared with what npu-smi names.
    """
    from launcher.devices.inventory import check_addresses, check_chip, check_devices, list_devices
    from launcher.errors import LauncherError

    try:
        devices = list_devices(chip)
    except LauncherError as error:
        if shutil.which("npu-smi") or any(Path("/dev").glob("davinci[0-9]*")):
            return [
                Finding(
                    "NPUs", "error", str(error.what), fix=error.hint or "look at `npu-smi info` and `dmesg`"
                )
            ]
        return [Finding("NPUs", "info", "no npu-smi and no /dev/davinci*: jobs run on CPU here")]
    names = ", ".join(sorted({device.name for device in devices if device.name}))
    findings = [Finding("NPUs", "ok", f"{len(devices)} × {names or chip}")]
    for device in devices:
        for finding in check_devices(devices, [device.device_id]):
            name = f"NPU {device.device_id}"
            findings.append(Finding(name, "warning", finding.message, fix=finding.fix))
    if asked:
        findings += [replace(f, rule="NPUs", where="") for f in check_chip(chip, devices)]
    findings += [
        Finding("HCCN", "warning", f"{f.where}: {f.message}", fix=f.fix)
        for f in check_addresses([device.device_id for device in devices])
    ]
    lacking = [str(device.device_id) for device in devices if not device.device_ip]
    if lacking and len(devices) > 1:
        fix = "set them with `hccn_tool -i N -ip -s …`, or in /etc/hccn.conf"
        findings.append(Finding("HCCN", "error", f"no network address for NPU {', '.join(lacking)}", fix=fix))
    elif chip != "cpu":
        findings.append(Finding("HCCN", "ok", "every NPU has a network address"))
    return findings


def _cann(ascend: Path) -> Finding:
    names = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
    places = [Path(os.environ[name]) for name in names if os.environ.get(name)]
    for place in [*places, ascend / "ascend-toolkit" / "latest", ascend / "cann"]:
        if place.is_dir():
            version = _version_in(place)
            if places:
                return Finding("CANN", "ok", f"{version or 'found'} at {place}")
            fix = f"source {ascend}/ascend-toolkit/set_env.sh in the shell that submits"
            return Finding(
                "CANN", "warning", f"{version or 'found'} at {place}, but its environment is not set", fix=fix
            )
    return Finding("CANN", "info", "not installed; only NPU jobs need it")


def _driver(ascend: Path) -> Iterable[Finding]:
    place = ascend / "driver"
    if place.is_dir():
        yield Finding("driver", "ok", _version_in(place) or f"found at {place}")


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


def _git() -> Finding:
    text = program_output("git", "--version")
    return (
        Finding("git", "ok", text)
        if text
        else Finding("git", "info", "not here: records of runs lack the commit")
    )


def worst(findings: Sequence[Finding]) -> Severity:
    """`error`, `warning` or `ok`; a note is no fault."""
    severities = {finding.severity for finding in findings}
    return "error" if "error" in severities else "warning" if "warning" in severities else "ok"
