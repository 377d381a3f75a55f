"""`state.json` of a run, on the machine that writes it: saved whenever it changes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from launcher.disk import write_private
from launcher.errors import IntegrityError, StoreError
from launcher.jsontext import parse_json
from launcher.node.ending import RunEnd
from launcher.plan.model import Plan
from launcher.runfolder.manifest import local_sets
from launcher.runfolder.paths import RunDir
from launcher.runfolder.smallfiles import read_small
from launcher.runfolder.states import Attempt, AttemptResult, PhaseStart, RunState, State

log = logging.getLogger("launcher.node")

RESERVE_BYTES = 256 << 10
GONE = "its node program was gone without a word"
_RESULTS = {
    State.SUCCEEDED: AttemptResult.DONE,
    State.FAILED: AttemptResult.FAILED,
    State.CANCELLED: AttemptResult.CANCELLED,
}


class StateFile:
    """The state of one run. Only node 0 writes it, and never over the state of a later attempt."""

    def __init__(self, plan: Plan, run_dir: RunDir, node: int, attempt: int) -> None:
        self._run_dir, self._node, self._nodes = run_dir, node, plan.nodes
        self.value = _first(plan, run_dir, attempt)

    def save(self, state: State) -> None:
        """Save that the run is in this state, and has not ended."""
        self.value = self._changed(self.value.without_end(), {"state": state})
        self.write()

    def set_end(self, end: RunEnd) -> None:
        """How the run ended, or that its platform is going to start it again; `write` saves it."""
        self.value = self.ended(end)

    def ended(self, end: RunEnd) -> RunState:
        """The state as `set_end` would set it."""
        return self._changed(self.value, _facts(end))

    def _changed(self, state: RunState, changes: Mapping[str, object]) -> RunState:
        results = read_results(self._run_dir.root / "eval")
        return state.model_copy(update={**changes, "updated_at": time.time(), "results": results})

    def text(self) -> str:
        """What `write` writes."""
        return self.value.model_dump_json(indent=1) + "\n"

    def write(self) -> None:
        """An error of the disk is only logged: the run goes on without this file."""
        if self._node != 0 or self._taken_over():
            return
        try:
            write_private(self._run_dir.state, self.text())
        except (StoreError, OSError) as error:
            log.error("the state can't be written: %s", error)

    def keep_reserve(self) -> None:
        """Reserve some bytes of the disk, so that a run that filled it can still write how it ended."""
        with suppress(OSError):
            self._reserve.write_bytes(b"\0" * RESERVE_BYTES)

    def release_reserve(self) -> None:
        """Free these bytes for the records of the last uploads and for the final state."""
        with suppress(OSError):
            self._reserve.unlink()

    @property
    def _reserve(self) -> Path:
        return self._run_dir.root / f".reserve-{self._node}"

    def note_safe(self, step: int | None, file: str) -> bool:
        """Save the newest checkpoint that is in the store; whether it is a new one. Of files on several machines none is known to be whole."""
        before = (self.value.safe_step, self.value.safe_file)
        file = file if self._nodes == 1 else ""
        self.value = self.value.model_copy(update={"safe_step": step, "safe_file": file})
        return before != (step, file)

    def note_excluded(self, host: str) -> None:
        """Save the name of a machine that the next attempt should not use."""
        hosts = (*self.value.exclude_hosts, *([host] if host not in self.value.exclude_hosts else []))
        self.value = self.value.model_copy(update={"exclude_hosts": hosts})

    def note_phase(self, phase: str, program: str = "") -> None:
        """Save that a phase of the run begins now on node 0."""
        start = PhaseStart(phase=phase, at=time.time(), program=program)
        self.value = self.value.model_copy(update={"phase_times": (*self.value.phase_times, start)})

    def end_attempt(self, end: RunEnd) -> None:
        """Save that the attempt under way ended now."""
        *earlier, last = self.value.attempts
        changes = {
            "ended_at": time.time(),
            "outcome": end.reason or "done",
            "hint": end.hint,
            "result": _RESULTS.get(end.state, AttemptResult.INTERRUPTED),
            "ended_by": end.ended_by,
            "first_failure": end.failure,
        }
        self.value = self.value.model_copy(update={"attempts": (*earlier, last.model_copy(update=changes))})

    def note_resumed(self, step: int | None) -> None:
        """Save the checkpoint that the attempt under way starts from, once it is known."""
        *earlier, last = self.value.attempts
        resumed = last.model_copy(update={"resumed_step": step, "resume_settled": True})
        self.value = self.value.model_copy(update={"attempts": (*earlier, resumed)})

    def begin_attempt(self, attempt: int, resumed_step: int | None) -> None:
        """Save that a new attempt starts now."""
        new = Attempt(attempt=attempt, started_at=time.time(), resumed_step=resumed_step, resume_settled=True)
        self.value = self.value.model_copy(
            update={"attempt": attempt, "attempts": (*self.value.attempts, new)}
        )

    def _taken_over(self) -> bool:
        try:
            held = RunState.model_validate_json(read_small(self._run_dir.state))
        except (OSError, IntegrityError, ValueError):
            return False
        return held.attempt > self.value.attempt


def _facts(end: RunEnd) -> dict[str, object]:
    ended_at = time.time() if end.state.terminal else None
    facts = {"reason": end.reason, "hint": end.hint, "ended_by": end.ended_by, "ended_at": ended_at}
    stored = {"unsafe": end.unsafe, "partly_searched": end.partly_searched}
    return {"state": end.state, **facts, "first_failure": end.failure, **stored}


def _first(plan: Plan, run_dir: RunDir, attempt: int) -> RunState:
    now = time.time()
    newest = newest_step(run_dir.checkpoints)
    first = Attempt(attempt=attempt, started_at=now, resumed_step=newest, resume_settled=False)
    try:
        old = RunState.model_validate_json(read_small(run_dir.state))
    except (OSError, IntegrityError, ValueError):
        return RunState(
            run_id=plan.run_id,
            name=plan.name,
            backend=plan.backend,
            state=State.QUEUED,
            attempt=attempt,
            submitted_at=now,
            updated_at=now,
            attempts=(first,),
            url=plan.store.url,
        )
    earlier = tuple(_closed(a, old.updated_at) for a in old.attempts if a.attempt < attempt)
    return old.without_end().model_copy(update={"attempt": attempt, "attempts": (*earlier, first)})


def _closed(attempt: Attempt, heard_at: float) -> Attempt:
    """The attempt with an end, if its node program wrote none; `heard_at` is the time of its last write."""
    if attempt.ended_at is not None or attempt.outcome:
        return attempt
    ended_at = max(heard_at, attempt.started_at)
    return attempt.model_copy(update={"ended_at": ended_at, "outcome": GONE, "result": AttemptResult.LOST})


def newest_step(checkpoints: Path) -> int | None:
    """Step of the newest complete set, by number."""
    return max(local_sets(checkpoints), default=None)


def read_results(folder: Path) -> dict[str, float]:
    """Top-1 per evaluation file, by its name without `.json`. Values that are not finite are left out: JSON has no NaN."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        try:
            top1 = float(parse_json(read_small(path))["top1"])
        except (OSError, IntegrityError, ValueError, KeyError, TypeError, OverflowError):
            log.warning("%s holds no top1", path)
            continue
        if math.isfinite(top1):
            results[path.stem] = top1
        else:
            log.warning("%s: top1 is %s, which is left out of the results", path, top1)
    return results
