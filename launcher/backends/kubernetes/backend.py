"""The back end `kubernetes`: one job of Volcano, MindCluster or plain Kubernetes per attempt of a run, one pod per machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.backends.agree import mark_job, unmark_job
from launcher.backends.base import Backend, Console, Handle, Life
from launcher.backends.kubernetes.check import check_cluster, doctor_checks
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.console import read_console
from launcher.backends.kubernetes.life import life_of
from launcher.backends.kubernetes.look import OURS, look
from launcher.backends.kubernetes.machines import options_of, pods_of
from launcher.backends.kubernetes.manifests import as_yaml
from launcher.backends.kubernetes.names import RUN_LABEL, base_name, job_name
from launcher.backends.kubernetes.paths import JOBS
from launcher.backends.kubernetes.rules import check_pods
from launcher.backends.kubernetes.seen import SeenJob
from launcher.backends.kubernetes.send import send
from launcher.backends.recent import Recent
from launcher.errors import BackendError, UsageError
from launcher.findings import Finding
from launcher.jobfile.spec import JobSpec
from launcher.plan.machines import Machines
from launcher.plan.model import Plan

PAUSE_S, GLANCE_S = 3.0, 15.0
_recent = Recent()


class KubernetesBackend(Backend):
    """Methods that are not pure ask the API server, by the kubeconfig of this machine."""

    runs_elsewhere = True
    shares_files = False
    starts_again = True

    def machines(self, spec: JobSpec, env: Mapping[str, str], cwd: Path) -> Machines:
        return pods_of(spec, cwd)

    def rules(self, plan: Plan) -> Sequence[Finding]:
        return check_pods(plan)

    def check(self, plan: Plan) -> Sequence[Finding]:
        return check_cluster(plan, Cluster(options_of(plan).context, patience_s=8.0))

    def doctor_checks(self) -> Sequence[Finding]:
        return doctor_checks()

    def render(self, plan: Plan, attempt: int) -> str:
        return as_yaml(plan, attempt)

    def submit(self, plan: Plan, attempt: int) -> Handle:
        """Safe to repeat for the same attempt: a job of its name that is ours is used again."""
        cluster, options = Cluster(options_of(plan).context), options_of(plan)
        _end_earlier(cluster, plan, attempt)
        store = plan.store.open()
        mark = mark_job(store, attempt)
        try:
            job = SeenJob.of(send(cluster, plan, attempt))
        except BaseException:
            unmark_job(store, mark)
            raise
        _recent.clear()
        return _handle(plan, attempt, job.uid, cluster.server, options.context)

    def poll(self, handles: Sequence[Handle]) -> Sequence[Life]:
        """One list per kind of object for all runs of a namespace; an answer serves for `PAUSE_S`."""
        key = tuple((handle.data["namespace"], handle.data["name"]) for handle in handles)
        return _recent.get(key, PAUSE_S, lambda: _ask_for(handles))

    def find(self, plan: Plan, *, trusted: bool) -> Handle | None:
        """The newest job of a run, submitted from anywhere or applied by hand. Raises LauncherError."""
        options = options_of(plan)
        if options.context and not trusted:
            raise UsageError(
                f"its context {options.context} is from a plan without a signature by a key of yours"
            )
        cluster = Cluster(options.context, GLANCE_S)
        own = [job for job in _jobs_of(cluster, plan) if job.run_id == plan.run_id]
        if not own:
            return None
        newest = max(own, key=lambda job: job.attempt)
        return _handle(plan, newest.attempt, newest.uid, cluster.server, options.context)

    def cancel(self, handle: Handle) -> None:
        """A job whose pods have not begun is deleted; one that runs reads the request in the run's folder, and saves first."""
        _recent.clear()
        life = _ask_for([handle])[0]
        if life.alive and life.waiting:
            self.terminate(handle)
        elif life.alive is None:
            raise BackendError(life.detail or "the cluster can't be asked")

    # ---- what only a platform has

    def terminate(self, handle: Handle) -> None:
        """Delete the job. Its pods get SIGTERM, and `grace` to save and upload."""
        _recent.clear()
        _cluster_of(handle).delete(_path_of(handle))

    def delete(self, handle: Handle) -> None:
        """Remove the jobs of all attempts, with their pods and logs; the run's folder stays."""
        life = _ask_for([handle])[0]
        if life.alive:
            raise BackendError(f"{life.detail}; only a job that has ended can be deleted")
        if life.alive is None:
            raise BackendError(life.detail)
        _recent.clear()
        cluster, jobs = _cluster_of(handle), JOBS[handle.data["kind"]].format(handle.data["namespace"])
        base = str(handle.data["name"]).rpartition("-a")[0]
        for value in cluster.items(jobs, labels=f"{OURS},{RUN_LABEL}={base}"):
            cluster.delete(f"{jobs}/{value['metadata']['name']}")

    def console(self, handle: Handle, node: int, after: str) -> Console:
        return read_console(_cluster_of(handle), handle, node, after)

    def kept_console(self, handle: Handle, node: int) -> str:
        """The node programs' own log, which holds the same from their start on."""
        return f"logs/attempt-{handle.data['attempt']}/node-{node}/node.log*"

    def story(self, handle: Handle) -> tuple[str, ...]:
        """What the cluster says of the job and its pods."""
        data = handle.data
        seen = look(_cluster_of(handle), data["namespace"], [data["kind"]])
        job = seen.jobs.get(data["name"])
        if job is None:
            return (f"the cluster has no job {data['name']} any more",)
        lines = [f"{job.name}: {job.word}" + (f" ({job.message})" if job.message else "")]
        lines += [f"{pod.name}: {pod.phase} on {pod.node or 'no node'}" for pod in seen.pods_of(job)]
        lines += [f"{notice.word}: {notice.message or notice.pod}" for notice in seen.about(job)]
        return tuple(dict.fromkeys(lines))


