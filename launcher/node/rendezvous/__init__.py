"""How the node programs of a run on several machines meet: through small objects in the run's folder.

Node 0 is the leader, the others are followers. Every attempt has a folder of its own, so messages of an earlier
attempt are never read:

    rendezvous/attempt-<a>/leader.json         LeaderMessage, written by node 0, read by every follower
    rendezvous/attempt-<a>/node-<k>.json       NodeMessage of follower k, read by node 0
    rendezvous/attempt-<a>/alive-<k>           rewritten by follower k every `alive_s`; node 0 sees it in its listing
    rendezvous/attempt-<a>/rank_table-<i>.json the rank table of step i, named by leader.json: it may be a megabyte

One step of the plan takes four messages:

    follower   ready      this machine, at step i of the plan
    leader     started    all are ready: the StartOrder, which every follower then carries out (`running`)
    follower   ended      the StepReport: how the step ended here
    leader     decided    all reports are here: the NextAction for all machines

With the action `next` step i + 1 begins in the same folder; a leader that is already at a later step means `next`,
too. With `restart` all machines go to the folder of the next attempt. At the end of the run followers write
`uploaded`, node 0 waits for that, commits the results and writes `over`.

Failure. After the first report of a failure node 0 waits only `report_s` for the others, since they may wait for the
failed machine for ever; `peer_stop` tells the others to stop their ranks. A follower that fails outside of a step
writes `failed` with its reason; node 0 writes `over`, which ends the wait of every follower at once.

Silence. A machine that was heard of in this attempt and then not for `lost_s` is lost; one that was never heard of
for `arrive_s` did not come. Neither counts while the store does not answer: then nobody can be heard, and after the
outage every clock starts again.

Restart. A node program that a platform starts again enters with a new attempt, or with another `launch` in the same
attempt. Messages with another `launch` are ignored, so nothing that an earlier start left is taken for a live machine.

In each node program one thread writes and reads (`Member`); the main thread changes what is written and waits for
what is read.
"""

from __future__ import annotations

import os
import socket

from launcher.node.messages import Machine
from launcher.node.peers import Peers, SingleMachine
from launcher.node.rendezvous.follower import Follower
from launcher.node.rendezvous.leader import Leader
from launcher.node.rendezvous.timing import Timing
from launcher.plan.model import Plan
from launcher.storage import ObjectStore

STORE_PATIENCE_S = 10.0


def peers_of(plan: Plan, node: int) -> Peers:
    """The other machines of the run. LAUNCHER_LAUNCH_ID tells apart two starts of one attempt by a platform."""
    machine = Machine(host=socket.gethostname())
    if plan.nodes == 1:
        return SingleMachine(machine)
    timing = Timing.for_nodes(
        plan.nodes, arrive_s=float(plan.watch.nodes_timeout), upload_s=float(plan.upload_patience_s)
    )
    launch = os.environ.get("LAUNCHER_LAUNCH_ID", "")
    return member_of(plan.store.open(STORE_PATIENCE_S), node, plan.nodes, machine, timing, launch)


def member_of(
    store: ObjectStore, node: int, nodes: int, machine: Machine, timing: Timing, launch: str = ""
) -> Leader | Follower:
    """This machine's side of the rendezvous of `nodes` machines; `store` is the run's folder."""
    if node == 0:
        return Leader(store, nodes, machine, timing, launch)
    return Follower(store, node, machine, timing, launch)


__all__ = ["Follower", "Leader", "Timing", "member_of", "peers_of"]
