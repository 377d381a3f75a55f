"""The back end `slurm`: one batch job a run, whose single `srun` starts a node program on every node."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from launcher.backends.base import Handle, Life
from launcher.backends.slurm_check import check_cluster
from launcher.backends.slurm_query import (
    COMMENT,
    ENDS,
    REASONS,
    RUNNING,
    TOO_LARGE,
    Job,
    call,
    look_up,
    partition_nodes,
    waiting_words,
)
from launcher.backends.slurm_script import options_of, render
from launcher.backends.slurm_send import send
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.plan import Plan


class SlurmBackend:
    """Every method but `render` calls the commands of Slurm, which must be installed here."""

    def check(self, plan: Plan) -> Sequence[Finding]:
        return check_cluster(plan)

    def render(self, plan: Plan, attempt: int) -> str:
        return render([plan], attempt)

    def render_all(self, plans: Sequence[Plan]) -> str:
        """A sweep: one array for plans that differ in nothing that Slurm has to know, else one script each."""
        if _are_alike(plans):
            return render(plans, 1)
        return "\n".join(render([plan], 1) for plan in plans)

    def submit(self, plan: Plan, attempt: int) -> Handle:
        return self._handle(send(self.render(plan, attempt), plan.run_id), plan.run_id)

    def submit_all(self, plans: Sequence[Plan]) -> list[Handle]:
        """All or nothing."""
        if _are_alike(plans):
            job = send(self.render_all(plans), plans[0].run_id)
            return [self._handle(f"{job}_{k}", plans[0].run_id) for k in range(len(plans))]
        if any(options_of(plan).max_parallel for plan in plans):
            raise BackendError(
                "the runs of this sweep ask Slurm for different things, so they are no array whose tasks could be counted",
                where="slurm.max_parallel",
                hint="leave it away, or sweep over nothing that Slurm has to know",
            )
        handles: list[Handle] = []
        try:
            for plan in plans:
                handles.append(self.submit(plan, 1))
        except BackendError:
            for handle in handles:
                with contextlib.suppress(BackendError):
                    call("scancel", handle.data["job"])
            raise
        return handles

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        try:
            jobs = look_up([handle.data["job"] for handle in handles])
        except BackendError as error:
            return [Life(alive=None, detail=f"Slurm does not answer: {error.what}")] * len(handles)
        puzzled = {job.partition for job in jobs.values() if job.reason in TOO_LARGE}
        nodes_of = partition_nodes(sorted(puzzled)) if puzzled else {}
        return [life_of(handle, jobs.get(handle.data["job"]), nodes_of) for handle in handles]

    def cancel(self, handle: Handle) -> None:
        """A job that waits is removed; the batch script of one that runs tells its node programs."""
        job = look_up([handle.data["job"]]).get(handle.data["job"])
        if job is None or job.ended or not job.is_of(handle.data["comment"]):
            return
        for how in (["--state=PENDING"], ["--state=RUNNING", "--signal=USR2", "--batch"]):
            try:
                call("scancel", *how, handle.data["job"])
            except BackendError as error:
                if "Invalid job id" not in error.what:  # it has ended meanwhile
                    raise

    def terminate(self, handle: Handle) -> None:
        job = look_up([handle.data["job"]]).get(handle.data["job"])
        if job is not None and not job.ended and job.is_of(handle.data["comment"]):
            call("scancel", handle.data["job"])

    @staticmethod
    def _handle(job: str, name: str) -> Handle:
        return Handle(backend="slurm", data={"job": job, "comment": COMMENT + name})


def _are_alike(plans: Sequence[Plan]) -> bool:
    """Whether their scripts differ in their names only, so that they can share an array."""
    return len({render([plan], 1).replace(plan.run_id, "") for plan in plans}) == 1


def life_of(handle: Handle, job: Job | None, nodes_of: dict[str, int]) -> Life:
    """What a job tells of its run. `job` is None for one that Slurm does not know."""
    number, comment = handle.data["job"], handle.data["comment"]
    if job is not None and not job.is_of(comment):
        job = None  # its id was given to somebody else
    if job is None:
        return Life(alive=False, detail=f"Slurm does not know job {number} any more")
    told = job.told(comment)
    if job.waiting:
        words = f"Slurm job {number} {waiting_words(job, nodes_of)}"
        return Life(alive=True, waiting=True, detail=f"{words}; last time: {told}" if told else words)
    if job.ended:
        old = job.reason in ("", "None", *REASONS) and job.reason != "DependencyNeverSatisfied"
        why = "" if old else f" ({job.reason}{': ' if job.reason in ENDS else ''}{ENDS.get(job.reason, '')})"
        words = f"Slurm job {number} has ended {job.state}{why}"
        return Life(
            alive=False,
            cause=told,
            cancelled=job.state == "CANCELLED" and not told and "Dependency" not in job.reason,
            detail=f"{told}; {words}" if told else words,
        )
    if job.state == "RUNNING":
        return Life(alive=True, phase="starting", detail=f"Slurm job {number} on {job.nodes}")
    return Life(alive=True if job.state in RUNNING else None, detail=f"Slurm job {number} is {job.state}")