def _end_earlier(cluster: Cluster, plan: Plan, attempt: int) -> None:
    """Jobs of earlier attempts must not go on beside the new one; those that have ended keep their logs."""
    for job in _jobs_of(cluster, plan):
        if job.run_id == plan.run_id and job.attempt != attempt and job.phase != "ended":
            options = options_of(plan)
            cluster.delete(f"{JOBS[options.kind].format(options.namespace)}/{job.name}")


def _jobs_of(cluster: Cluster, plan: Plan) -> list[SeenJob]:
    options = options_of(plan)
    labels = f"{OURS},{RUN_LABEL}={base_name(plan.run_id)}"
    return [
        SeenJob.of(value)
        for value in cluster.items(JOBS[options.kind].format(options.namespace), labels=labels)
    ]


def _ask_for(handles: Sequence[Handle]) -> list[Life]:
    """A namespace that can't be asked does not affect the others."""
    lives: dict[int, Life] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    for place, handle in enumerate(handles):
        groups.setdefault((handle.data.get("context") or "", handle.data["namespace"]), []).append(place)
    for (context, namespace), places in groups.items():
        cluster = Cluster(context or None, GLANCE_S if len(groups) == 1 else GLANCE_S / len(groups))
        try:
            seen = look(cluster, namespace, [handles[place].data["kind"] for place in places])
            server = cluster.server
            lives |= {place: life_of(handles[place], seen, server) for place in places}
        except BackendError as error:
            words = f"the cluster can't be asked: {error.headline}" + (
                f"; {error.hint}" if error.hint else ""
            )
            lives |= {place: Life(alive=None, detail=words) for place in places}
    return [lives[place] for place in range(len(handles))]


def _cluster_of(handle: Handle) -> Cluster:
    return Cluster(handle.data.get("context") or None, GLANCE_S)


def _path_of(handle: Handle) -> str:
    data = handle.data
    return f"{JOBS[data['kind']].format(data['namespace'])}/{data['name']}"


def _handle(plan: Plan, attempt: int, uid: str, server: str, context: str | None) -> Handle:
    options = options_of(plan)
    data = {
        "name": job_name(plan.run_id, attempt),
        "uid": uid,
        "kind": options.kind,
        "namespace": options.namespace,
        "context": context or "",
        "server": server,
        "nodes": plan.nodes,
        "attempt": attempt,
        "submitted_at": time.time(),
    }
    return Handle(backend="kubernetes", data=data)
