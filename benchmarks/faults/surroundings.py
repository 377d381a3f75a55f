"""What a run has of its own for its fault: a proxy before its store, a disk, a clock."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.disks import Disk, FullDisk, ReadOnlyDisk, disk_of_its_own
from benchmarks.faults.injections import FAULTS
from benchmarks.faults.platforms import Platform
from benchmarks.faults.programs import Program
from benchmarks.faults.run import THROUGH_PROXY
from tests.servers.faults import Faults, delay, fault_proxy

WHOLE = ("evaluating", "exporting")
"""Moments that need the programs after the training, which start MindSpore three times more."""
DISKS: dict[str, type[Disk]] = {"full disk": FullDisk, "read-only disk": ReadOnlyDisk}
MADE_HERE = ("", "proxy", "clock", *DISKS)
"""What a run on this machine can have of its own."""
CLOCK_THAT_IS_SET = """
import os, time
right, file = time.time, os.environ["CLOCK_OFF"]

def wrong():
    with open(file) as text:
        return right() + float(text.read())

time.time = wrong
"""


@dataclass(frozen=True)
class Surroundings:
    """How a run differs from others. `whole`: with evaluation and export. `silent`: only the watchdog finds its fault."""

    whole: bool = True
    silent: bool = False
    disk: Disk | None = None
    clock: Path | None = None
    proxy: Faults | None = None


def prepared(
    program: Program, platform: Platform, number: int, fault: str, moment: str, stack: contextlib.ExitStack
) -> Surroundings:
    """What the run has of its own for this fault, until `stack` is closed."""
    kind = FAULTS[fault]
    proxy = disk = clock = None
    if kind.needs == "proxy" or (program.data and moment in THROUGH_PROXY):
        proxy = stack.enter_context(fault_proxy(platform.server.endpoint))
        _slow_down(proxy, moment)
    if kind.needs in DISKS:
        place = platform.folder / f"disk-{number}"
        disk = stack.enter_context(disk_of_its_own(DISKS[kind.needs], place, program.disk_mb))
    if kind.needs == "clock":
        clock = platform.folder / f"clock-{number}" / "off"
        clock.parent.mkdir(exist_ok=True)
        clock.write_text("0.0")
        (clock.parent / "sitecustomize.py").write_text(CLOCK_THAT_IS_SET)
    whole = moment in WHOLE or fault == "none"
    return Surroundings(whole=whole, silent=kind.silent, disk=disk, clock=clock, proxy=proxy)


def _slow_down(proxy: Faults, moment: str) -> None:
    """Make a moment long enough to be met."""
    if moment == "staging":
        proxy.add(delay(0.2), method="GET", path="/digits/")
    elif moment == "uploading":
        proxy.add(delay(0.3), method="PUT")
    elif moment == "commit":
        proxy.add(delay(1.0), method="PUT", path="/MANIFEST.json")
