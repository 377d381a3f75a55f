"""How often a node program uploads: with many machines each of them less often, so that the store has about as much to do as with few."""

from __future__ import annotations

from dataclasses import dataclass

FEW_NODES = 16
"""So many machines need not spare the store."""
PASSES_PER_S = 3.0
"""All machines of a run together upload what is new this often."""
FILES_PER_S = 0.5
"""And a file of each that grows this often; a log is two of them, see `launcher.runfolder.logtimes`."""
BOARD_S = 30.0
"""Node 0 gathers the heartbeats of so many machines this often."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds: before the first upload, between two of them, and between two of one growing file.

    Without `confirm` the store is not asked whether it has what was sent, where that is soon sent again.
    """

    first_s: float
    next_s: float
    growing_s: float = 0.0
    confirm: bool = True

    @classmethod
    def of_node(cls, node: int, nodes: int, every_s: float) -> Cadence:
        """That of one machine of `nodes`. Node 0 has the state and the results of the run and waits for nobody; the first uploads
        of the others are spread over one pause."""
        if node == 0 or nodes <= FEW_NODES:
            return cls(every_s, every_s)
        next_s = max(every_s, nodes / PASSES_PER_S)
        first_s = every_s + (next_s - every_s) * node / nodes
        return cls(first_s, next_s, nodes / FILES_PER_S, confirm=False)
