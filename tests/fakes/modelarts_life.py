"""What becomes of one job of the fake ModelArts: queue, machines, containers, faults and recoveries, its end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_nodes import Machine, s3_client
from tests.fakes.modelarts_rules import FLAVORS

if TYPE_CHECKING:
    from tests.fakes.modelarts_cloud import Cloud


class Life:
    """The platform's side of jobs. Each job has a thread."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def live(self, job: Job) -> None:
        """Blocks until the job has ended."""
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
        self._cloud.hosts.leave(job.id)
        job.event(f"Training job {job.phase.lower()}.")

    def _queue(self, job: Job) -> None:
        job.stop.wait(self._cloud.times.creating)
        job.phase = "Pending"
        in_pool = bool(job.resource.get("pool_id"))
        number = self._cloud.hosts.wait(job.id, job.policy.get("priority", 1)) if in_pool else 1
        job.stage(
            "scheduling", f"Insufficient resources in the pool; the job is number {number} in the queue."
        )
        job.event("The job is queuing: insufficient resources.", "Warning")
        job.stop.wait(self._cloud.times.pending)
        while in_pool and not job.stop.is_set() and not self._place(job):
            job.stop.wait(self._cloud.times.look)

    def _place(self, job: Job) -> bool:
        """Whether there are machines for all containers now."""
        addresses = self._cloud.hosts.place(job.id, job.resource["node_count"], job.policy)
        if addresses:
            job.places.append(addresses)
            job.event(f"The job is scheduled to {', '.join(addresses)}.")
        return bool(addresses)

    def _run_all(self, job: Job) -> None:
        s3 = s3_client(self._cloud.account)
        resource = job.body["spec"]["resource"]
        cards = FLAVORS.get(resource.get("flavor_id"), 0)
        job.machines = [
            Machine(
                self._cloud.root / job.id / f"node-{k}",
                job.id,
                job.body,
                self._cloud.account,
                k,
                cards,
                self._cloud.extra_env,
            )
            for k in range(resource["node_count"])
        ]
        job.phase = "Running"
        job.stage("preparing", "Downloading code and image.")
        retries = int(job.body["metadata"].get("annotations", {}).get("fault-tolerance/job-retry-num", "0"))
        for machine in job.machines:
            machine.prepare(s3)
        if event := self._cloud.images.get(job.body["algorithm"]["engine"].get("image_url", "")):
            job.event(event, "Error")
            job.records.append(
                {"start_type": "init_or_rescheduled", "end_reason": "the containers did not start"}
            )
            job.phase = "Failed"
            return
        started, in_place = time.monotonic(), False
        while True:
            job.starts += 1
            job.records.append(
                {
                    "start_at": int(time.time()),
                    "start_type": "restarted" if in_place else "init_or_rescheduled",
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
            in_place = fault[0] != "node_fault"
            self._again(job, fault, s3)

    def _watch(self, job: Job, started: float) -> tuple[str, int] | None:
        """Blocks until the job needs a decision. None: it has ended, and its phase says how."""
        hours = job.body["spec"].get("auto_stop", {}).get("duration")
        while True:
            if job.stop.wait(self._cloud.times.look):
                threads = [
                    threading.Thread(target=m.stop, args=(self._cloud.times.grace,)) for m in job.machines
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return None
            if job.faults:
                kind, node = job.faults.pop(0)
                job.machines[node].kill()
                if kind != "restart_alone":
                    return kind, node
                job.event(f"Back-off restarting the container of worker-{node}.", "Warning")
                job.machines[node].process_count += 1
                job.machines[node].start()
            codes = [machine.exit_code() for machine in job.machines]
            if all(code == 0 for code in codes):
                job.phase = "Completed"
                job.ends = [{"task": f"worker-{k}", "exit_code": 0} for k in range(len(codes))]
                return None
            failed = next((k for k, code in enumerate(codes) if code), None)
            if failed is not None:
                time.sleep(min(1.0, self._cloud.times.grace))
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
            if hours and time.monotonic() - started > hours * self._cloud.times.hour:
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
                self._replace(job, node)
                machine.forget()
                machine.prepare(s3)
                machine.schedule_count += 1
            else:
                machine.process_count += 1

    def _replace(self, job: Job, node: int) -> None:
        """Another machine of the pool in place of one that was lost. With none free the lost one is used again."""
        if not job.places:
            return
        lost = job.places[-1][node]
        self._cloud.hosts.leave(job.id, lost)
        found = self._cloud.hosts.place(job.id, 1, job.policy, but=[lost])
        new = found[0] if found else self._cloud.hosts.place(job.id, 1, job.policy)[0]
        job.places.append([*job.places[-1][:node], new, *job.places[-1][node + 1 :]])
        job.event(f"worker-{node} is scheduled to {new} in place of {lost}.")

    def _end(self, job: Job, fault: tuple[str, int]) -> None:
        kind, node = fault
        job.phase = "Failed"
        job.records[-1] |= {
            "end_at": int(time.time()),
            "end_reason": f"{kind} of worker-{node}",
            "end_related_task": f"worker-{node}",
        }
        if kind == "node_fault":
            job.records[-1]["recover_records"] = [
                {"fault_scenario": kind, "related_task": f"worker-{node}", "recover_result": "quotaExceeded"}
            ]
            job.ends = [{"task": f"worker-{node}", "exit_code": 137, "message": "node lost"}]
        job.event(f"The job failed: {kind} of worker-{node}.", "Error")
