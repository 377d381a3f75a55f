"""The program that every back end starts once per machine: `python -m launcher.node PLAN --node K --attempt A`.

    take devices -> stage -> meet the other machines -> programs of the task, each supervised -> collect -> commit

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
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from launcher.dataset.packed import Part
from launcher.dataset.plain import StageProgress
from launcher.dataset.stage import stage_data
from launcher.devices.inventory import DeviceInfo, DeviceLocks, HeldDevices, check_devices, list_devices
from launcher.disk import locked, write_text
from launcher.errors import LauncherError, NodeTrouble, PlanError, RunFailed, StoreError, UsageError
from launcher.findings import errors
from launcher.node.context import NodeContext
from launcher.node.ending import ProgramFailed, RunEnd, end_of_error
from launcher.node.environment import check_environment
from launcher.node.finalupload import LAST_WORD_S, FinalUpload, send_last_word
from launcher.node.heartbeat import Heartbeat
from launcher.node.log import log_into
from launcher.node.preset import as_one_rank, preset_rank
from launcher.node.processes import device_choices, visible_devices
from launcher.node.ranktable import describe_machine
from launcher.node.rendezvous import peers_of
from launcher.node.statefile import StateFile, newest_step
from launcher.node.steps import StepRunner
from launcher.node.stopping import SIGNALS, SUPERSEDED, StopKind, Stopped, Stopper, StopRequest
from launcher.node.upload import BackgroundUpload
from launcher.plan.model import ASCEND_DEVICES, Plan
from launcher.ranks.gang import TEMPORARY_FAILURE
from launcher.ranks.orphans import node_mark, sweep
from launcher.results.collector import Collector, restore_latest
from launcher.results.restore import restore_file
from launcher.runfolder.states import EXIT_CODES, EndedBy, FirstFailure, Staging, State, UnsafeResults
from launcher.storage import ObjectStore
from launcher.units import show_bytes, show_duration

log = logging.getLogger("launcher.node")

DEVICE_FREE_S = 20.0
"""A process that has just been killed still shows up on its device for some seconds."""
PROGRESS = "progress/rank-0.jsonl"
AGAIN = "LAUNCHER_AGAIN"
"""Names a file. A platform that sets it starts the run again when node 0 has written that file."""


class NodeProgram:
    """One machine of one run. Made and run by the main thread, which is the one that starts ranks."""

    def __init__(self, plan: Plan, node: int, attempt: int, *, preset: bool = False) -> None:
        self.plan, self.node, self.preset = plan, node, preset
        self.first_attempt = attempt
        self.run_dir = plan.run_dir
        store = plan.store.open(upload_bytes_per_s=plan.upload_bytes_per_s)
        heartbeat = Heartbeat(self.run_dir.node_status(node), node, attempt)
        collector = Collector(self.run_dir.root, store, attempt=attempt, node=node)
        upload = BackgroundUpload(store, collector, self.run_dir, node, plan.upload_every_s, heartbeat)
        state = StateFile(plan, self.run_dir, node, attempt)
        stopper = Stopper(plan, upload)
        self.context = NodeContext(
            plan, node, store, collector, upload, heartbeat, state, stopper, peers_of(plan, node)
        )

    # ---- the whole life

    def run(self) -> int:
        """Exit code of the node program: 0, 100 FAILED, 103 CANCELLED, 75 stopped and worth a resume."""
        context = self.context
        context.stopper.install()
        context.state.save(State.QUEUED)
        context.state.keep_reserve()
        context.heartbeat.start()
        context.upload.start()
        try:
            context.peers.enter_attempt(self.first_attempt)
            self._work()
            end = RunEnd(State.SUCCEEDED)
        except Stopped as stop:
            if stop.request.kind is StopKind.SUPERSEDED:
                return self._superseded()
            end = self._end_of_request(stop.request)
        except Exception as error:  # a defect of ours must not leave a run without an end
            end = end_of_error(error, self.node)
            if isinstance(error, NodeTrouble) or (isinstance(error, ProgramFailed) and error.again):
                end = replace(end, state=self._unless_again(True))
        if context.upload.superseded.is_set():
            return self._superseded()
        return self._finish(end)

    def _end_of_request(self, request: StopRequest) -> RunEnd:
        if request.kind is StopKind.CANCEL:
            return RunEnd(State.CANCELLED, request.words, ended_by=EndedBy.USER)
        state = self._unless_again(request.kind is StopKind.PLATFORM)
        failure = FirstFailure(node=self.node, host=socket.gethostname(), rule=request.kind.rule)
        return RunEnd(state, request.words, ended_by=request.kind.ended_by, failure=failure)

    def _work(self) -> None:
        if left := sweep(node_mark(self.plan.run_id, self.node)):
            log.warning("ended %d process(es) that an earlier attempt had left here", len(left))
        check_environment(self.plan)
        with self._take_devices() as devices:
            self.context.state.note_phase("staging")
            self.context.state.save(State.RUNNING)
            log.info("%s: device(s) %s", self.plan.run_id, ", ".join(map(str, devices.ids)))
            data_dir = self._stage()
            self._prepare()
            self.context.state.note_resumed(newest_step(self.run_dir.checkpoints))
            self.context.state.save(State.RUNNING)
            self.context.peers.introduce(describe_machine(self.plan, devices.ids))
            runner = StepRunner(
                self.context, self.first_attempt, devices, data_dir, self._logical, self._near
            )
            for index, step in enumerate(self.plan.steps):
                runner.run(index, step)

    def _take_devices(self) -> HeldDevices:
        """The locks of this machine's devices, which must then be healthy and free. Raises PlanError."""
        plan = self.plan
        devices = list_devices(plan.device, addresses=False)
        usable = devices if plan.device == "cpu" else visible_devices(devices)
        self._logical = None if self.preset else {each.device_id: each.logical_id for each in usable}
        self._near = {each.device_id: each.numa_node for each in usable}
        choices = self._choices(usable)
        if not choices:
            words = f"{plan.devices_per_node} {plan.device} devices asked for, {len(usable)} here"
            raise PlanError(words, rule="no-devices")
        held = DeviceLocks(label=plan.run_id).acquire_any(
            choices, on_wait=self._on_wait, on_poll=self.context.stopper.check
        )
        try:
            self._check_devices(held)
        except BaseException:
            held.release()
            raise
        return held

    def _choices(self, usable: list[DeviceInfo] | tuple[DeviceInfo, ...]) -> list[tuple[int, ...]]:
        if self.preset:
            wanted = int(os.environ["ASCEND_DEVICE_ID"])
            return [(each.device_id,) for each in usable if each.logical_id == wanted]
        return device_choices(
            self.plan.device, self.plan.devices_per_node, [each.device_id for each in usable]
        )

    def _check_devices(self, held: HeldDevices) -> None:
        """Nobody else holds the locks, so what is on the devices now is on its way out, or foreign. Raises PlanError."""
        if self.plan.device not in ASCEND_DEVICES:
            return
        deadline = time.monotonic() + DEVICE_FREE_S
        while found := errors(check_devices(list_devices(self.plan.device, addresses=False), held.ids)):
            only_busy = all(finding.rule == "DV003" for finding in found)
            if not only_busy or time.monotonic() > deadline:
                raise PlanError("\n".join(map(str, found)), where=socket.gethostname(), rule="no-devices")
            self.context.heartbeat.set(detail=str(found[0].message))
            self.context.stopper.check()
            time.sleep(1.0)

    # ---- before the ranks

    def _on_wait(self, detail: str) -> None:
        self.context.heartbeat.set(phase="queued", detail=detail)

    def _stage(self) -> Path:
        if self.plan.data is None:
            return Path()
        self.context.heartbeat.set(phase="staging")
        staged = stage_data(
            self.plan.data.open(),
            Path(self.plan.cache_dir),
            unpacked=self.plan.unpack,
            part=Part(self.node, self.plan.nodes) if self.plan.placement == "shard" else None,
            reserve_bytes=self._reserve_bytes(),
            workers=self.plan.stage_workers,
            timeout_s=self.plan.stage_timeout_s,
            progress=self._on_stage_progress,
        )
        how = "already here, verified before" if staged.reused else f"in {show_duration(staged.seconds)}"
        log.info("staged %d files, %s, %s: %s", staged.files, show_bytes(staged.bytes), how, staged.path)
        return staged.path

    def _on_stage_progress(self, progress: StageProgress) -> None:
        self.context.stopper.check()
        if stop := self.context.peers.peer_stop():
            raise RunFailed(stop.reason)
        staging = Staging(
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            bytes_per_s=progress.bytes_per_s,
            waiting_for=progress.waiting_for or "",
        )
        self.context.heartbeat.set(staging=staging, detail=staging.words())

    def _reserve_bytes(self) -> int:
        numbers = self.plan.arithmetic
        return numbers.checkpoint_bytes * (numbers.keep_checkpoints + 2) if numbers else 0

    def _prepare(self) -> None:
        """Recipe and, on a machine that has none, the newest checkpoint of the run or of the one it starts from."""
        write_text(self.run_dir.recipe, json.dumps(self.plan.recipe, indent=1) + "\n")
        if self.node != 0:
            return  # node 0 decides which checkpoint everybody starts from
        with locked(self.run_dir.root / ".restore.lock"):
            here = newest_step(self.run_dir.checkpoints)
            step = self._restore(here)
            if step is None and self.plan.checkpoint is not None:
                step = _start_from(self.plan.checkpoint.open(), self.run_dir.root)
            if step != here:
                log.info("restored checkpoint step %d from the store", step)

    def _restore(self, here: int | None) -> int | None:
        """The newest step of disk and store, now on the disk. A store that does not answer stops nobody who has one."""
        try:
            step = restore_latest(self.context.store, self.run_dir.root)
            restore_file(self.context.store, self.run_dir.root, PROGRESS)
            return step
        except StoreError as error:
            if here is None:
                raise
            log.warning("starting from checkpoint step %d of this machine: %s", here, error)
            return newest_step(self.run_dir.checkpoints)

    # ---- after the ranks

    def _superseded(self) -> int:
        """A later attempt has taken over: nothing of this one counts any more, so nothing is written."""
        log.info("ending: %s", SUPERSEDED.words)
        self.context.upload.stop()
        self.context.heartbeat.stop()
        self.context.peers.close()
        return 0 if self._only_leader_tells() else EXIT_CODES[State.FAILED]

    def _finish(self, end: RunEnd) -> int:
        context = self.context
        log.info("%s%s", "all programs ended well" if end.state is State.SUCCEEDED else "ending: ", end.words)
        if end.state is not State.SUCCEEDED:
            context.peers.fail(end.words, cancelled=end.state is State.CANCELLED)
        context.state.release_reserve()
        context.heartbeat.set(phase="uploading")
        context.state.note_phase("uploading")
        context.upload.stop()
        context.state.end_attempt(end)
        context.stopper.settle()
        end, asked = self._upload_everything(end)
        final = end.state
        context.heartbeat.set(phase="done" if final.terminal else "queued", last_error=end.words)
        context.heartbeat.stop()
        context.state.save_end(end)
        send_last_word(context, LAST_WORD_S if asked else None)
        context.peers.close()
        if not final.terminal and self.node == 0:
            ask_for_another_start(context.state.value.exclude_hosts)
        return self._exit_code(final)

    def _upload_everything(self, end: RunEnd) -> tuple[RunEnd, StopRequest | None]:
        """The end as it is after the last upload, and the request that cut that off. A run whose results are not all in
        the store has not succeeded."""
        upload = FinalUpload(self.context, end.state, end.words)
        state = end.state
        try:
            asked = upload.wait()
        except (StoreError, OSError) as error:
            asked, state = None, State.FAILED if state.terminal else state
            end = self._unsafe(end, str(error))
        if asked:
            if asked.kind is StopKind.CANCEL and state is not State.FAILED:
                end, state = replace(end, ended_by=EndedBy.USER), State.CANCELLED
            elif state.terminal:
                state = State.FAILED
            end = self._unsafe(end, f"{asked.words} while they were uploaded")
        return replace(end, state=state), asked

    @staticmethod
    def _only_leader_tells() -> bool:
        """Whether the platform kills a run, perhaps a later attempt of it, for any node program that ends with an error."""
        return os.environ.get("LAUNCHER_EXIT") == "leader"

    def _unless_again(self, helps: bool) -> State:
        """How a run ends that another start by its platform could go on with: not at all where that is going to happen."""
        return State.QUEUED if helps and os.environ.get(AGAIN) else State.FAILED

    def _exit_code(self, final: State) -> int:
        """Where a platform takes a failure of any machine as a reason to kill the others, only node 0 tells of one."""
        if self.node != 0 and self._only_leader_tells():
            return 0
        stopped = final is State.FAILED and self.context.stopper.request
        return TEMPORARY_FAILURE if stopped or not final.terminal else EXIT_CODES[final]

    def _unsafe(self, end: RunEnd, why: str) -> RunEnd:
        """The end, with the fact that its results are on this machine only."""
        unsafe = UnsafeResults(host=socket.gethostname(), folder=str(self.run_dir.root), why=why)
        log.error("%s", unsafe.words())
        return replace(end, unsafe=(*end.unsafe, unsafe))


