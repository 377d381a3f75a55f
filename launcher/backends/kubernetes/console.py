"""What the container of one pod printed, from the API server: also what an earlier start of it printed, while the pod is there."""

from __future__ import annotations

from contextlib import suppress

from launcher.backends.base import Console, Handle
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.errors import ClusterError
from launcher.backends.kubernetes.names import ATTEMPT_LABEL, CONTAINER, RUN_LABEL
from launcher.backends.kubernetes.paths import plain
from launcher.backends.kubernetes.seen import SeenPod

MOST_BYTES = 32 << 20


def read_console(cluster: Cluster, handle: Handle, node: int, after: str) -> Console:
    """The lines since the cursor `after`: a start of the pod's container, and the number of its lines that were read. Of a container that
    has begun anew, what the one before printed comes first. Raises ClusterError."""
    data = handle.data
    base = str(data["name"]).rpartition("-a")[0]
    labels = f"{RUN_LABEL}={base},{ATTEMPT_LABEL}={data['attempt']}"
    pods = [SeenPod.of(value) for value in cluster.items(plain("Pod", data["namespace"]), labels=labels)]
    pods.sort(key=lambda pod: (pod.index is None, pod.index or 0, pod.name))
    own = next((pod for pod in pods if pod.index == node), None)
    if own is None:
        numbered = any(pod.index is not None for pod in pods)
        own = pods[node] if not numbered and node < len(pods) else None
    if own is None:
        return Console(lines=(), after=after, cleared=not pods)
    path = f"{plain('Pod', data['namespace'])}/{own.name}/log"
    begun, _, count = after.partition(" ")
    seen = int(count) if count.isdecimal() else 0
    try:
        lines = _lines(cluster, path)
    except ClusterError as error:
        if error.status != 400 and not error.absent:  # 400: the container has not begun
            raise
        return Console(lines=(), after=after)
    start = _start(own, own.restarts)
    if begun == start:
        return Console(lines=tuple(lines[seen:]), after=f"{start} {max(seen, len(lines))}")
    earlier: list[str] = []
    if own.restarts:
        with suppress(ClusterError):  # the node keeps the one before only, and not for ever
            earlier = _lines(cluster, path, previous=True)
    known = seen if begun == _start(own, own.restarts - 1) else 0
    return Console(lines=(*earlier[known:], *lines), after=f"{start} {len(lines)}")


def _start(pod: SeenPod, restarts: int) -> str:
    """The part of a cursor that names one start of a pod's container."""
    return f"{pod.uid}/{restarts}" if restarts else pod.uid


def _lines(cluster: Cluster, path: str, *, previous: bool = False) -> list[str]:
    query = {
        "container": CONTAINER,
        "limitBytes": str(MOST_BYTES),
        **({"previous": "true"} if previous else {}),
    }
    return cluster.text(path, query).split("\n")[:-1]
