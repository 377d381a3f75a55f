"""One step of the plan on this machine: start its ranks, watch them, report, and do what node 0 decides.

A step runs one program. It is restarted until it ends well on all machines, or until the run ends.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.clock import Begin
from launcher.disk import write_private
from launcher.errors import StoreError
from launcher.node.checkpoints import download_common, share_newest
from launcher.node.context import NodeContext
from launcher.node.decisions import CheckpointProgress, decide_next
from launcher.node.devices import RunDevices
from launcher.node.ending import ProgramFailed, RunEnd
from launcher.node.log import log_into
from launcher.node.messages import Machine, NextAction, StartOrder, StepReport
from launcher.node.processes import free_port, gang_processes
from launcher.node.ranktable import common_table
from launcher.node.resumefile import files_of_ranks, newest_at, newest_files
from launcher.node.snapshot import place_snapshot
from launcher.node.statefile import newest_step
from launcher.node.stopping import CANCEL, StopKind, Stopped, StopRequest
from launcher.plan.model import ASCEND_DEVICES, Step
from launcher.ranks import plog
from launcher.ranks.causes import own_rules
from launcher.ranks.diagnose import Cause, find_cause, find_own_cause
from launcher.ranks.gang import EndOrder, Gang, Outcome, Process, supervise
from launcher.ranks.orphans import gang_mark
from launcher.ranks.progressfile import LineProgressFile
from launcher.ranks.restarts import RestartPolicy
from launcher.ranks.watchdog import Watchdog
from launcher.runfolder.states import State
from launcher.units import show_duration

log = logging.getLogger("launcher.node")

PEER = "peer"
"""Kind of the order to end a gang whose other machines have failed."""


class StepRunner:
    """Runs the steps of a plan on one machine. A restart makes a new attempt, for all steps that follow."""

    def __init__(self, context: NodeContext, attempt: int, devices: RunDevices, data_dir: Path) -> None:
        self._context, self.attempt = context, attempt
        self._plan, self._run_dir = context.plan, context.plan.run_dir
        self._devices, self._data_dir = devices, data_dir
        self._policy = RestartPolicy(context.plan.retry)
        self._rules = own_rules(context.plan.retry.on)
        self._watchdog: Watchdog | None = None

    def run(self, index: int, step: Step) -> None:
        """Blocks until the step has ended well on all machines. Raises RunFailed or Stopped."""
        self._policy.next_step()
        while True:
            action = self._run_once(index, step)
            if action.do == "next":
                return
            if action.exclude_host:
                self._context.state.note_excluded(action.exclude_host)
            if action.do == "end":
                if action.stop is StopKind.CANCEL:
                    raise Stopped(CANCEL)
                self._context.stopper.check()
                raise ProgramFailed(action)
            self._pause(action.pause_s)
            self._next_attempt(action)

    def _run_once(self, index: int, step: Step) -> NextAction:
        """Start the step together with the other machines, wait for its end, and agree on what follows."""
        context = self._context
        context.stopper.check()
        before = self._mark(share_newest(context))
        order = context.peers.begin_step(index, self._make_order, context.stopper.check)
        if order.rank_table:
            write_private(self._run_dir.rank_table, order.rank_table)
        download_common(context, order.step)
        report = self._report(step, self._run_gang(step, order))
        check = context.stopper.check if report.ok else _never_stop
        return context.peers.end_step(index, report, lambda reports: self._decide(reports, before), check)

    def _make_order(self, machines: Sequence[Machine]) -> StartOrder:
        """On node 0: the common start of all machines. Raises PlanError for a rank table that can't work, Stopped."""
        single, scheduler_port = self._plan.nodes == 1, free_port()
        if not single:
            self._take_attempt()
        return StartOrder(
            scheduler_host="127.0.0.1" if single else machines[0].address,
            scheduler_port=scheduler_port,
            master_port=free_port(other_than=scheduler_port),
            rank_table=common_table(self._plan, machines, self._context.heartbeat),
            step=(step := newest_step(self._run_dir.checkpoints)),
            resume=newest_files(self._context) if self._plan.own_program and step is None else "",
        )

    def _take_attempt(self) -> None:
        """Before any rank starts: should this machine be lost, the next start must not count as the same attempt.

        Raises Stopped when somebody else has the attempt. Without an answer of the store the next upload takes it.
        """
        try:
            self._context.upload.check_attempt()
        except StoreError as error:
            log.warning("attempt %d is not taken yet: %s", self.attempt, error)
        self._context.stopper.check()

    def _mark(self, step: int | None) -> int | None:
        """The newest checkpoint as a number that grows: a step, or the time of a file of the user's own program."""
        return newest_at(self._context) if step is None and self._plan.own_program else step

    # ---- the ranks

    def _run_gang(self, step: Step, order: StartOrder) -> Outcome:
        context, resume = self._context, self._resume_paths(order)
        processes = gang_processes(
            self._plan, step, context.node, self.attempt, self._data_dir, self._devices, order, resume
        )
        if not processes:
            self._watchdog = None
            return Outcome(())
        place_snapshot(self._plan, context.store, [process.cwd for process in processes])
        log.info("%s: starting %d process(es)", step.name, len(processes))
        mark = gang_mark(self._plan.run_id, context.node, self.attempt)
        gang = Gang(processes, mark, self._plan.watch.log_limit, self._line_progress(processes))
        files = {p.rank: self._run_dir.progress_of(p.rank) for p in processes if p.rank is not None}
        classes = self._plan.recipe.get("num_classes", 0) if step.name == "train" else 0
        self._watchdog = watchdog = Watchdog(gang, files, self._plan.watch, classes)
        context.heartbeat.watch(files)
        begun = Begin()
        gang.start()
        pids = gang.pids()
        context.heartbeat.started(pids)
        self._note_running(step)
        outcome = supervise(
            gang,
            grace_s=self._plan.watch.grace,
            stop_requested=lambda: _words_of(context.stopper.request),
            check=lambda: self._tick(watchdog, gang),
            finished=watchdog.finished,
        )
        outcome = replace(outcome, end_order=watchdog.judge_end()) if outcome.ok else outcome
        log.info("%s: %s", step.name, "done" if outcome.ok else "not done")
        if not outcome.ok:
            context.state.note_phase("waiting")
            target = self._run_dir.plogs(self.attempt, context.node)
            outcome = replace(outcome, plogs=plog.collect(processes, pids, begun.oldest_file(), target))
        return outcome

    def _resume_paths(self, order: StartOrder) -> Mapping[int, str]:
        """What each rank of a user's own program resumes from: a file, or the set of a program that keeps the contract."""
        if not self._plan.own_program:
            return {}
        if order.step is not None:
            folder = str(self._run_dir.checkpoints / f"step-{order.step}")
            return {rank.rank: folder for rank in self._plan.ranks_of(self._context.node)}
        paths = files_of_ranks(self._context, order.resume)
        if paths:
            log.info("resuming from %s", ", ".join(sorted(set(paths.values()))))
        return paths

    def _note_running(self, step: Step) -> None:
        self._context.heartbeat.set(phase="running")
        self._context.state.note_phase("running", step.name)
        self._context.state.save(State.RUNNING)

    def _line_progress(self, processes: Sequence[Process]) -> dict[str, LineProgressFile]:
        """For a program of one's own; used as long as the program writes no progress file itself."""
        if (spec := self._plan.progress) is None:
            return {}
        return {
            p.name: LineProgressFile(self._run_dir.progress_of(p.rank), spec)
            for p in processes
            if p.rank is not None
        }

    def _tick(self, watchdog: Watchdog, gang: Gang) -> EndOrder | None:
        context = self._context
        end_order = watchdog.check()
        lost = gang.pump.lost_bytes
        words = f"the disk is full: {lost} bytes of logs are lost" if lost else watchdog.warning
        words = words or "; ".join(
            f"{each.name} is not uploaded: {each.why}" for each in context.collector.left_out[:3]
        )
        context.heartbeat.set(warning=words)
        report = context.upload.last_report
        if report and context.state.note_safe(report.latest_step, report.latest_file):
            context.state.save(State.RUNNING)
        if end_order is None and (stop := context.peers.peer_stop()):
            return EndOrder(PEER, stop.reason, "stop" if stop.saving else "abandon")
        return end_order

    # ---- after the ranks

    def _report(self, step: Step, outcome: Outcome) -> StepReport:
        request = self._context.stopper.request
        if outcome.ok and (request is None or self._all_done()):
            return StepReport(ok=True)
        if request is not None:
            return StepReport(ok=False, stopped=request.words, stop=request.kind)
        cause = self._cause_of(outcome)
        if cause is None:
            return StepReport(ok=False)
        log.error("%s: %s", step.name, cause.words)
        return StepReport(ok=False, cause=self._with_device(cause))

    def _cause_of(self, outcome: Outcome) -> Cause | None:
        """None when this gang was ended because of another machine, which has the cause, and had no failure of its own."""
        host, node = socket.gethostname(), self._context.node
        if outcome.end_order is not None and outcome.end_order.kind == PEER:
            return find_own_cause(outcome, host, self._rules, node)
        return find_cause(outcome, host, self._rules, node)

    def _all_done(self) -> bool:
        """Whether all ranks of this machine have reported that they are done."""
        return self._watchdog is None or self._watchdog.finished()

    def _with_device(self, cause: Cause) -> Cause:
        """The cause, with the device of the failing rank."""
        failure = cause.failure
        if failure is None or failure.rank is None or self._plan.device not in ASCEND_DEVICES:
            return cause
        local = {rank.rank: rank.local_rank for rank in self._plan.ranks_of(self._context.node)}
        ids = dict(enumerate(self._devices.ids))
        if (device_id := ids.get(local.get(failure.rank, -1))) is None:
            return cause
        device = f"{self._plan.device} {device_id}"
        return cause.model_copy(update={"failure": failure.model_copy(update={"device": device})})

    def _decide(self, reports: Sequence[StepReport], before: int | None) -> NextAction:
        """On node 0: what follows for all machines. `before` is the newest checkpoint at the start of the step."""
        after = self._mark(newest_step(self._run_dir.checkpoints))
        progress = CheckpointProgress(before, after)
        return decide_next(reports, self._policy, progress, self.attempt, self._plan.run_id)

    def _next_attempt(self, action: NextAction) -> None:
        context = self._context
        step = newest_step(self._run_dir.checkpoints)
        self.attempt = action.attempt
        context.collector.fence.enter(action.attempt)
        context.heartbeat.set(attempt=self.attempt, last_error=action.reason)
        context.state.end_attempt(RunEnd(State.FAILED, action.reason, failure=action.failure))
        context.state.begin_attempt(self.attempt, step)
        context.state.save(State.RUNNING)
        log_into(self._run_dir.node_log(self.attempt, context.node))
        log.info("attempt %d follows: %s", self.attempt, action.reason)
        file = newest_files(context) if step is None and self._plan.own_program else ""
        from_where = f"checkpoint step {step}" if step is not None else file or "the beginning"
        log.info("attempt %d starts from %s", self.attempt, from_where)
        context.peers.enter_attempt(self.attempt)

    def _pause(self, seconds: float) -> None:
        self._context.heartbeat.set(phase="waiting", detail=f"a pause of {show_duration(seconds)}")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._context.stopper.check()
            time.sleep(0.2)


def _words_of(request: StopRequest | None) -> str:
    return request.words if request else ""


def _never_stop() -> None:
    """A check that never ends a wait."""
