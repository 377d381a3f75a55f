"""Jobs as the service describes them, as values; and its phases, stages and metrics in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from launcher.backends.modelarts.wire import as_map

ENDED = ("Completed", "Failed", "Terminated")
"""Final phases. `Abnormal` may pass, and an unknown phase counts as alive."""
ENDING = (*ENDED, "Terminating")
WAITING = ("Creating", "Pending")
IN_PLACE = "restarted"

PHASES: dict[str, str] = {
    "Creating": "the job is being created",
    "Pending": "the job waits for machines",
    "Running": "the job has its machines",
    "Completed": "the job has ended well",
    "Failed": "the job has failed",
    "Terminating": "the job is being stopped",
    "Terminated": "the job was stopped",
    "Abnormal": "the platform calls the job abnormal, which may pass",
}
STAGES: dict[str, str] = {
    "scheduling": "waiting for machines",
    "preparing": "preparing the containers: image, code, input channels",
    "running": "the containers run",
    "end": "ending",
}
OUR_PHASES: dict[str, str] = {"scheduling": "queued", "preparing": "starting"}
RECOVERIES: dict[str, str] = {
    "npu_proc_restart": "restarted the processes",
    "gpu_proc_restart": "restarted the processes",
    "proc_restart": "restarted the processes",
    "pod_reschedule": "moved a container to another machine",
    "job_reschedule": "started the whole job again",
    "job_reschedule_with_taint": "started the whole job again, without the faulty machine",
    "npu_step_retry": "repeated a step",
}
FAULTS: dict[str, str] = {
    "chip_fault": "a card failed",
    "node_fault": "a machine failed",
    "job_failed": "the program failed",
    "job_hanged": "the job stood still",
    "job_subhealth": "a machine was not quite healthy",
    "error_in_log": "the log had a known error",
}


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Recovery(_Seen):
    """One attempt of the platform to put a fault right."""

    recover: str = ""
    fault_scenario: str = ""
    reason: str = ""
    related_task: str = ""
    recover_result: str = ""

    def words(self) -> str:
        fault = FAULTS.get(self.fault_scenario, self.fault_scenario or "a fault")
        what = RECOVERIES.get(self.recover, self.recover)
        parts = [
            f"{fault}{f' ({self.related_task})' if self.related_task else ''}",
            f"{what}{f': {self.recover_result}' if self.recover_result else ''}" if what else "",
            self.reason,
        ]
        return "; ".join(filter(None, parts))


class Record(_Seen):
    """One start of the job by the platform: on machines that it has chosen anew, or in the same containers (`IN_PLACE`)."""

    start_type: str = ""
    end_reason: str = ""
    end_related_task: str = ""
    end_recover: str = ""
    recover_records: tuple[Recovery, ...] = ()


class TaskEnd(_Seen):
    """How the program of one container ended."""

    task: str = ""
    exit_code: int | None = None
    message: str = ""


class SeenJob(_Seen):
    """The fields of a job that launcher uses. Times are those of the service, in milliseconds.

    `shells`: where ssh reaches the container of a task.
    """

    id: str
    name: str
    phase: str = ""
    secondary: str = ""
    created_ms: int = 0
    description: str = ""
    tasks: tuple[str, ...] = ()
    ends: tuple[TaskEnd, ...] = ()
    records: tuple[Record, ...] = ()
    outputs: tuple[str, ...] = ()
    shells: Mapping[str, str] = {}

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> SeenJob:
        """From the service's answer; fields that are missing or of another type are left out. Raises nothing."""
        metadata, status = as_map(answer.get("metadata")), as_map(answer.get("status"))
        outputs = _list(as_map(answer.get("algorithm")).get("outputs"))
        return cls(
            id=str(metadata.get("id") or ""),
            name=str(metadata.get("name") or ""),
            phase=str(status.get("phase") or ""),
            secondary=str(status.get("secondary_phase") or ""),
            created_ms=_int(metadata.get("create_time")) or 0,
            description=str(metadata.get("description") or ""),
            tasks=tuple(map(str, _list(status.get("tasks")))),
            ends=tuple(map(_task_end, _list(status.get("task_statuses")))),
            records=tuple(map(_record, _list(status.get("running_records")))),
            outputs=tuple(
                str(as_map(as_map(as_map(each).get("remote")).get("obs")).get("obs_url") or "")
                for each in outputs
            ),
            shells={
                str(each.get("task")): str(each.get("url"))
                for each in map(
                    as_map, _list(as_map(as_map(answer.get("endpoints")).get("ssh")).get("task_urls"))
                )
            },
        )

    @property
    def ended(self) -> bool:
        return self.phase in ENDED

    @property
    def ending(self) -> bool:
        return self.phase in ENDING

    def words(self) -> str:
        """Its phase as a sentence; an unknown phase is quoted."""
        known = PHASES.get(self.phase)
        return known or f"the platform says '{self.phase or 'nothing'}', which launcher takes for alive"

    def end_words(self) -> str:
        """Why it ended, in the platform's own words."""
        parts = [
            f"{end.task} ended with {end.exit_code}{_exit_words(end.exit_code)}"
            + (f": {end.message}" if end.message else "")
            for end in self.ends
            if end.exit_code
        ]
        parts += [record.end_reason for record in self.records[-1:] if record.end_reason]
        return "; ".join(dict.fromkeys(parts))

    def story(self) -> tuple[str, ...]:
        """What the platform did to the job, start by start."""
        lines = []
        for number, record in enumerate(self.records, 1):
            for recovery in record.recover_records:
                lines.append(f"start {number}: {recovery.words()}")
            if record.end_reason or record.end_recover:
                end = "; ".join(
                    filter(None, [record.end_reason, RECOVERIES.get(record.end_recover, record.end_recover)])
                )
                where = f" ({record.end_related_task})" if record.end_related_task else ""
                lines.append(f"start {number} ended{where}: {end}")
        return tuple(lines)


def stage_words(stages: Sequence[Mapping[str, Any]]) -> str:
    """The stage a job is in, and what the platform says of it."""
    if not stages:
        return ""
    newest = stages[-1]
    name = str(newest.get("name") or "")
    message = str(newest.get("en_message") or "")
    return ": ".join(filter(None, [STAGES.get(name, name), message]))


def metrics_words(metrics: Mapping[str, float]) -> str:
    """`NPU 93 %, NPU memory 71 %`; only what has a sample."""
    names = {"npuUtil": "NPU", "npuMemUsage": "NPU memory", "cpuUsage": "CPU", "memUsage": "memory"}
    return ", ".join(f"{label} {metrics[key]:.0f} %" for key, label in names.items() if key in metrics)


def _exit_words(code: int | None) -> str:
    known = {137: " (killed, most likely out of memory)", 247: " (killed, most likely out of memory)"}
    known |= {139: " (a crash in native code)", 143: " (stopped)", 75: " (stopped, worth a resume)"}
    return known.get(code or 0, "")


def _task_end(value: Any) -> TaskEnd:
    fields = as_map(value)
    code = _int(fields.get("exit_code"))
    return TaskEnd(task=_text(fields.get("task")), exit_code=code, message=_text(fields.get("message")))


def _record(value: Any) -> Record:
    fields = as_map(value)
    recoveries = tuple(
        Recovery(**{key: _text(as_map(each).get(key)) for key in Recovery.model_fields})
        for each in _list(fields.get("recover_records"))
    )
    words = {key: _text(fields.get(key)) for key in Record.model_fields if key != "recover_records"}
    return Record(**words, recover_records=recoveries)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _int(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
