"""What the parts of a node program share."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.node.board import StatusBoard
from launcher.node.heartbeat import Heartbeat
from launcher.node.notices import Notices
from launcher.node.peers import Peers
from launcher.node.statefile import StateFile
from launcher.node.stopping import Stopper
from launcher.node.tracking import Tracking
from launcher.node.upload import BackgroundUpload
from launcher.plan.model import Plan
from launcher.results.collector import Collector
from launcher.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class NodeContext:
    """One machine (`node`) of one run, and the services that live as long as its node program."""

    plan: Plan
    node: int
    store: ObjectStore
    collector: Collector
    upload: BackgroundUpload
    board: StatusBoard
    heartbeat: Heartbeat
    state: StateFile
    notices: Notices
    tracking: Tracking
    stopper: Stopper
    peers: Peers
