"""From what a cluster has of a job to the life of its run: alive, ended, or unknown. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.backends.base import Handle, Life
from launcher.backends.kubernetes.look import Namespace
from launcher.backends.kubernetes.names import starter_name
from launcher.backends.kubernetes.seen import SeenJob, SeenPod, SeenWait
from launcher.backends.kubernetes.waits import why


def life_of(handle: Handle, seen: Namespace, server: str) -> Life:
    """`server` is the address that was asked."""
    data = handle.data
    job = seen.jobs.get(data["name"])
    if job is None or (data.get("uid") and job.uid != data["uid"]):
        wait = seen.waits.get(data["name"])
        return _absent(handle, job, seen, server) if wait is None or job else _waits(wait, seen)
    pods = seen.pods_of(job)
    label = f"job {job.name}"
    if job.phase == "unknown":
        return Life(alive=None, detail=f"{label} is {job.word}")
    if job.phase == "ended":
        return _ended(job, seen, pods)
    if job.deleting:
        return Life(alive=True, detail=f"{label} is being deleted")
    running = [pod for pod in pods if pod.phase in ("Running", "Succeeded", "Failed")]
    reason = why(seen.about(job)) if len(running) < int(data["nodes"]) else None
    if not running:
        words = reason.words() if reason else _placed(pods) or "waits for the scheduler"
        return Life(
            alive=True, waiting=True, detail=f"{label} {words}" if not reason else f"{label}: {words}"
        )
    if len(running) < int(data["nodes"]):
        words = f"{label}: {len(running)} of {data['nodes']} pods have begun"
        return Life(alive=True, phase="starting", detail=f"{words}; {reason.words()}" if reason else words)
    nodes = ", ".join(dict.fromkeys(pod.node for pod in pods if pod.node))
    return Life(alive=True, phase="starting", detail=f"{label} on {nodes}" if nodes else label)


def _waits(wait: SeenWait, seen: Namespace) -> Life:
    """A run whose job its starter makes later, as long as there is one."""
    label, starter = f"job {wait.job}", seen.jobs.get(starter_name(wait.line))
    if wait.state == "started":  # its job is gone, and this follows
        return Life(alive=False, detail=f"{label} was deleted")
    if wait.state == "refused":
        words = f"was never started: {wait.reason}"
        return Life(alive=False, cause=words, detail=f"{label} {words}")
    if starter is None or starter.phase == "ended":
        words = f"will never start: {starter_name(wait.line)} {'has ended' if starter else 'was deleted'}"
        return Life(alive=False, cause=words, detail=f"{label} {words}")
    pods = [pod for pod in seen.pods if pod.line == wait.line]
    notices = [notice for pod in pods for notice in (*pod.notices, *seen.notices.get(pod.uid, ()))]
    reason = why([*notices, *seen.notices.get(starter.uid, ())])
    words = wait.words() or f"waits for its starter {starter.name}"
    return Life(
        alive=True, waiting=True, detail=f"{label} {words}" + (f"; {reason.words()}" if reason else "")
    )


def _placed(pods: Sequence[SeenPod]) -> str:
    """Pods that have a node and no trouble are about to begin."""
    nodes = ", ".join(dict.fromkeys(pod.node for pod in pods if pod.node))
    return f"is being prepared on {nodes}" if nodes else ""


def _ended(job: SeenJob, seen: Namespace, pods: Sequence[SeenPod]) -> Life:
    cause = next((pod.error for pod in pods if pod.error), "")
    reason = why(seen.about(job))
    words = f"job {job.name} has ended {job.word}" + (f" ({job.message})" if job.message else "")
    details = [cause, reason.words() if reason and (reason.row.rule or not cause) else "", words]
    return Life(
        alive=False,
        cause=cause,
        rule=reason.row.rule if reason else "",
        cancelled=job.taken and not cause,
        detail="; ".join(filter(None, details)),
    )


def _absent(handle: Handle, other: SeenJob | None, seen: Namespace, server: str) -> Life:
    """A job that the API server does not have is gone: it answers from what it has stored. Its pods may still be saving."""
    data = handle.data
    name, place = data["name"], f"{data['namespace']} of {server}"
    if data.get("server") and data["server"] != server:
        return Life(alive=None, detail=f"job {name} is one of {data['server']}, this is {server}")
    if other is not None:
        return Life(alive=False, detail=f"job {name} in {place} was deleted, and made anew by somebody")
    words = f"there is no job {name} in {place} any more: it was deleted"
    stopping = [pod.name for pod in seen.pods_named(name) if pod.phase == "Running"]
    if stopping:
        return Life(alive=True, detail=f"{words}; {', '.join(stopping)} is being stopped")
    return Life(alive=False, detail=words)
