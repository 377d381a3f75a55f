"""The machines of a Slurm allocation (`salloc`, `sbatch`) with the addresses of their devices.

python -m launcher.backends.slurm.allocation CHIP CHOICE    started by `srun` on each node: prints that node as JSON
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from launcher.errors import BackendError, LauncherError, UsageError
from launcher.jsontext import parse_json
from launcher.ranktable.generate import DeviceAddress, NodeAddress
from launcher.ranktable.sources import Choice, this_machine

_MARK = "launcher-node:"


def allocated(
    chip: str, choice: Choice, super_pod: str = "", *, timeout_s: float = 120.0
) -> list[NodeAddress]:
    """Ask every machine of the allocation that this process runs in, through one `srun`.

    Machines come in the order of SLURM_NODEID. Blocks for at most `timeout_s`. Raises UsageError outside of an
    allocation and BackendError when a machine does not answer.
    """
    count = os.environ.get("SLURM_JOB_NUM_NODES", os.environ.get("SLURM_NNODES", ""))
    if not count.isdecimal():
        hint = "Run it inside salloc or sbatch."
        raise UsageError("no Slurm allocation: SLURM_JOB_NUM_NODES is not set", hint=hint)
    done = _srun(count, chip, choice, super_pod, timeout_s)
    nodes, failures = _read(done.stdout)
    if failures or len(nodes) != int(count):
        detail = failures[0] if failures else (done.stderr.strip().splitlines() or ["no message"])[-1]
        message = f"{len(nodes)} of {count} nodes answered: {detail}"
        raise BackendError(message, where="srun", hint="Try `launcher rank-table generate` on that node.")
    return [node for _, node in sorted(nodes.items())]


def _srun(
    count: str, chip: str, choice: Choice, super_pod: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    question = json.dumps({"logical": choice.logical, "visible": choice.visible, "super_pod": super_pod})
    command = ["srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--kill-on-bad-exit=0"]
    command += [sys.executable, "-m", "launcher.backends.slurm.allocation", chip, question]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise UsageError("srun is not installed", hint="Run it on a machine of the Slurm cluster.") from None
    except subprocess.TimeoutExpired:
        hint = "Are all nodes of the allocation up? See `sinfo -R`."
        raise BackendError(
            f"no answer from every node within {timeout_s:g} s", where="srun", hint=hint
        ) from None


def _read(text: str) -> tuple[dict[int, NodeAddress], list[str]]:
    """The nodes that answered by their number, and the errors of the others."""
    nodes: dict[int, NodeAddress] = {}
    failures: list[str] = []
    for line in text.splitlines():
        if not line.startswith(_MARK):
            continue
        values = parse_json(line.removeprefix(_MARK))
        if "error" in values:
            failures.append(f"{values['host']}: {values['error']}")
            continue
        devices = tuple(DeviceAddress(**device) for device in values["node"].pop("devices"))
        nodes[int(values["index"])] = NodeAddress(devices=devices, **values["node"])
    return nodes, failures


def _answer(arguments: Sequence[str]) -> str:
    """This node as one line of JSON, or why it can't be described."""
    chip, question = arguments[0], parse_json(arguments[1])
    choice = Choice(
        *(tuple(question[key]) if question[key] is not None else None for key in ("logical", "visible"))
    )
    try:
        node = this_machine(chip, choice, super_pod=question["super_pod"])
    except LauncherError as error:
        return _MARK + json.dumps({"host": socket.gethostname(), "error": str(error)})
    return _MARK + json.dumps({"index": int(os.environ["SLURM_NODEID"]), "node": asdict(node)})


if __name__ == "__main__":
    sys.stdout.write(_answer(sys.argv[1:]) + "\n")
