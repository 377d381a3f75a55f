"""What a simulated run cost its store, as one row of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.scale.nodes import READER, World
from benchmarks.scale.store import Request
from launcher.node.cadence import PASSES_PER_S

SETTLED_S = 60.0
"""After the start of all ranks, and after the first upload of each node, requests count as those of the steady state."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Rates are per node; `start_s` is from the arrival of the last node to the start of its ranks."""

    nodes: int
    start_requests: float
    start_s: float
    steady_per_s: float
    known_s: float | None
    """None: the run ended before the node that was to fail."""
    status_requests: int
    status_s: float
    commit_requests: float
    commit_s: float
    megabytes: float
    refused: int
    codes: tuple[int, ...]
    shown: int
    kinds: tuple[tuple[str, float], ...] = field(repr=False)
    """Requests per second and node of the steady state, by kind, the most frequent first."""
    commit_kinds: tuple[tuple[str, float], ...] = field(repr=False)
    """Requests per node of the commit."""

    def cells(self) -> list[str]:
        """The row, for people."""
        return [
            f"{self.nodes:,}",
            f"{self.start_requests:.0f}",
            f"{self.start_s:.1f}",
            f"{self.steady_per_s:.3f}",
            f"{self.steady_per_s * self.nodes:.1f}",
            "ended early" if self.known_s is None else f"{self.known_s:.1f}",
            f"{self.status_requests:,}",
            f"{self.status_s:.1f}",
            f"{self.commit_requests:.0f}",
            f"{self.commit_s:.0f}",
            f"{self.megabytes:,.0f}",
            f"{self.refused:,}",
        ]

    def shares(self) -> list[str]:
        """The row of what is used of the budget, for people."""
        values = [getattr(self, name) for name in BUDGET]
        pairs = zip(values, (target for _, target in BUDGET.values()), strict=True)
        return [f"{self.nodes:,}", *("" if value is None else f"{value / most:.2f}" for value, most in pairs)]


BUDGET = {
    "start_requests": ("start: requests/node", 30),
    "start_s": ("start: s", 60),
    "steady_per_s": ("steady: requests/s/node", 0.1),
    "known_s": ("failure known: s", 30),
    "status_requests": ("status: requests", 10),
    "status_s": ("status: s", 1),
    "commit_s": ("commit: s", 300),
}
"""The targets for 1,024 nodes, by the field of `Figures`."""
HEADER = [
    *("nodes", "start: requests/node", "s", "steady: requests/s/node", "/s in all", "failure known: s"),
    *("status: requests", "s", "commit: requests/node", "s", "MB", "refused"),
]


def figures_of(world: World, nodes: int) -> Figures:
    """The figures of a run whose node `failing_node` failed."""
    moments, failing = world.moments, world.scenario.failing_node
    assert failing is not None
    started, failed = max(moments.started.values()), moments.stopped[failing]
    stopped, ended = max(moments.stopped.values()), max(moments.ended.values())
    own = [each for each in world.bucket.requests if each.node >= 0]
    settled = started + max(SETTLED_S, nodes / PASSES_PER_S)
    steady = _between(own, settled, failed)
    seconds = (failed - settled) * nodes
    commit = _between(own, stopped, ended)
    status = [each for each in world.bucket.requests if each.node == READER]
    return Figures(
        nodes=nodes,
        start_requests=len(_between(own, 0.0, started)) / nodes,
        start_s=started - max(moments.came.values()),
        steady_per_s=len(steady) / seconds,
        known_s=stopped - failed if failed >= moments.started[failing] + world.scenario.run_s else None,
        status_requests=len(status),
        status_s=max(each.at for each in status) - min(each.at for each in status) if status else 0.0,
        commit_requests=len(commit) / nodes,
        commit_s=ended - stopped,
        megabytes=sum(each.size for each in own) / 1e6,
        refused=world.bucket.refused.total(),
        shown=moments.shown,
        codes=tuple(sorted(set(moments.codes.values()))),
        kinds=_by_kind(steady, seconds),
        commit_kinds=_by_kind(commit, nodes),
    )


def table(rows: Sequence[Figures]) -> str:
    """A table in Markdown."""
    lines = [HEADER, ["---:"] * len(HEADER), *(row.cells() for row in rows)]
    return _markdown(lines)


def budget_table(rows: Sequence[Figures]) -> str:
    """What is / what is wanted at most, for each target of the budget. In Markdown."""
    header = ["nodes", *(f"{label} / {most}" for label, most in BUDGET.values())]
    return _markdown([header, ["---:"] * len(header), *(row.shares() for row in rows)])


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _by_kind(requests: Sequence[Request], shares: float) -> tuple[tuple[str, float], ...]:
    counts = Counter(each.kind for each in requests).most_common()
    return tuple((kind, count / shares) for kind, count in counts)


def _between(requests: Sequence[Request], begin: float, end: float) -> list[Request]:
    return [each for each in requests if begin <= each.at < end]
