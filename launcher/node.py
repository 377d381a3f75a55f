"""The program that every back end starts once per machine: `python -m launcher.node PLAN --node K --attempt A`.

    take devices -> stage -> rank table -> programs of the task, each supervised -> collect -> commit

It is the only writer of the run's state from the moment it starts, and it never ends without one of the final states
in the run's folder, unless it is killed outright; then `launcher status` sees that it is gone, and
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
import traceback
from pathlib import Path
from types import FrameType

from launcher import diagnose
from launcher.collect import Collector, restore_latest
from launcher.courier import Courier
from launcher.devices import DeviceLocks, HeldDevices, list_devices
from launcher.errors import IntegrityError, LauncherError, PlanError, RunFailed, StoreError, UsageError
from launcher.files import write_text
from launcher.findings import errors
from launcher.gangs import device_choices, gang_processes
from launcher.heartbeat import Heartbeat
from launcher.plan import ASCEND_DEVICES, Plan, Step
from launcher.ranktable import generate, lint
from launcher.ranktable_sources import Choice, this_machine
from launcher.run import TEMPORARY_FAILURE, Gang, Outcome, supervise
from launcher.stage import StageProgress, stage
from launcher.states import EXIT_CODES, Attempt, RunState, State
from launcher.units import show_bytes, show_duration

log = logging.getLogger("launcher.node")

MAX_BACKOFF_S = 300
FRUITLESS_RESTARTS = 2


class Stopped(LauncherError):
    """Somebody asked the node program to stop: SIGTERM, a cancel request, the time limit."""


class NodeProgram:
    """One machine of one run. Made and run by the main thread, which is the one that starts ranks."""

    def __init__(self, plan: Plan, node: int, attempt: int) -> None:
        self.plan = plan
        self.node = node
        self.attempt = attempt
        self.run_dir = plan.run_dir
        self.started = time.time()
        self.stop_reason = ""
        self.state = self._first_state()
        self.heartbeat = Heartbeat(self.run_dir.node_status(node), node, attempt)
        self.store = plan.store.open()
        self.collector = Collector(self.run_dir.root, self.store, attempt=attempt, node=node)
        self.courier = Courier(
            self.store, self.collector, self.run_dir, node, plan.upload_every_s, self.heartbeat
        )
        self.data_dir = Path()

    # ---- the whole life

    def run(self) -> int:
        """Exit code of the node program: 0, 100 FAILED, 103 CANCELLED, 75 stopped and worth a resume."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._save_state(State.QUEUED, "")
        self.heartbeat.start()
        self.courier.start()
        try:
            self._work()
            final, reason = State.SUCCEEDED, ""
        except Stopped as stop:
            final = State.CANCELLED if stop.what == "cancelled" else State.FAILED
            reason = "cancelled on request" if final is State.CANCELLED else stop.what
        except LauncherError as error:
            final, reason = State.FAILED, str(error)
        except Exception as error:  # a defect of ours must not leave a run without an end
            log.error("%s", traceback.format_exc())
            final, reason = State.FAILED, f"defect in launcher: {type(error).__name__}: {error}"
        return self._finish(final, reason)

    def _work(self) -> None:
        with self._take_devices() as self.devices:
            self._save_state(State.RUNNING, "")
            log.info("%s: device(s) %s", self.plan.run_id, ", ".join(map(str, self.devices.ids)))
            self._stage()
            self._prepare()
            for step in self.plan.steps:
                self._run_step(step)

    def _take_devices(self) -> HeldDevices:
        locks = DeviceLocks(label=self.plan.run_id)
        available = [device.device_id for device in list_devices(self.plan.device, addresses=False)]
        choices = device_choices(self.plan.device, self.plan.devices_per_node, available)
        if not choices:
            raise PlanError(
                f"{self.plan.devices_per_node} {self.plan.device} devices asked for, {len(available)} here"
            )
        return locks.acquire_any(choices, on_wait=self._on_wait, on_poll=self._check_stop)

    def _finish(self, final: State, reason: str) -> int:
        log.info("%s%s", "all programs ended well" if final is State.SUCCEEDED else "ending: ", reason)
        self.heartbeat.set(phase="uploading")
        self.courier.stop()
        ended = [
            *self.state.attempts[:-1],
            self.state.attempts[-1].model_copy(update={"ended_at": time.time(), "outcome": reason or "done"}),
        ]
        self.state = self.state.model_copy(update={"attempts": tuple(ended)})
        try:
            self._upload_all(final, reason)
        except StoreError as error:
            final = State.FAILED
            unsafe = f"results are on {socket.gethostname()} in {self.run_dir.root}, but not all in the store: {error}"
            reason = f"{reason}; {unsafe}" if reason else unsafe
            log.error("%s", unsafe)
        self.heartbeat.set(phase="done", last_error=reason)
        self.heartbeat.stop()
        self._save_state(final, reason)
        try:
            self.courier.send_status()
        except StoreError as error:
            log.error("the final state is only on this machine: %s", error)
        stopped = final is State.FAILED and self.stop_reason
        return TEMPORARY_FAILURE if stopped else EXIT_CODES[final]

    def _upload_all(self, final: State, reason: str) -> None:
        """Everything into the store, verified; MANIFEST.json last. Waits for a store that is down. Raises StoreError."""
        deadline = time.monotonic() + self.plan.upload_patience_s
        pause = 1.0
        while True:
            try:
                report = self.collector.sync(final=True)
                self._note_safe(report.latest_step)
                self.collector.commit(
                    {
                        "run_id": self.plan.run_id,
                        "state": final.value,
                        "reason": reason,
                        "attempt": self.attempt,
                    }
                )
                return
            except StoreError as error:
                if time.monotonic() + pause > deadline or isinstance(error, IntegrityError):
                    raise
                log.warning(
                    "upload: %s; trying again for %s", error, show_duration(deadline - time.monotonic())
                )
                self.heartbeat.set(upload_error=str(error))
                time.sleep(pause)
                pause = min(30.0, pause * 2)

    # ---- before the ranks

    def _on_wait(self, detail: str) -> None:
        self.heartbeat.set(phase="queued", detail=detail)

    def _stage(self) -> None:
        if self.plan.data is None:
            return
        self.heartbeat.set(phase="staging")
        staged = stage(
            self.plan.data.open(),
            Path(self.plan.cache_dir),
            reserve_bytes=self._reserve_bytes(),
            workers=self.plan.stage_workers,
            timeout_s=self.plan.stage_timeout_s,
            progress=self._on_stage_progress,
        )
        how = "already here, verified before" if staged.reused else f"in {show_duration(staged.seconds)}"
        log.info("staged %d files, %s, %s: %s", staged.files, show_bytes(staged.bytes), how, staged.path)
        self.data_dir = staged.path

    def _on_stage_progress(self, progress: StageProgress) -> None:
        self._check_stop()
        if progress.waiting_for:
            self.heartbeat.set(detail=f"waiting for {progress.waiting_for}")
        elif progress.bytes_total:
            percent = 100 * progress.bytes_done / progress.bytes_total
            self.heartbeat.set(
                detail=f"{percent:.0f} % of {show_bytes(progress.bytes_total)} at {show_bytes(progress.bytes_per_s)}/s"
            )

    def _reserve_bytes(self) -> int:
        numbers = self.plan.arithmetic
        return numbers.checkpoint_bytes * (numbers.keep_checkpoints + 2) if numbers else 0

    def _prepare(self) -> None:
        """Recipe, rank table and, on a machine that has none, the newest checkpoint of the run or of the one it starts from."""
        write_text(self.run_dir.recipe, json.dumps(self.plan.recipe, indent=1) + "\n")
        if self.plan.device in ASCEND_DEVICES:
            self._write_rank_table()
        if newest_step(self.run_dir.checkpoints) is None:
            step = restore_latest(self.store, self.run_dir.root)
            if step is None and self.plan.checkpoint is not None:
                source = self.plan.checkpoint.open()
                step = restore_latest(source, self.run_dir.root)
                if step is None:
                    raise UsageError(
                        f"no complete checkpoint in {source.url}",
                        hint="model.checkpoint names the folder of a run, the one that holds checkpoints/",
                    )
            if step is not None:
                log.info("restored checkpoint step %d from the store", step)

    def _write_rank_table(self) -> None:
        """The table of this machine's devices, linted before anything starts. Raises PlanError."""
        table = generate(self.plan.device, [this_machine(self.plan.device, Choice(visible=self.devices.ids))])
        bad = errors(lint(table, chip=self.plan.device, ranks=self.plan.world_size, nodes=self.plan.nodes))
        if bad:
            raise PlanError(
                "\n".join(map(str, bad)),
                where=str(self.run_dir.rank_table),
                hint="`launcher rank-table lint --explain RULE` tells more",
            )
        table.write(self.run_dir.rank_table)

    # ---- the ranks

    def _run_step(self, step: Step) -> None:
        """One program on the gang, restarted from the newest checkpoint as the job allows. Raises RunFailed or Stopped."""
        backoff, fruitless, restarts = float(self.plan.retry.backoff), 0, 0
        while True:
            before = newest_step(self.run_dir.checkpoints)
            outcome = self._run_gang(step)
            if outcome.ok:
                return
            self._check_stop()
            reason = diagnose.explain(outcome, f"{socket.gethostname()} (node {self.node})")
            log.error("%s: %s", step.name, reason)
            after = newest_step(self.run_dir.checkpoints)
            fruitless = fruitless + 1 if after == before else 0
            if outcome.failure and not diagnose.worth_a_restart(outcome.failure):
                raise RunFailed(
                    reason,
                    hint=f"a restart would fail the same way; `launcher logs {self.plan.run_id}` has the whole log",
                )
            if restarts >= self.plan.retry.max_restarts:
                raise RunFailed(
                    f"{reason} (after {restarts} restart{'s'[: restarts > 1]})" if restarts else reason
                )
            if fruitless > FRUITLESS_RESTARTS:
                raise RunFailed(f"{reason}; {fruitless} tries in a row made no progress")
            restarts += 1
            self._pause(backoff)
            backoff = min(MAX_BACKOFF_S, backoff * 2)
            self._next_attempt(reason, after)

    def _run_gang(self, step: Step) -> Outcome:
        self._check_stop()
        processes = gang_processes(self.plan, step, self.node, self.attempt, self.data_dir, self.devices)
        log.info("%s: starting %d process(es)", step.name, len(processes))
        gang = Gang(processes)
        gang.start()
        self.heartbeat.set(phase="running")
        files = {p.rank: self.run_dir.progress_of(p.rank) for p in processes if p.rank is not None}
        self.heartbeat.watch(files, gang)
        sources = [*files.values(), *(p.log for p in processes)]
        start = time.time()
        outcome = supervise(
            gang,
            grace_s=self.plan.watch.grace,
            hang_after_s=self.plan.watch.hang_after,
            stop_requested=self._stop_requested,
            on_tick=self._on_tick,
            activity=lambda: max([start, *map(_modified, sources)]),
        )
        log.info("%s: %s", step.name, "done" if outcome.ok else "not done")
        return outcome

    def _on_tick(self) -> None:
        report = self.courier.last_report
        if report and report.latest_step != self.state.safe_step:
            self._note_safe(report.latest_step)
            self._save_state(State.RUNNING, "")

    def _next_attempt(self, reason: str, resumed_step: int | None) -> None:
        now = time.time()
        ended = self.state.attempts[-1].model_copy(update={"ended_at": now, "outcome": reason})
        self.attempt += 1
        self.collector.attempt = self.attempt
        self.heartbeat.set(attempt=self.attempt, last_error=reason)
        begun = Attempt(attempt=self.attempt, started_at=now, resumed_step=resumed_step)
        self.state = self.state.model_copy(
            update={"attempt": self.attempt, "attempts": (*self.state.attempts[:-1], ended, begun)}
        )
        self._save_state(State.RUNNING, "")
        from_where = f"checkpoint step {resumed_step}" if resumed_step is not None else "the beginning"
        log.info("attempt %d starts from %s", self.attempt, from_where)

    def _pause(self, seconds: float) -> None:
        self.heartbeat.set(phase="waiting", detail=f"restarting in {show_duration(seconds)}")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._check_stop()
            time.sleep(0.2)

    # ---- stopping

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_reason = self.stop_reason or f"stopped by {signal.Signals(number).name}"

    def _stop_requested(self) -> str:
        """The reason to stop, or an empty text: a signal, a cancel request (here or in the store), the time limit."""
        if self.run_dir.cancel.exists() or self.courier.cancelled.is_set():
            self.stop_reason = "cancelled"
        limit = self.plan.time_limit_s
        if not self.stop_reason and limit and time.time() - self.started > limit:
            self.stop_reason = f"the time limit of {show_duration(limit)} is over"
        return self.stop_reason

    def _check_stop(self) -> None:
        if reason := self._stop_requested():
            raise Stopped(reason)

    # ---- the state

    def _first_state(self) -> RunState:
        now = time.time()
        attempt = Attempt(
            attempt=self.attempt, started_at=now, resumed_step=newest_step(self.run_dir.checkpoints)
        )
        try:
            old = RunState.model_validate_json(self.run_dir.state.read_text())
        except (OSError, ValueError):
            return RunState(
                run_id=self.plan.run_id,
                name=self.plan.name,
                backend=self.plan.backend,
                state=State.QUEUED,
                attempt=self.attempt,
                submitted_at=now,
                updated_at=now,
                attempts=(attempt,),
                url=self.plan.store.url,
            )
        earlier = tuple(a for a in old.attempts if a.attempt < self.attempt)
        return old.model_copy(
            update={"attempt": self.attempt, "attempts": (*earlier, attempt), "ended_at": None}
        )

    def _save_state(self, state: State, reason: str) -> None:
        now = time.time()
        self.state = self.state.model_copy(
            update={
                "state": state,
                "reason": reason,
                "updated_at": now,
                "ended_at": now if state.terminal else None,
                "results": read_results(self.run_dir.root / "eval"),
            }
        )
        if self.node == 0:
            write_text(self.run_dir.state, self.state.model_dump_json(indent=1) + "\n")

    def _note_safe(self, step: int | None) -> None:
        self.state = self.state.model_copy(update={"safe_step": step})


