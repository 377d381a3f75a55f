"""How often machines exchange messages, and how long they wait for each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from launcher.node.cadence import FEW_NODES

POLLS_PER_S = 56.0
"""With many machines each asks for the leader's message less often, so that all together ask this often per second."""
ALIVE_PER_S = 16.0
"""And so often all together show that they live."""
SPARE_S = 2.0
"""A request for that message may have to be repeated once, and its answer is looked at once a second."""
LOST_BEATS = 4.0
"""A machine that did not show for so long that it lives is lost."""
LOOK_S, EAGER_LOOK_S = 2.0, 1.0
"""Node 0 is one machine: with many followers it still looks for their messages this often."""


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

    confirm: bool = True
    """Whether each machine looks if its message is in the store. With many of them the answer of the PUT is enough."""

    @classmethod
    def for_nodes(cls, nodes: int, *, arrive_s: float, upload_s: float) -> Timing:
        """The timing of a run on `nodes` machines."""
        fair_s = nodes / POLLS_PER_S if nodes > FEW_NODES else 0.0
        alive_s = max(10.0, nodes / ALIVE_PER_S)
        return cls(
            arrive_s=arrive_s,
            poll_s=max(1.0, fair_s),
            eager_s=max(0.25, fair_s),
            alive_s=alive_s,
            lost_s=max(120.0, LOST_BEATS * alive_s),
            upload_s=upload_s,
            confirm=nodes <= FEW_NODES,
        )

    def of_leader(self) -> Timing:
        """That of node 0, which lists a folder where the others read one object."""
        return replace(self, poll_s=min(self.poll_s, LOOK_S), eager_s=min(self.eager_s, EAGER_LOOK_S))


def quiet_s(nodes: int) -> float:
    """So long after its ranks a machine of a large run uploads nothing: else the first that know of a failure would make the
    store too busy to answer the last that ask."""
    return nodes / POLLS_PER_S + SPARE_S if nodes > FEW_NODES else 0.0