def ask_for_another_start(exclude: Sequence[str]) -> None:
    """To whoever started this node program: which hosts the next start should do without."""
    with suppress(OSError):
        Path(os.environ[AGAIN]).write_text(",".join(exclude))


def _start_from(source: ObjectStore, run_dir: Path) -> int:
    """The newest checkpoint of another run. Raises UsageError when it has none."""
    step = restore_latest(source, run_dir)
    if step is None:
        raise UsageError(
            f"no complete checkpoint in {source.url}",
            hint="model.checkpoint names the folder of a run, the one that holds checkpoints/",
            rule="no-checkpoint",
        )
    return step


def main(argv: list[str] | None = None) -> int:
    """Runs one node of a plan to its end; blocks until then."""
    parser = argparse.ArgumentParser(prog="launcher.node", description="Run one machine's part of a plan.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--node", type=int, default=0)
    parser.add_argument("--attempt", type=int, default=1)
    args = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the stopper takes them
    plan, node = Plan.model_validate_json(args.plan.read_text()), args.node
    try:
        rank = preset_rank(plan, os.environ)
        if rank is not None:
            plan, node = as_one_rank(plan, rank, os.environ["ASCEND_DEVICE_ID"]), rank
        log_into(plan.run_dir.node_log(args.attempt, node))
        os.umask(0o022)
        plan.run_dir.root.mkdir(parents=True, exist_ok=True)
        os.chdir(plan.run_dir.root)  # don't hold on to the folder it was submitted from
        return NodeProgram(plan, node, args.attempt, preset=rank is not None).run()
    except LauncherError as error:
        log.error("%s", error)
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
