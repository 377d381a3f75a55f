"""What the container of one pod printed, from the API server: also what an earlier start of it printed, while the pod is there."""

from __future__ import annotations

from launcher.backends.base import Console, Handle
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.errors import ClusterError
from launcher.backends.kubernetes.names import ATTEMPT_LABEL, CONTAINER, RUN_LABEL
from launcher.backends.kubernetes.paths import plain
from launcher.backends.kubernetes.seen import SeenPod

MOST_BYTES = 32 << 20


def read_console(cluster: Cluster, handle: Handle, node: int, after: str) -> Console:
    """The lines since the cursor `after`: the pod's UID and the number of lines that were read. Raises ClusterError."""
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
    uid, _, count = after.partition(" ")
    seen = int(count) if uid == own.uid and count.isdecimal() else 0
    query = {"container": CONTAINER, "limitBytes": str(MOST_BYTES)}
    try:
        text = cluster.text(f"{plain('Pod', data['namespace'])}/{own.name}/log", query)
    except ClusterError as error:
        if error.status != 400 and not error.absent:  # 400: the container has not begun
            raise
        return Console(lines=(), after=after)
    lines = text.split("\n")[:-1]
    return Console(lines=tuple(lines[seen:]), after=f"{own.uid} {max(seen, len(lines))}")
