"""Rules on a plan for the back end `slurm` that need no cluster: settings with another effect than expected."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.backends.slurm.script import options_of
from launcher.findings import Finding
from launcher.plan.model import ASCEND_DEVICES, Plan
from launcher.units import show_duration

EARLY_S = 60
"""Slurm may send its warning up to a minute early."""
LITTLE_TRAINING = 0.5


def check_slurm(plan: Plan) -> list[Finding]:
    """Findings SL010 to SL013."""
    return list(_findings(plan))


def _findings(plan: Plan) -> Iterator[Finding]:
    options = options_of(plan)
    if options.time is not None:
        usable_s = max(0, options.time - options.stop_before - EARLY_S)
        if options.time <= options.stop_before:
            yield Finding(
                "SL010",
                "error",
                f"the run would be stopped as soon as it starts: {show_duration(options.stop_before)} before the end of {show_duration(options.time)}",
                "slurm.stop_before",
                "raise slurm.time, or lower slurm.stop_before to what a checkpoint and its upload need",
            )
        elif usable_s < LITTLE_TRAINING * options.time:
            yield Finding(
                "SL011",
                "warning",
                f"of {show_duration(options.time)} only {show_duration(usable_s)} are for training, the rest is for stopping",
                "slurm.stop_before",
                "raise slurm.time, or lower slurm.stop_before",
            )
    if plan.device in ASCEND_DEVICES and options.cpus is None and not options.exclusive and options.gres:
        yield Finding(
            "SL012",
            "warning",
            f"no CPUs are asked for: most clusters then give one per node, for {plan.devices_per_node} ranks and their data workers",
            "slurm.cpus",
            "set it to the share of a node's CPUs that goes with the NPUs, or set slurm.exclusive",
        )
    for url, field in ((plan.store.url, "output.url"), (plan.data.url if plan.data else "", "data.url")):
        if url.startswith("file:///tmp/"):
            yield Finding(
                "SL013",
                "warning",
                f"{url} is a folder that nodes seldom share",
                field,
                "name a folder that this machine and all nodes see, or an object store",
            )
