"""A job of the fake ModelArts, and how it is shown."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.modelarts_nodes import Machine

ENDED = ("Completed", "Failed", "Terminated")


@dataclass
class Times:
    """Seconds that the platform takes."""

    creating: float = 0.1
    pending: float = 0.2
    hour: float = 3600.0
    grace: float = 20.0
    look: float = 0.1


@dataclass
class Job:
    """`places`: addresses of its machines in the dedicated pool, one list for each time that machines were chosen."""

    id: str
    body: dict[str, Any]
    created_ms: int
    machines: list[Machine] = field(default_factory=list)
    phase: str = "Creating"
    records: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    faults: list[tuple[str, int]] = field(default_factory=list)
    starts: int = 0
    places: list[list[str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    shown_phase: str = ""

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def resource(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["spec"]["resource"]
        return found

    @property
    def policy(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["spec"].get("schedule_policy", {})
        return found

    def event(self, message: str, level: str = "Info") -> None:
        self.events.append(
            {"message": message, "level": level, "time": f"{time.time():.3f}", "source": "platform"}
        )

    def stage(self, name: str, message: str = "") -> None:
        self.stages.append(
            {"job_id": self.id, "name": name, "en_message": message, "stage_order": len(self.stages)}
        )

    def answer(self) -> dict[str, Any]:
        """As the service shows it."""
        algorithm = {**self.body["algorithm"]}
        if "environments" in algorithm:
            algorithm["environments"] = [algorithm["environments"]]
        tasks = [f"worker-{k}" for k in range(self.body["spec"]["resource"]["node_count"])]
        return {
            "kind": "job",
            "metadata": {**self.body["metadata"], "id": self.id, "create_time": self.created_ms},
            "status": {
                "phase": self.shown_phase or self.phase,
                "secondary_phase": "Queuing" if self.phase == "Pending" else self.phase,
                "tasks": tasks,
                "task_statuses": self.ends,
                "running_records": self.records,
                "start_time": self.created_ms,
                "duration": max(0, int(time.time() * 1000) - self.created_ms),
            },
            "algorithm": algorithm,
            "spec": self.body["spec"],
            **self._endpoints(tasks),
        }

    def _endpoints(self, tasks: list[str]) -> dict[str, Any]:
        ssh = self.body.get("endpoints", {}).get("ssh")
        if not ssh or self.phase != "Running":
            return {}
        urls = [{"task": t, "url": f"ssh://ma-user@{t}.example.com:{30000 + n}"} for n, t in enumerate(tasks)]
        return {"endpoints": {"ssh": {**ssh, "task_urls": urls}}}
