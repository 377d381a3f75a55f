"""What a cluster has of our runs: one list per kind and namespace, and a closer look where something waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from launcher.backends.kubernetes.client import Cluster, Object
from launcher.backends.kubernetes.errors import ClusterError
from launcher.backends.kubernetes.names import LINE_LABEL, MANAGED, STARTER_LABEL
from launcher.backends.kubernetes.paths import JOBS, plain, pod_groups
from launcher.backends.kubernetes.seen import SeenJob, SeenPod, SeenWait
from launcher.backends.kubernetes.waits import Notice, tells, without_place

OURS = ",".join(f"{key}={value}" for key, value in MANAGED.items())


@dataclass(frozen=True, slots=True)
class Namespace:
    """Jobs by name, pods, notices by the UID of what they are on, and runs that wait by the names of their jobs."""

    jobs: Mapping[str, SeenJob]
    pods: tuple[SeenPod, ...]
    notices: Mapping[str, tuple[Notice, ...]]
    waits: Mapping[str, SeenWait] = field(default_factory=dict)

    def pods_of(self, job: SeenJob) -> list[SeenPod]:
        """The job's pods, in the order of their places."""
        return self.pods_named(job.name)

    def pods_named(self, job_name: str) -> list[SeenPod]:
        """The pods of a job that may be gone."""
        base, _, attempt = job_name.rpartition("-a")
        own = [pod for pod in self.pods if pod.run == base and pod.attempt == attempt]
        return sorted(own, key=lambda pod: (pod.index is None, pod.index or 0, pod.name))

    def about(self, job: SeenJob) -> list[Notice]:
        """What is said of the pods first, then of their group, then of the job."""
        pods = self.pods_of(job)
        found: list[Notice] = []
        for pod in pods:
            own = [*pod.notices, *self.notices.get(pod.uid, ())]
            found += without_place(own) if pod.node else own
        others = [each for key in (f"{job.name}-{job.uid}", job.uid) for each in self.notices.get(key, ())]
        return found + (without_place(others) if pods and all(pod.node for pod in pods) else others)


def look(cluster: Cluster, namespace: str, kinds: Sequence[str], *, waits: bool = False) -> Namespace:
    """`waits`: also runs that have a starter. Raises ClusterError when jobs or pods can't be listed."""
    starters: dict[str, SeenJob] = {}
    maps: list[Object] = []
    if waits:  # in this order: what a starter has noted and made before its end is seen
        starters = _named(cluster.items(JOBS["job"].format(namespace), labels=f"{OURS},{STARTER_LABEL}"))
        maps = cluster.items(plain("ConfigMap", namespace), labels=f"{OURS},{LINE_LABEL}")
    jobs: dict[str, SeenJob] = {}
    for kind in sorted(set(kinds)):
        jobs |= _named(cluster.items(JOBS[kind].format(namespace), labels=OURS))
    pods = tuple(map(SeenPod.of, cluster.items(plain("Pod", namespace), labels=OURS)))
    seen = Namespace({**jobs, **starters}, pods, {}, {wait.job: wait for wait in map(SeenWait.of, maps)})
    if not any(_is_unclear(seen, job) for job in jobs.values()):
        return seen
    return replace(seen, notices=_closer(cluster, namespace))


def _named(values: Sequence[Object]) -> dict[str, SeenJob]:
    return {str(value["metadata"]["name"]): SeenJob.of(value) for value in values}


def _is_unclear(seen: Namespace, job: SeenJob) -> bool:
    """Whether events may tell more: a job that waits, has a pod that does, or ended without the words of a pod."""
    pods = seen.pods_of(job)
    if job.phase == "ended":
        return not any(pod.exit_code is not None for pod in pods)
    return job.phase == "waits" or any(pod.phase == "Pending" for pod in pods)


def _closer(cluster: Cluster, namespace: str) -> dict[str, tuple[Notice, ...]]:
    """Groups of pods and events; those that this account may not read are left out."""
    found: dict[str, list[Notice]] = {}
    for value in sorted(_readable(cluster, plain("Event", namespace)), key=_time_of):
        target, word = value.get("involvedObject") or {}, str(value.get("reason") or "")
        if value.get("type") == "Warning" or tells(word):
            pod = str(target.get("name", "")) if target.get("kind") == "Pod" else ""
            key = "name" if target.get("kind") == "PodGroup" else "uid"
            notice = Notice(word, str(value.get("message") or ""), pod)
            found.setdefault(str(target.get(key, "")), []).append(notice)
    for value in _readable(cluster, pod_groups(namespace)):
        for each in (value.get("status") or {}).get("conditions") or []:
            if each.get("status") == "True" and each.get("type") != "Scheduled":
                notice = Notice(
                    str(each.get("reason") or each.get("type") or ""), str(each.get("message") or "")
                )
                found.setdefault(str(value["metadata"]["name"]), []).append(notice)
    return {key: tuple(reversed(notices)) for key, notices in found.items()}


def _time_of(event: Object) -> str:
    """When it was last seen. Events of newer clients have a series instead."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), (event.get("metadata") or {}).get("creationTimestamp") or ""))


def _readable(cluster: Cluster, path: str) -> list[Object]:
    try:
        return cluster.items(path)
    except ClusterError:
        return []
