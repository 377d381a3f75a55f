"""What a run costs its store, from 2 to 1,024 nodes with 8 ranks each, by simulation.

    python -m benchmarks.scale [--nodes 2 8 32] [--failing 0.01] [--per-s 200] [--stale 2] [--seed 0] [--kinds]

The node programs are the real ones (see `benchmarks/scale/nodes.py`), the clock and the bucket are models. All nodes come within a minute, train, and one
of them fails; then the results are committed. Nothing is measured by the clock of this machine, so the table is the same on each.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.scale.figures import Figures, budget_table, figures_of, table
from benchmarks.scale.nodes import Scenario, simulate
from benchmarks.scale.store import Service
from launcher.jobfile.load import load_job
from launcher.plan.model import Plan
from launcher.submission.prepare import plan_of

NODES = (2, 8, 32, 64, 256, 1024)
RUN_ID = "scale-20261128-100000-0000"
MEMORY = Path("/dev/shm")


def plan_for(nodes: int, folder: Path) -> Plan:
    """A training on `nodes` machines with eight devices each."""
    job = {
        "name": "scale",
        "model": {"arch": "tnt_s_patch16_224"},
        "data": {"url": "obs://bucket/imagenet"},
        "resources": {"backend": "slurm", "device": "ascend910", "nodes": nodes, "devices_per_node": 8},
        "output": {"url": "obs://bucket/runs"},
        "retry": {"max_restarts": 0},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    loaded = load_job(path, overrides=[f"output.work_dir={folder / 'work'}"])
    return plan_of(loaded.spec, loaded.recipe, run_id=RUN_ID, env=os.environ, cwd=folder)


def measure(nodes: int, service: Service, run_s: float, seed: int) -> Figures:
    """One simulated run."""
    random.seed(seed)  # pauses of repeated requests
    scenario = Scenario(run_s=run_s, failing_node=nodes // 2)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        plan = plan_for(nodes, Path(folder))
        return figures_of(simulate(plan, Path(folder), service, scenario, seed), nodes)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.scale", description="Requests and seconds of large runs, simulated."
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument(
        "--run-s", type=float, default=360.0, help="seconds of training before one node fails"
    )
    parser.add_argument("--latency", type=float, default=0.02, help="seconds of a request")
    parser.add_argument("--failing", type=float, default=0.0, help="share of requests without an answer")
    parser.add_argument(
        "--per-s", type=float, default=None, help="more requests per second than this are answered 503"
    )
    parser.add_argument(
        "--stale", type=float, default=0.0, help="seconds after a PUT in which a read may miss it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kinds", action="store_true", help="also the kinds of requests, steady and of the commit"
    )
    args = parser.parse_args()
    service = Service(args.latency, args.failing, args.per_s, args.stale)
    rows = []
    for nodes in args.nodes:
        begun = time.monotonic()
        rows.append(measure(nodes, service, args.run_s, args.seed))
        took = f"{nodes} nodes: simulated in {time.monotonic() - begun:.0f} s"
        sys.stderr.write(f"{took}, exit codes {rows[-1].codes}, status showed {rows[-1].shown} nodes\n")
        if args.kinds:
            for kind, rate in rows[-1].kinds:
                sys.stderr.write(f"  {rate:8.4f}/s and node  {kind}\n")
            for kind, count in rows[-1].commit_kinds:
                sys.stderr.write(f"  {count:8.2f} a node at the commit  {kind}\n")
    print(table(rows))
    print("\nShare of the budget for 1,024 nodes (what is / what is wanted at most):\n")
    print(budget_table(rows))


if __name__ == "__main__":
    main()
