"""The machines of the fake ModelArts' dedicated pool: which of them a job gets, by order in the queue and by labels."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HOST = "kubernetes.io/hostname"


@dataclass
class Host:
    """One machine. `job`: id of the job that it runs."""

    address: str
    labels: dict[str, str] = field(default_factory=dict)
    job: str = ""

    def has(self, requirement: Mapping[str, Any]) -> bool:
        """One requirement of an affinity, with the operators of the service but Gt and Lt."""
        value = {HOST: self.address, **self.labels}.get(requirement["key"])
        values = requirement.get("values", [])
        return {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[requirement["operator"]]

    def fits(self, terms: Sequence[Mapping[str, Any]]) -> bool:
        """One of the terms holds, with all of its requirements."""
        return not terms or any(all(map(self.has, term["matchExpressions"])) for term in terms)


class Hosts:
    """All machines of the pool, and the jobs that wait for them. The first that fits is taken, by order of address."""

    def __init__(self, count: int = 1000) -> None:
        self.all = [Host(f"10.0.{n // 200}.{n % 200 + 1}") for n in range(count)]
        self._lock = threading.Lock()
        self._queue: dict[str, tuple[int, int]] = {}
        self._tickets = itertools.count()

    def wait(self, job_id: str, priority: int) -> int:
        """Join the queue, or change the priority there. Jobs of higher priority come first, then older ones.

        Returns the job's number in the queue.
        """
        with self._lock:
            _, ticket = self._queue.get(job_id) or (0, next(self._tickets))
            self._queue[job_id] = (-priority, ticket)
            return self._order().index(job_id) + 1

    def place(self, job_id: str, count: int, policy: Mapping[str, Any], but: Sequence[str] = ()) -> list[str]:
        """Addresses of `count` machines, all of them or none; not those of `but`. None while another job comes first."""
        with self._lock:
            if job_id in self._queue and self._order()[0] != job_id:
                return []
            required = (
                policy.get("required_affinity", {}).get("node_affinity", {}).get("nodeSelectorTerms", [])
            )
            wishes = policy.get("preferred_affinity", {}).get("node_affinity", [])
            free = [h for h in self.all if not h.job and h.address not in but and h.fits(required)]
            free.sort(key=lambda host: -sum(w["weight"] for w in wishes if host.fits([w["preference"]])))
            if len(free) < count:
                return []
            self._queue.pop(job_id, None)
            for host in free[:count]:
                host.job = job_id
            return [host.address for host in free[:count]]

    def leave(self, job_id: str, address: str = "") -> None:
        """Free the machines of a job, or one of them; a job without any leaves the queue."""
        with self._lock:
            if not address:
                self._queue.pop(job_id, None)
            for host in self.all:
                if host.job == job_id and address in ("", host.address):
                    host.job = ""

    def _order(self) -> list[str]:
        return sorted(self._queue, key=lambda job_id: self._queue[job_id])
