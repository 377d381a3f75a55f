"""How often machines exchange messages, and how long they wait for each other."""

from __future__ import annotations

from dataclasses import dataclass

NODES_PER_POLL_S = 128
"""With many machines each asks the store less often, so that all together ask it this often per second."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `eager_s` takes the place of `poll_s` while the main thread waits for another machine."""

    arrive_s: float = 1800.0
    """A machine that was never heard of for so long did not come."""
    poll_s: float = 1.0
    eager_s: float = 0.25
    alive_s: float = 10.0
    """Each machine shows so often that it lives."""
    lost_s: float = 120.0
    """A machine that falls silent for so long is lost."""
    report_s: float = 5.0
    """After a failure node 0 waits so long for the other machines' reports."""
    upload_s: float = 3600.0
    """At the end of the run node 0 waits so long for the other machines' uploads."""

    @classmethod
    def for_nodes(cls, nodes: int, *, arrive_s: float, upload_s: float) -> Timing:
        """The timing of a run on `nodes` machines."""
        fair_s = nodes / NODES_PER_POLL_S
        return cls(arrive_s=arrive_s, poll_s=max(1.0, fair_s), eager_s=max(0.25, fair_s), upload_s=upload_s)
