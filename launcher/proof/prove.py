"""All proofs of this machine in their order, within ten minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from launcher.devices.chip import chip_here
from launcher.devices.inventory import list_devices
from launcher.errors import LauncherError, PlanError
from launcher.node.devices import visible_devices
from launcher.plan.model import NPU_DEVICES
from launcher.proof.bench import Bench
from launcher.proof.devices import prove_all_reduce, prove_compute
from launcher.proof.failures import prove_air, prove_plog
from launcher.proof.model import Proof, not_shown
from launcher.proof.resume import prove_resume
from launcher.proof.steps import prove_speed, prove_steps
from launcher.runfolder import paths

BUDGET_S = 570.0
"""With the time that a run needs to stop, less than ten minutes."""
LEAST_S = 5.0
"""A proof is not begun with less time than this."""
CPU_RANKS = 2
PROOFS: dict[str, Callable[[Bench], Iterator[Proof]]] = {
    "compute": prove_compute,
    "all-reduce": prove_all_reduce,
    "resume": prove_resume,
    "air": prove_air,
    "plog": prove_plog,
    "step": prove_steps,
    "speed": prove_speed,
}
"""By name, the quickest first."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices to prove: their kind as in resources.device, and how many a run may take."""

    chip: str
    devices: int


def machine_here(device: str) -> Machine:
    """The devices of this machine; `auto` is the chip that it has. Raises NoDevices, PlanError."""
    chip = chip_here() if device == "auto" else device
    if chip == "cpu":
        return Machine("cpu", min(CPU_RANKS, os.cpu_count() or 1))
    if chip not in NPU_DEVICES:
        raise PlanError(
            f"'{chip}' can't be proven", where="--device", hint=f"one of auto, cpu, {', '.join(NPU_DEVICES)}"
        )
    return Machine(chip, len(visible_devices(list_devices(chip, addresses=False), os.environ)))


def bench_for(machine: Machine, now: float | None = None) -> Bench:
    """A folder of its own below `$LAUNCHER_HOME/proofs`, and ten minutes from now."""
    group = time.strftime("prove-%Y%m%d-%H%M%S", time.gmtime(now))
    folder = paths.home() / "proofs" / group
    folder.mkdir(parents=True)
    return Bench(folder, machine.chip, machine.devices, time.monotonic() + BUDGET_S, group)


def prove(bench: Bench, names: Sequence[str] = ()) -> Iterator[Proof]:
    """The chosen proofs, or all, each as soon as it is known. A proof that can't be started says why."""
    for name in names or PROOFS:
        if bench.left_s() < LEAST_S:
            yield not_shown(name, f"the ten minutes were over; launcher doctor --prove --only {name}")
            continue
        try:
            yield from PROOFS[name](bench)
        except LauncherError as error:
            yield not_shown(name, str(error).replace("\n", "; "))
