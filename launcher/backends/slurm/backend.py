"""The back end `slurm`: one batch job a run, whose single `srun` starts a node program on every node."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.backends.base import Backend, Handle, Life
from launcher.backends.recent import Recent
from launcher.backends.slurm.check import check_cluster, doctor_checks
from launcher.backends.slurm.query import (
    COMMENT,
    END_RULES,
    RUNNING,
    CommandFailed,
    Job,
    call,
    cluster_name,
    first_node,
    look_up,
    partition_nodes,
    waiting_words,
)
from launcher.backends.slurm.reasons import ENDS, TOO_LARGE, is_of_waiting
from launcher.backends.slurm.rules import check_slurm
from launcher.backends.slurm.script import log_of, options_of, render
from launcher.backends.slurm.send import send
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.jobfile.spec import JobSpec
from launcher.plan.machines import Machines
from launcher.plan.model import Plan
from launcher.runfolder.paths import home

if TYPE_CHECKING:  # a rank table is no part of a status
    from launcher.ranktable.generate import NodeAddress
    from launcher.ranktable.sources import Choice

PAUSE_S = 3.0
_recent = Recent()


class SlurmBackend(Backend):
    """Methods that are not pure call the commands of Slurm, which must be installed here."""

    runs_elsewhere = True
    starts_again = True

    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        options = spec.slurm
        return Machines(
            options.python or sys.executable,
            options,
            home(env),
            cwd,
            fetch_code=True,
            after_runs=options.after,
        )

    def rules(self, plan: Plan) -> Sequence[Finding]:
        return check_slurm(plan)

    def check(self, plan: Plan) -> Sequence[Finding]:
        return check_cluster(plan)

    def doctor_checks(self) -> Sequence[Finding]:
        return doctor_checks()

    def render(self, plan: Plan, attempt: int) -> str:
        return render([plan], attempt)

    def render_all(self, plans: Sequence[Plan]) -> str:
        """A sweep: one array for plans whose requests are the same, else one script each."""
        if _are_alike(plans):
            return render(plans, 1)
        return "\n".join(render([plan], 1) for plan in plans)

    def submit(self, plan: Plan, attempt: int) -> Handle:
        job = send(self.render(plan, attempt), plan.run_id)
        return self._handle(plan, job, plan.run_id, cluster_name())

    def submit_all(self, plans: Sequence[Plan]) -> list[Handle]:
        """See ManyAtOnce. When one submission fails, the jobs before it are cancelled."""
        if _are_alike(plans):
            job, first = send(self.render_all(plans), plans[0].run_id), plans[0].run_id
            cluster = cluster_name()
            return [self._handle(plan, f"{job}_{k}", first, cluster) for k, plan in enumerate(plans)]
        if any(options_of(plan).max_parallel for plan in plans):
            raise BackendError(
                "the runs of this sweep ask Slurm for different things, so they can't be one array",
                where="slurm.max_parallel",
                hint="leave it out, or sweep only over values that do not change the request to Slurm",
            )
        handles: list[Handle] = []
        try:
            for plan in plans:
                handles.append(self.submit(plan, 1))
        except BaseException:
            for handle in handles:
                with contextlib.suppress(BackendError):
                    call("scancel", handle.data["job"])
            raise
        return handles

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        """One call for all jobs; an answer serves for `PAUSE_S`."""
        jobs = tuple(handle.data["job"] for handle in handles)
        return _recent.get(jobs, PAUSE_S, lambda: self._ask_for(handles))

    @staticmethod
    def _ask_for(handles: Sequence[Handle]) -> list[Life]:
        try:
            jobs = look_up([handle.data["job"] for handle in handles])
        except BackendError as error:
            return [Life(alive=None, detail=f"Slurm does not answer: {error.what}")] * len(handles)
        nodes_of = partition_nodes() if any(job.reason in TOO_LARGE for job in jobs.values()) else {}
        own_jobs = [(handle, _own(handle, jobs)) for handle in handles]
        here = cluster_name() if any(job is None for _, job in own_jobs) else ""
        return [life_of(handle, job, nodes_of, here) for handle, job in own_jobs]

    def cancel(self, handle: Handle) -> None:
        """A waiting job is removed. The batch script of a running one gets a signal, and asks the node programs to stop."""
        _recent.clear()
        job = _own(handle, look_up([handle.data["job"]]))
        if job is None or job.ended:
            return
        for how in (["--state=PENDING"], ["--state=RUNNING", "--signal=USR2", "--batch"]):
            try:
                call("scancel", *how, handle.data["job"])
            except CommandFailed as error:
                if not error.unknown_job:  # else it has ended meanwhile
                    raise

    def terminate(self, handle: Handle) -> None:
        _recent.clear()
        job = _own(handle, look_up([handle.data["job"]]))
        if job is not None and not job.ended:
            call("scancel", handle.data["job"])

    def allocated(self, chip: str, choice: Choice, super_pod: str = "") -> Sequence[NodeAddress]:
        from launcher.backends.slurm.allocation import allocated

        return allocated(chip, choice, super_pod)

    def job_id(self, handle: Handle) -> str:
        return str(handle.data["job"])

    @staticmethod
    def _handle(plan: Plan, job: str, name: str, cluster: str) -> Handle:
        data = {"job": job, "comment": COMMENT + name, "cluster": cluster, "log": log_of(plan, job)}
        return Handle(backend="slurm", data=data)


def _own(handle: Handle, jobs: Mapping[str, Job]) -> Job | None:
    """The run's job; None when Slurm has no such job, or has given its id to another job."""
    job = jobs.get(handle.data["job"])
    return job if job is not None and job.is_of(handle.data["comment"]) else None


