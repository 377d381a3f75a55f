"""The jobs of the fake ModelArts: what is refused, made, listed, changed and ended, and what tests do to a job."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

from tests.fakes.modelarts_hosts import Hosts
from tests.fakes.modelarts_jobs import ENDED, Job, Times
from tests.fakes.modelarts_life import Life
from tests.fakes.modelarts_nodes import listing, s3_client
from tests.fakes.modelarts_rules import check_code, check_job
from tests.fakes.modelarts_wire import Account, Refused, bad
from tests.waiting import PATIENCE_S


def workspace_of(body: dict[str, Any]) -> str:
    workspace: str = body["metadata"].get("workspace_id", "0")
    return workspace


class Cloud:
    """All jobs of one project. `run` False: jobs stay in their phase until a test changes it.

    `pools`: state by id; None takes any. `images`: the code that refuses a job with this image (2810, 2811, 2885), or the words
    of the event with which its pull fails. `hosts`: machines of the dedicated pools, all together.
    """

    def __init__(self, account: Account, root: Path, *, times: Times | None = None, run: bool = True) -> None:
        self.account, self.root, self.times, self.run = account, root, times or Times(), run
        self.jobs: dict[str, Job] = {}
        self.deleted: list[Job] = []
        self.extra_env: dict[str, str] = {}
        self.unique_names = True
        self.capacity = 10_000
        self.workspaces = {"0"}
        self.pools: dict[str, str] | None = None
        self.images: dict[str, str] = {}
        self.hosts = Hosts()
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
            if workspace_of(body) not in self.workspaces:
                raise Refused(400, "ModelArts.0102", f"workspace {workspace_of(body)} does not exist")
            self._check_pool(body["spec"]["resource"].get("pool_id"))
            self._check_image(body["algorithm"]["engine"].get("image_url", ""))
            self._check_outputs(body)
            self._clock = max(self._clock + 1, int(time.time() * 1000))
            job = Job(str(uuid.uuid4()), body, self._clock)
            self.jobs[job.id] = job
        job.event("Training job created.")
        if self.run:
            thread = threading.Thread(target=Life(self).live, args=(job,), name=f"job-{name}", daemon=True)
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
        if job.phase == "Pending" and job.resource.get("pool_id") and "priority" in policy:
            self.hosts.wait(job.id, policy["priority"])
        return job

    def tag(self, job_id: str, tags: list[dict[str, str]]) -> None:
        job = self.get(job_id)
        job.tags |= {each["key"]: each["value"] for each in tags}

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
        workspace = wanted.get("workspace_id", "0")
        jobs = [job for job in jobs if workspace_of(job.body) == workspace]
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
            thread.join(PATIENCE_S)

    # ---- what tests do to a job

    def lose(self, job: Job, node: int) -> None:
        """The machine of one container dies."""
        job.faults.append(("node_fault", node))

    def crash_alone(self, job: Job, node: int) -> None:
        """The program of one container dies, and that container is started again in place while the others go on."""
        job.faults.append(("restart_alone", node))

    def crash(self, job: Job, node: int) -> None:
        """The program of one container dies; the container stays."""
        job.faults.append(("job_failed", node))
