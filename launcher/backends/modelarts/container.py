"""From a container of ModelArts to a node program: find the run, agree on the attempt, then become `launcher.node`.

    python -m launcher.backends.modelarts.container --run obs://bucket/runs/RUN --attempt A --code FOLDER [--plan SHA256]

Started by the boot file, after that has verified and unpacked the code. Everything here may happen again: in the same
container, in a new one, and once per card with a preset engine.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from launcher.backends.agree import Start, agree, ended_before, outdated
from launcher.backends.modelarts.container_access import check_access, keys_words
from launcher.backends.modelarts.container_env import Container, moxing_words, obs_client, which_moxing
from launcher.backends.modelarts.machines import CONTAINER_HOME
from launcher.disk import write_private
from launcher.errors import IntegrityError, LauncherError, NotFound
from launcher.node.log import CONSOLE, log_to_stderr
from launcher.node.preset import preset_rank
from launcher.plan.code import OWN_FOLDERS
from launcher.plan.model import Plan
from launcher.plan.rewrite import with_words
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage import ObjectStore
from launcher.storage.address import StoreAddress
from launcher.storage.moxing import CLIENT_VARIABLE, CLIENTS

log = logging.getLogger("launcher.backends.modelarts.container")

PATIENCE_S = 300.0
"""The first request to a store may come before the network of a new container is ready."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns only where there is nothing to start; otherwise this process becomes the node program."""
    args = _parse(argv)
    log_to_stderr()
    if args.region:  # where the platform names no endpoint, the region's own is used
        os.environ.setdefault("AWS_REGION", args.region)
    os.environ.setdefault(CLIENT_VARIABLE, obs_client(args.client, os.environ))
    try:
        command = prepare(args, os.environ)
    except LauncherError as error:
        log.error("%s", error)
        return error.exit_code
    if command is not None:
        os.environ |= {"LAUNCHER_LAUNCH_ID": command.launch, CONSOLE: "1"}
        sys.stderr.flush()
        os.execv(sys.executable, command.argv)  # noqa: S606 - a program of our own, without a shell
    return 0


class Command:
    """What this process becomes."""

    def __init__(self, argv: list[str], launch: str) -> None:
        self.argv, self.launch = argv, launch


def prepare(args: argparse.Namespace, env: Mapping[str, str]) -> Command | None:
    """None when the run has ended already. Raises LauncherError."""
    container = Container.of(env)
    log.info(
        "machine %d of %d, start %d (schedule %d, process %d)",
        container.node,
        container.nodes,
        container.starts,
        container.schedule_count,
        container.process_count,
    )
    client = env.get(CLIENT_VARIABLE, CLIENTS[0])
    log.info("obs:// goes through %s, %s", client, keys_words(env, client))
    log.log(logging.WARNING if which_moxing() == "foreign" else logging.INFO, "%s", moxing_words())
    store = StoreAddress(url=args.run, endpoint=args.endpoint, region=args.region).open(PATIENCE_S)
    plan = read_plan(read_small_object(store, paths.PLAN), args.plan)
    container.check(plan.nodes)
    check_access(store, container.node)
    if outdated(store, args.attempt):
        log.warning("a later attempt of this run has a job of its own; this one ends")
        return None
    if (state := ended_before(store, args.attempt)) is not None:
        log.info("the run has ended before this start: %s", state)
        return None
    plan = placed(plan, disk_of(container), Path(args.code))
    rank = preset_rank(plan, env)
    node, nodes = (rank, plan.world_size) if rank is not None else (container.node, container.nodes)
    start = agree(store, node, nodes, args.attempt, timeout_s=float(plan.watch.nodes_timeout))
    log.info("this is attempt %d", start.attempt)
    _bring_state(store, plan, node, start)
    with suppress(NotFound):  # the run was cancelled while the job waited
        write_private(plan.run_dir.cancel, read_small_object(store, paths.CANCEL).decode(errors="replace"))
    write_private(plan.run_dir.plan, plan.text())
    words = [sys.executable, "-m", "launcher.node", str(plan.run_dir.plan)]
    return Command([*words, "--node", str(container.node), "--attempt", str(start.attempt)], start.launch)


def read_plan(data: bytes, digest: str) -> Plan:
    """Raises IntegrityError for a plan that is not the one that was submitted."""
    actual = hashlib.sha256(data).hexdigest()
    if digest and actual != digest:
        raise IntegrityError(
            f"sha256 {actual}, the job was made for {digest}",
            where=paths.PLAN,
            hint="somebody changed the run's folder; submit it again",
        )
    return Plan.read(data, paths.PLAN)


def disk_of(container: Container) -> Path:
    """The local disk: /cache, or where that is missing, a folder beside the platform's own."""
    if os.access(Path(CONTAINER_HOME).parent, os.W_OK):
        return Path(CONTAINER_HOME)
    base = (container.mount or Path(tempfile.gettempdir())) / "cache"
    log.info("no /cache here; using %s", base)
    return base


def placed(plan: Plan, disk: Path, code: Path) -> Plan:
    """The plan with the folders of this container in place of the usual ones."""
    return with_words(plan, {CONTAINER_HOME: str(disk), "{code}": str(code / OWN_FOLDERS)})


def _bring_state(store: ObjectStore, plan: Plan, node: int, start: Start) -> None:
    """Copy the run's state to node 0 of a new container, which continues it."""
    if node != 0 or plan.run_dir.state.exists():
        return
    try:
        write_private(plan.run_dir.state, read_small_object(store, paths.STATE).decode(errors="replace"))
    except LauncherError as error:
        log.warning("no earlier state of the run: %s", error.what)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="launcher.backends.modelarts.container", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--run", required=True, help="URL of the run's folder")
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--code", required=True, help="folder that the boot file unpacked")
    parser.add_argument("--plan", default="", help="sha256 of plan.json")
    parser.add_argument("--endpoint", default=None)
    parser.add_argument("--region", default=None)
    parser.add_argument("--client", default="auto", choices=["auto", *CLIENTS], help="what reaches OBS")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