def _are_alike(plans: Sequence[Plan]) -> bool:
    """Whether their scripts differ in the run ids and the digests of the plans only, so that they can share an array."""
    return len({render([plan], 1).replace(plan.run_id, "").replace(plan.digest, "") for plan in plans}) == 1


def life_of(handle: Handle, job: Job | None, nodes_of: Mapping[str, int], here: str = "") -> Life:
    """What the state of a job means for its run. `job` is None when the cluster `here` has no such job."""
    number, comment = handle.data["job"], handle.data["comment"]
    if job is None:
        home = handle.data.get("cluster", "")
        if here and home and home != here:
            return Life(alive=None, detail=f"Slurm job {number} is one of cluster {home}, this is {here}")
        return Life(alive=False, forgotten=True, detail=f"Slurm does not know job {number} any more")
    boot_error = job.boot_error(comment)
    if job.waiting:
        words = f"Slurm job {number} {waiting_words(job, nodes_of)}"
        return Life(
            alive=True, waiting=True, detail=f"{words}; last time: {boot_error}" if boot_error else words
        )
    if job.ended:
        old = job.reason in ("", "None") or (
            is_of_waiting(job.reason) and job.reason != "DependencyNeverSatisfied"
        )
        why = "" if old else f" ({job.reason}{': ' if job.reason in ENDS else ''}{ENDS.get(job.reason, '')})"
        log = handle.data.get("log", "") if job.state == "FAILED" and not boot_error else ""
        words = f"Slurm job {number} has ended {job.state}{why}" + (
            f"; what Slurm said is in {log} on {first_node(job.nodes)}" if log and job.nodes else ""
        )
        return Life(
            alive=False,
            cause=boot_error,
            rule=END_RULES.get(job.state, ""),
            cancelled=job.state == "CANCELLED" and not boot_error and "Dependency" not in job.reason,
            detail=f"{boot_error}; {words}" if boot_error else words,
        )
    if job.state == "RUNNING":
        return Life(alive=True, phase="starting", detail=f"Slurm job {number} on {job.nodes}")
    return Life(alive=True if job.state in RUNNING else None, detail=f"Slurm job {number} is {job.state}")
