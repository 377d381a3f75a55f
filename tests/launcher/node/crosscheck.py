"""Requests of real node programs beside those that the simulator makes for the same plan."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmarks.scale.nodes import Scenario, simulate
from benchmarks.scale.store import Service
from launcher.node.cadence import Cadence
from tests.launcher.node.machines import Machines
from tests.servers.faults import Faults
from tests.waiting import PATIENCE_S, wait_until

PASSES = 8
"""Each node uploads so often before the run ends."""
PASS = "HEAD cancel.json"
"""One in each pass."""
POLLS = ("GET rendezvous", "LIST rendezvous")
"""How often these come depends on how fast a machine is."""
RANK = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    print("step", time.monotonic(), flush=True)
    time.sleep(0.1)
"""


@dataclass(frozen=True)
class Requests:
    """Requests of one whole run, by method and first part of the key."""

    kinds: Mapping[str, int]
    waiting: int = 0
    """So many passes were made before all nodes had started their ranks."""

    @property
    def passes(self) -> int:
        """How often the nodes uploaded, together."""
        return self.kinds[PASS]

    @property
    def words(self) -> str:
        """The figures of docs/scale.md."""
        polls = sum(self.kinds[kind] for kind in POLLS)
        return f"{self.per_pass:.2f} requests for each of {self.passes} passes and {polls} polls"

    @property
    def per_pass(self) -> float:
        """Requests that are no polls, for one pass."""
        return sum(count for kind, count in self.kinds.items() if kind not in POLLS) / self.passes


def difference(real: Requests, simulated: Requests) -> float:
    """How far the simulator is from the real ones, as a fraction."""
    return abs(simulated.per_pass - real.per_pass) / real.per_pass


def real_requests(machines: Machines, proxy: Faults, nodes: int) -> Requests:
    """A whole run of this many real node programs, which ends when all have uploaded a few times."""
    stop = machines.folder / "stop"
    program = [sys.executable, "-c", RANK, str(stop)]
    machines.plan(nodes=nodes, program=program, requires=["json"], watch={"nodes_timeout": "3h"})
    _start(machines, nodes)
    waiting = proxy.count(*PASS.split())
    wait_until(
        lambda: proxy.count(*PASS.split()) >= waiting + PASSES * nodes,
        lambda: machines.log(0),
        timeout_s=PATIENCE_S * nodes,
        poll_s=nodes / 100,
    )
    stop.touch()
    codes = machines.codes(PATIENCE_S * nodes)
    assert codes == [0] * nodes, machines.log(0)
    prefix = f"/{machines.url.partition('://')[2]}/{machines.run_id}/"
    return Requests(Counter(_kind(method, path, prefix) for method, path in list(proxy.seen)), waiting)


def _start(machines: Machines, nodes: int) -> None:
    """One after the other, until the ranks run: a machine that starts many programs at once starts none in time."""
    for node, plan in machines.plans.items():
        machines.start(node)
        wait_until(plan.run_dir.node_log(1, node).exists, f"node {node}")
    ranks = [plan.run_dir.rank_log(1, node, node) for node, plan in machines.plans.items()]
    for rank in ranks:
        wait_until(rank.exists, lambda: machines.log(0), timeout_s=PATIENCE_S * nodes, poll_s=nodes / 100)


def simulated_requests(machines: Machines, folder: Path, real: Requests) -> Requests:
    """The same run by the simulator, with about as many passes before and after the start of the ranks."""
    plan = machines.plans[0]
    paces = [Cadence.of_node(node, plan.nodes, plan.upload_every_s).next_s for node in range(plan.nodes)]
    per_s = sum(1 / pace for pace in paces)
    run_s = (real.passes - real.waiting) / per_s
    scenario = Scenario(run_s=run_s, arrive_s=2 * real.waiting / per_s, log_every_s=0.1)
    world = simulate(plan, folder, Service(latency_s=0.005), scenario)
    assert set(world.moments.codes.values()) == {0}
    return Requests(Counter(each.kind for each in world.bucket.requests if each.node >= 0))


def _kind(method: str, path: str, prefix: str) -> str:
    """As the simulator names it. A listing is a GET of the bucket with a prefix."""
    parts = urlsplit(path)
    query = dict(each.partition("=")[::2] for each in parts.query.split("&"))
    if "prefix" in query:
        key = unquote(query["prefix"])
        return f"LIST {('/' + parts.path.strip('/') + '/' + key).removeprefix(prefix).partition('/')[0]}"
    return f"{method} {unquote(parts.path).removeprefix(prefix).partition('/')[0]}"