def newest_step(checkpoints: Path) -> int | None:
    """Step of the newest complete set, by number; a set is complete when it has its manifest."""
    steps = [
        int(path.parent.name[5:])
        for path in checkpoints.glob("step-*/manifest.json")
        if path.parent.name[5:].isdigit()
    ]
    return max(steps, default=None)


def read_results(folder: Path) -> dict[str, float]:
    """Top-1 per evaluation file, by its name without `.json`."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        try:
            results[path.stem] = float(json.loads(path.read_text())["top1"])
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s holds no top1", path)
    return results


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def main(argv: list[str] | None = None) -> int:
    """Runs one node of a plan to its end; blocks until then."""
    parser = argparse.ArgumentParser(prog="launcher.node", description="Run one machine's part of a plan.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--node", type=int, default=0)
    parser.add_argument("--attempt", type=int, default=1)
    args = parser.parse_args(argv)
    plan = Plan.model_validate_json(args.plan.read_text())
    node_log = plan.run_dir.node_log(args.attempt, args.node)
    node_log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=node_log, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    os.umask(0o022)
    os.chdir(plan.run_dir.root)  # don't hold on to the folder it was submitted from
    try:
        return NodeProgram(plan, args.node, args.attempt).run()
    except LauncherError as error:
        log.error("%s", error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
