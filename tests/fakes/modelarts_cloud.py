"""The jobs of the fake ModelArts and what becomes of them: queue, containers, restarts, ends. One thread per job."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.modelarts_nodes import Machine, listing, s3_client
from tests.fakes.modelarts_rules import FLAVORS, check_code, check_job
from tests.fakes.modelarts_wire import Account, Refused, bad

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
    shown_phase: str = ""

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

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


class Cloud:
    """All jobs of one project. `run` False: jobs stay in their phase until a test changes it.

    `pools`: state by id; None takes any. `images`: the code that refuses a job with this image (2810, 2811, 2885), or the words
    of the event with which its pull fails.
    """

    def __init__(self, account: Account, root: Path, *, times: Times | None = None, run: bool = True) -> None:
        self.account, self.root, self.times, self.run = account, root, times or Times(), run
        self.jobs: dict[str, Job] = {}
        self.deleted: list[Job] = []
        self.extra_env: dict[str, str] = {}
        self.unique_names = True
        self.capacity = 10_000
        self.pools: dict[str, str] | None = None
        self.images: dict[str, str] = {}
        self.lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._clock = 0

    # ---- what the service offers

    def create(self, body: Any) -> Job:
        check_job(body)
        if self.account.s3_endpoint:
            code = body["algorithm"].get("code_dir", "")
            check_code(listing(s3_client(self.account), code), code)
        with self.lock:
            name = body["metadata"]["name"]
            if self.unique_names and any(job.name == name for job in self.jobs.values()):
                raise bad("2751", f"Duplicate training job (name {name}).")
            if len(self.jobs) >= self.capacity:
                raise bad("0116", "the quota of training jobs is used up")
            self._check_pool(body["spec"]["resource"].get("pool_id"))
            self._check_image(body["algorithm"]["engine"].get("image_url", ""))
            self._check_outputs(body)
            self._clock = max(self._clock + 1, int(time.time() * 1000))
            job = Job(str(uuid.uuid4()), body, self._clock)
            self.jobs[job.id] = job
        job.event("Training job created.")
        if self.run:
            thread = threading.Thread(target=self._life, args=(job,), name=f"job-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return job

    def _check_pool(self, pool: str | None) -> None:
        if pool is None or self.pools is None:
            return
        if pool not in self.pools:
            raise Refused(404, "ModelArts.2890", f"Pool ({pool}) does not exist")
        if self.pools[pool] != "Running":
            raise bad("2887", f"Pool ({pool}) is not running")

    def _check_image(self, image: str) -> None:
        words = self.images.get(image, "")
        if words.isdecimal():
            raise bad(words, f"Custom image failure: {image}")

    def _check_outputs(self, body: dict[str, Any]) -> None:
        def urls(of: dict[str, Any]) -> set[str]:
            return {each["remote"]["obs"]["obs_url"] for each in of["algorithm"].get("outputs", [])}

        for other in self.jobs.values():
            if other.phase not in ENDED and urls(other.body) & urls(body):
                raise bad("2791", f"Other running job contain train_url: {other.name}")

    def get(self, job_id: str) -> Job:
        with self.lock:
            if job_id not in self.jobs:
                raise bad("2775", f"the training job {job_id} does not exist")
            return self.jobs[job_id]

    def terminate(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job.phase not in ("Creating", "Pending", "Running"):
            raise Refused(409, "ModelArts.2796", "The job cannot be terminated.")
        job.event("Training job is being terminated.", "Warning")
        if job.phase == "Running" and self.run:
            job.phase = "Terminating"
        elif not self.run:
            job.phase = "Terminated"
        job.stop.set()
        return job

    def change(self, job_id: str, policy: dict[str, Any]) -> Job:
        job = self.get(job_id)
        if job.phase in ENDED:
            raise Refused(409, "ModelArts.2878", "The job has ended.")
        job.body["spec"].setdefault("schedule_policy", {}).update(policy)
        return job

    def delete(self, job_id: str) -> None:
        job = self.get(job_id)
        if job.phase not in ENDED:
            job.stop.set()
        with self.lock:
            self.deleted.append(self.jobs.pop(job_id))

    def search(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """`offset` is a page number."""
        limit, page = wanted.get("limit", 10), wanted.get("offset", 0)
        if not 1 <= limit <= 50 or page < 0:
            raise bad("2788", "invalid parameter: limit or offset")
        with self.lock:
            jobs = sorted(self.jobs.values(), key=lambda job: job.created_ms, reverse=True)
        for each in wanted.get("filters", []):
            key, operator, values = each["key"], each["operator"], each["value"]
            if (key, operator) == ("name", "like"):
                jobs = [job for job in jobs if values[0] in job.name]
            elif (key, operator) == ("phase", "in"):
                jobs = [job for job in jobs if job.phase in values]
            else:
                raise bad("2788", f"invalid filter {key} {operator}")
        shown = jobs[page * limit : (page + 1) * limit]
        return {
            "total": len(jobs),
            "count": len(shown),
            "limit": limit,
            "offset": page,
            "items": [job.answer() for job in shown],
        }

    def close(self) -> None:
        """Every process is gone afterwards."""
        for job in [*self.jobs.values(), *self.deleted]:
            job.stop.set()
            for machine in job.machines:
                machine.kill()
        for thread in self._threads:
            thread.join(30)

    # ---- what tests do to a job

    def lose(self, job: Job, node: int) -> None:
        """The machine of one container dies."""
        job.faults.append(("node_fault", node))

    def crash(self, job: Job, node: int) -> None:
        """The program of one container dies; the container stays."""
        job.faults.append(("job_failed", node))

    # ---- the life of one job

    def _life(self, job: Job) -> None:
        try:
            self._queue(job)
            if not job.stop.is_set():
                self._run_all(job)
        except Exception as error:  # a test sees it as the platform's own failure
            job.event(f"platform error: {type(error).__name__}: {error}", "Error")
            job.records.append(
                {"start_type": "init_or_rescheduled", "end_reason": f"platform error: {error}"}
            )
            job.phase = "Failed"
        for machine in job.machines:
            machine.kill()
        if job.stop.is_set() and job.phase not in ("Completed", "Failed"):
            job.phase = "Terminated"
        job.event(f"Training job {job.phase.lower()}.")

    def _queue(self, job: Job) -> None:
        job.stop.wait(self.times.creating)
        job.phase = "Pending"
        job.stage("scheduling", "Insufficient resources in the pool; the job is number 1 in the queue.")
        job.event("The job is queuing: insufficient resources.", "Warning")
        job.stop.wait(self.times.pending)

    def _run_all(self, job: Job) -> None:
        s3 = s3_client(self.account)
        resource = job.body["spec"]["resource"]
        cards = FLAVORS.get(resource.get("flavor_id"), 0)
        job.machines = [
            Machine(
                self.root / job.id / f"node-{k}", job.id, job.body, self.account, k, cards, self.extra_env
            )
            for k in range(resource["node_count"])
        ]
        job.phase = "Running"
        job.stage("preparing", "Downloading code and image.")
        retries = int(job.body["metadata"].get("annotations", {}).get("fault-tolerance/job-retry-num", "0"))
        for machine in job.machines:
            machine.prepare(s3)
        if event := self.images.get(job.body["algorithm"]["engine"].get("image_url", "")):
            job.event(event, "Error")
            job.records.append(
                {"start_type": "init_or_rescheduled", "end_reason": "the containers did not start"}
            )
            job.phase = "Failed"
            return
        started = time.monotonic()
        while True:
            job.starts += 1
            job.records.append(
                {
                    "start_at": int(time.time()),
                    "start_type": "restarted" if job.starts > 1 else "init_or_rescheduled",
                }
            )
            job.stage("running")
            job.event("The containers have started.")
            for machine in job.machines:
                machine.start()
            fault = self._watch(job, started)
            for machine in job.machines:
                machine.sync(s3)
            if fault is None:
                return
            if retries <= 0 or job.stop.is_set():
                self._end(job, fault)
                return
            retries -= 1
            self._again(job, fault, s3)

    def _watch(self, job: Job, started: float) -> tuple[str, int] | None:
        """Blocks until the job needs a decision. None: it has ended, and its phase says how."""
        hours = job.body["spec"].get("auto_stop", {}).get("duration")
        while True:
            if job.stop.wait(self.times.look):
                threads = [threading.Thread(target=m.stop, args=(self.times.grace,)) for m in job.machines]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return None
            if job.faults:
                kind, node = job.faults.pop(0)
                job.machines[node].kill()
                return kind, node
            codes = [machine.exit_code() for machine in job.machines]
            if all(code == 0 for code in codes):
                job.phase = "Completed"
                job.ends = [{"task": f"worker-{k}", "exit_code": 0} for k in range(len(codes))]
                return None
            failed = next((k for k, code in enumerate(codes) if code), None)
            if failed is not None:
                time.sleep(min(1.0, self.times.grace))
                codes = [machine.exit_code() for machine in job.machines]
                job.ends = [
                    {"task": f"worker-{k}", "exit_code": code, "message": f"exit code {code}" if code else ""}
                    for k, code in enumerate(codes)
                    if code is not None
                ]
                again = (
                    job.body["metadata"].get("annotations", {}).get("fault-tolerance/job-unconditional-retry")
                )
                if again == "true":
                    return "job_failed", failed
                self._end(job, ("job_failed", failed))
                return None
            if hours and time.monotonic() - started > hours * self.times.hour:
                job.event("The job was stopped: its running time is over.", "Warning")
                job.stop.set()

    def _again(self, job: Job, fault: tuple[str, int], s3: Any) -> None:
        """Node faults move the container to an empty machine; the others are restarted in place."""
        kind, node = fault
        moved = kind == "node_fault"
        recover = "job_reschedule_with_taint" if moved else "proc_restart"
        job.records[-1] |= {
            "end_at": int(time.time()),
            "end_reason": f"{kind} of worker-{node}",
            "end_related_task": f"worker-{node}",
            "end_recover": recover,
            "recover_records": [
                {
                    "recover": recover,
                    "fault_scenario": kind,
                    "related_task": f"worker-{node}",
                    "recover_result": "success",
                    "reason": "heartbeat lost" if moved else "non-zero exit code",
                }
            ],
        }
        job.event(f"Fault of worker-{node} ({kind}), recovering: {recover}.", "Warning")
        for machine in job.machines:
            machine.kill()
        for machine in job.machines:
            if moved and machine.index == node:
                machine.forget()
                machine.prepare(s3)
                machine.schedule_count += 1
            else:
                machine.process_count += 1

    def _end(self, job: Job, fault: tuple[str, int]) -> None:
        kind, node = fault
        job.phase = "Failed"
        job.records[-1] |= {
            "end_at": int(time.time()),
            "end_reason": f"{kind} of worker-{node}",
            "end_related_task": f"worker-{node}",
        }
        if kind == "node_fault":
            job.ends = [{"task": f"worker-{node}", "exit_code": 137, "message": "node lost"}]
        job.event(f"The job failed: {kind} of worker-{node}.", "Error")
