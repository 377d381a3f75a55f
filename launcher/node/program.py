"""The program that every back end starts once per machine: `python -m launcher.node PLAN --node K --attempt A`.

    check the environment -> take devices -> stage data -> restore a checkpoint -> meet the other machines
    -> each step of the plan (see `StepRunner`) -> upload -> commit -> final state

Node 0 is the only writer of the run's state from the moment it starts. A node program never ends without one of the
final states in the run's folder, unless it is killed outright; then `launcher status` sees that it is gone, and
`launcher resume` goes on from what is on the disk and in the store.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from launcher.clock import Begin
from launcher.disk import make_private, write_private
from launcher.errors import LauncherError
from launcher.node.board import StatusBoard
from launcher.node.cadence import Cadence
from launcher.node.checkpoints import restore_newest
from launcher.node.context import NodeContext
from launcher.node.devices import take_devices
from launcher.node.ending import RunEnd, end_of_error, end_of_request
from launcher.node.environment import check_environment
from launcher.node.finish import finish, finish_superseded
from launcher.node.heartbeat import Heartbeat
from launcher.node.log import log_into
from launcher.node.notices import Notices
from launcher.node.platformset import platform_set, words_on
from launcher.node.preset import as_one_rank, preset_rank
from launcher.node.ranktable import describe_machine
from launcher.node.rendezvous import peers_of
from launcher.node.staging import stage
from launcher.node.statefile import StateFile, newest_step
from launcher.node.steps import StepRunner
from launcher.node.stopping import SIGNALS, Stopped, Stopper
from launcher.node.tracking import Tracking
from launcher.node.upload import BackgroundUpload
from launcher.node.warmup import WarmUp
from launcher.node.writtenplaces import WrittenPlaces
from launcher.plan.model import Plan
from launcher.ranks.orphans import node_mark, sweep
from launcher.results.collector import Collector
from launcher.results.programfiles import ProgramFiles
from launcher.runfolder.attempts import Fence
from launcher.runfolder.states import State

log = logging.getLogger("launcher.node")


class NodeProgram:
    """One machine of one run. Made and run by the main thread, whose end would end the ranks.

    `preset`: the platform has started one process per device, and this is one of them.
    """

    def __init__(self, plan: Plan, node: int, attempt: int, *, preset: bool = False) -> None:
        self.plan, self.node, self.preset = plan, node, preset
        self.first_attempt = attempt
        self.context = make_context(plan, node, attempt)

    def run(self) -> int:
        """Exit code of the node program: 0, 100 FAILED, 103 CANCELLED, 75 stopped and worth a resume."""
        self._start_services()
        try:
            self._run_plan()
            end = RunEnd(State.SUCCEEDED)
        except Stopped as stop:
            end = end_of_request(stop.request, self.node)
        except Exception as error:  # a defect of ours must not leave a run without an end
            end = end_of_error(error, self.node)
        if self.context.upload.superseded.is_set():
            return finish_superseded(self.context)
        return finish(self.context, end)

    def _start_services(self) -> None:
        self.context.stopper.install()
        self.context.state.save(State.QUEUED)
        self.context.state.keep_reserve()

    def _start_threads(self) -> None:
        """Raises OSError when the machine has no more of them."""
        self.context.heartbeat.start()
        self.context.upload.start()
        self.context.board.start()
        self.context.notices.start()
        self.context.tracking.start()

    def _run_plan(self) -> None:
        """Raises LauncherError when the run can't go on, Stopped when somebody asked for its end."""
        plan, context = self.plan, self.context
        context.peers.enter_attempt(self.first_attempt)
        self._start_threads()
        if orphans := sweep(node_mark(plan.run_id, self.node)):
            log.warning("ended %d process(es) that an earlier attempt had left here", len(orphans))
        check_environment(plan)
        # a cluster of the platform that does not fit is refused before data are staged
        if not self.preset and (words := words_on(platform_set(plan, self.node, os.environ), os.environ)):
            log.info("%s", words)
        with take_devices(context, preset=self.preset) as devices, WarmUp(plan, self.node):
            context.state.note_phase("staging")
            context.state.save(State.RUNNING)
            log.info("%s: device(s) %s", plan.run_id, ", ".join(map(str, devices.ids)))
            data_dir = stage(context)
            write_private(plan.run_dir.recipe, json.dumps(plan.recipe, indent=1) + "\n")
            if self.node == 0:  # it decides which checkpoint all machines start from
                restore_newest(context)
            context.state.note_resumed(newest_step(plan.run_dir.checkpoints))
            context.state.save(State.RUNNING)
            context.peers.introduce(describe_machine(plan, devices.ids))
            runner = StepRunner(context, self.first_attempt, devices, data_dir)
            for index, step in enumerate(plan.steps):
                runner.run(index, step)


def make_context(plan: Plan, node: int, attempt: int) -> NodeContext:
    """The services of a node program; nothing is started yet."""
    run_dir = plan.run_dir
    store = plan.store.open(upload_bytes_per_s=plan.upload_bytes_per_s)
    heartbeat = Heartbeat(run_dir.node_status(node), node, attempt)
    fence = Fence(store, attempt, takes=node == 0)
    ranks = [rank.rank for rank in plan.ranks_of(node)]
    program = None
    if plan.own_program:
        places = WrittenPlaces(plan, ranks, store, Begin())
        program = ProgramFiles(run_dir.root, plan.outputs, ranks, node, places.elsewhere)
    cadence = Cadence.of_node(node, plan.nodes, plan.upload_every_s)
    collector = Collector(
        run_dir.root,
        store,
        attempt=attempt,
        node=node,
        fence=fence,
        program=program,
        growing_every_s=cadence.growing_s,
    )
    upload = BackgroundUpload(store, collector, run_dir, node, cadence, heartbeat)
    state = StateFile(plan, run_dir, node, attempt)
    return NodeContext(
        plan=plan,
        node=node,
        store=store,
        collector=collector,
        upload=upload,
        board=StatusBoard(plan, node, upload),
        heartbeat=heartbeat,
        state=state,
        notices=Notices(plan, node, state, heartbeat),
        tracking=Tracking(plan, node, state, heartbeat),
        stopper=Stopper(plan, upload),
        peers=peers_of(plan, node),
    )


def main(argv: list[str] | None = None) -> int:
    """Runs one node of a plan to its end; blocks until then."""
    parser = argparse.ArgumentParser(prog="launcher.node", description="Run one machine's part of a plan.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--node", type=int, default=0)
    parser.add_argument("--attempt", type=int, default=1)
    args = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the stopper takes them
    try:
        plan, node = Plan.read(args.plan.read_bytes(), str(args.plan)), args.node
        rank = preset_rank(plan, os.environ)
        if rank is not None:
            plan, node = as_one_rank(plan, rank, os.environ["ASCEND_DEVICE_ID"]), rank
        os.umask(0o077)  # logs, checkpoints and results may hold what is for nobody else
        make_private(plan.run_dir.root)
        with suppress(OSError):  # a script of the platform may have made it, under another umask
            plan.run_dir.root.chmod(0o700)
        log_into(plan.run_dir.node_log(args.attempt, node))
        os.chdir(plan.run_dir.root)  # the folder of the submission may be removed or unmounted
        return NodeProgram(plan, node, args.attempt, preset=rank is not None).run()
    except LauncherError as error:
        log.error("%s", error)
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
