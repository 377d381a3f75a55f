"""From a pod to a node program: which node it is, which attempt this start is, then become `launcher.node`.

    python -m launcher.backends.kubernetes.entry PLAN ATTEMPT

Started by the boot program. A pod that is made anew, and a job that is applied once more, come here again: the pods of
a start agree on an attempt that nobody has begun.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.backends.agree import agree, ended_before, outdated
from launcher.backends.kubernetes.machines import options_of
from launcher.backends.kubernetes.place import Pod, node_of
from launcher.disk import write_private
from launcher.errors import LauncherError, NotFound
from launcher.node.log import CONSOLE, log_to_stderr
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage import ObjectStore
from launcher.storage.address import StoreAddress

log = logging.getLogger("launcher.backends.kubernetes.entry")

PATIENCE_S = 300.0
"""The first request to a store may come before the network of a new pod is ready."""


@dataclass(frozen=True, slots=True)
class NodeCommand:
    """What this process becomes; `launch` tells apart two starts of one attempt."""

    argv: tuple[str, ...]
    launch: str


def main(argv: Sequence[str]) -> int:
    """Returns only where there is nothing to start; otherwise this process becomes the node program.

    An error is one line, as of the boot program: it becomes the pod's termination message, and the run's cause.
    """
    log_to_stderr()
    path, attempt = Path(argv[0]), int(argv[1])
    try:
        plan = Plan.read(path.read_bytes(), str(path))
        command = prepare(plan, attempt, os.environ)
    except LauncherError as error:
        sys.stderr.write(f"error: {'; '.join(filter(None, [error.headline, error.hint]))}\n")
        return error.exit_code
    finally:
        path.unlink(missing_ok=True)
    if command is None:
        return 0
    os.environ |= {"LAUNCHER_LAUNCH_ID": command.launch, CONSOLE: "1"}
    os.chdir("/")
    sys.stderr.flush()
    os.execv(sys.executable, command.argv)  # noqa: S606 - a program of our own, without a shell
    return 1


def prepare(plan: Plan, attempt: int, env: Mapping[str, str]) -> NodeCommand | None:
    """None when the run has ended already. Raises LauncherError."""
    pod, plan = Pod.of(env), here(plan)
    store = plan.store.open(PATIENCE_S)
    if outdated(store, attempt):
        log.warning("a later attempt of this run has a job of its own; this one ends")
        return None
    if (state := ended_before(store, attempt)) is not None:
        log.info("the run has ended before this start: %s", state)
        return None
    node = node_of(pod, plan, lambda words: log.info("waiting for the platform's rank table: %s", words))
    log.info("pod %s is node %d of %d", pod.name, node, plan.nodes)
    start = agree(store, node, plan.nodes, attempt, timeout_s=float(plan.watch.nodes_timeout))
    log.info("this is attempt %d", start.attempt)
    if node == 0:
        _bring_state(store, plan)
    with suppress(NotFound):  # the run was cancelled while the job waited
        write_private(plan.run_dir.cancel, read_small_object(store, paths.CANCEL).decode(errors="replace"))
    write_private(plan.run_dir.plan, plan.text())
    words = (sys.executable, "-P", "-m", "launcher.node", str(plan.run_dir.plan))
    return NodeCommand((*words, "--node", str(node), "--attempt", str(start.attempt)), start.launch)


def here(plan: Plan) -> Plan:
    """The plan without profiles: those are of the machine that submitted, and the pods have the keys in their environment.

    Where MindCluster restarts the job, the node programs restart nothing: only one side may.
    """
    stores: dict[str, Any] = {
        name: _without_profile(getattr(plan, name)) for name in ("store", "data", "checkpoint")
    }
    if options_of(plan).fault_scheduling:
        stores["retry"] = plan.retry.model_copy(update={"max_restarts": 0})
    return plan.model_copy(update=stores)


def _without_profile(address: StoreAddress | None) -> StoreAddress | None:
    return address.model_copy(update={"profile": None}) if address else None


def _bring_state(store: ObjectStore, plan: Plan) -> None:
    """Copy the run's state to node 0 of a new pod, which continues it."""
    if plan.run_dir.state.exists():
        return
    try:
        write_private(plan.run_dir.state, read_small_object(store, paths.STATE).decode(errors="replace"))
    except LauncherError as error:
        log.warning("no earlier state of the run: %s", error.what)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
