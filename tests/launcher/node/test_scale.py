"""The simulator of large runs (`benchmarks/scale`): it does the same each time, and asks for what real node programs ask for."""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scale.__main__ import RUN_ID, plan_for
from benchmarks.scale.figures import budget_table, figures_of
from benchmarks.scale.nodes import Scenario, World, simulate
from benchmarks.scale.store import Service
from launcher.storage import backoff
from tests.launcher.node.crosscheck import difference, real_requests, simulated_requests
from tests.launcher.node.machines import Machines, begin_programs_with
from tests.servers.faults import Faults, fault_proxy
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET

SHORT = Scenario(run_s=40.0, arrive_s=5.0, failing_node=1)


def short_run(folder: Path, service: Service, seed: int = 0) -> World:
    folder.mkdir()
    return simulate(plan_for(3, folder), folder, service, SHORT, seed)


def test_the_same_seed_gives_the_same_requests(tmp_path: Path, launcher_home: Path) -> None:
    first, again, other = (
        short_run(tmp_path / str(number), Service(), seed) for number, seed in enumerate((1, 1, 2))
    )
    asked = [[(r.at, r.node, r.kind) for r in world.bucket.requests] for world in (first, again, other)]
    assert asked[0] == asked[1] != asked[2]


def test_a_failure_reaches_all_nodes_and_the_results_are_committed(
    tmp_path: Path, launcher_home: Path
) -> None:
    world = short_run(tmp_path / "run", Service())
    assert world.moments.codes == {0: 100, 1: 100, 2: 100}
    assert world.moments.stopped.keys() == {0, 1, 2}
    committed = [r for r in world.bucket.requests if (r.method, r.key) == ("PUT", "MANIFEST.json")]
    assert len(committed) == 1
    assert "rank 8" in reason(tmp_path / "run")
    assert "the loss is nan" in reason(tmp_path / "run")


def test_machines_of_a_large_run_leave_the_store_alone_until_all_know_of_a_failure(
    tmp_path: Path, launcher_home: Path
) -> None:
    (tmp_path / "run").mkdir()
    world = simulate(plan_for(20, tmp_path / "run"), tmp_path / "run", Service(), SHORT)
    assert set(world.moments.codes.values()) == {100}
    knew, all_knew = world.moments.stopped, max(world.moments.stopped.values())
    others = [r for r in world.bucket.requests if r.node > 1 and knew[r.node] < r.at]
    assert {r.kind for r in others if r.at < all_knew} == {"PUT rendezvous"}
    prompt = {r.node for r in others if r.at < knew[r.node] + 0.05}
    assert len(prompt) <= 12, "all 18 do where what node 0 knows already is not left to the next message"
    assert {"PUT logs", "LIST logs"} <= {r.kind for r in others}
    assert not {"HEAD logs", "GET state.json", "GET checkpoints"} & {r.kind for r in others}


def test_machines_of_a_busy_store_share_what_it_takes(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slows down until few are refused. Those that forget at once how busy the store was ask in vain several times as often."""
    patient = crowded_run(tmp_path / "patient")
    monkeypatch.setattr(backoff, "FIRST_PAUSE_S", 0.0)
    hasty = crowded_run(tmp_path / "hasty")
    assert 0 < 2 * patient.bucket.refused["503"] < hasty.bucket.refused["503"]
    keys = Counter((r.method, r.key) for r in patient.bucket.requests)
    assert sum(keys[("GET", f"manifests/node-{node}.json")] for node in range(1, 24)) == 23


def crowded_run(folder: Path) -> World:
    """24 machines that a store soon finds too many. It ends in the way that was meant."""
    folder.mkdir()
    random.seed(0)  # pauses of repeated requests
    scenario = Scenario(run_s=40.0, arrive_s=20.0, failing_node=1)
    world = simulate(plan_for(24, folder), folder, Service(per_s=60.0), scenario)
    assert set(world.moments.codes.values()) == {100}
    assert "the loss is nan" in reason(folder)
    committed = world.bucket.object(f"scale-0/{RUN_ID}/MANIFEST.json", fresh=True)
    assert committed is not None
    assert (
        len([file for file in json.loads(committed[1])["files"] if file["name"].endswith(".log")]) == 24 * 9
    )
    return world


def test_a_run_that_ended_before_its_failure_has_no_time_until_it_was_known(
    tmp_path: Path, launcher_home: Path
) -> None:
    world = short_run(tmp_path / "run", Service())
    figures = figures_of(world, 3)
    assert figures.known_s is not None
    assert f"{figures.commit_s / 300:.2f}" in budget_table([figures])
    world.moments.stopped[1] = world.moments.started[1]
    assert figures_of(world, 3).cells()[5] == "ended early"


def reason(folder: Path) -> str:
    (state,) = folder.glob("node-0/*/state.json")
    return str(json.loads(state.read_text())["reason"])


def test_a_store_that_loses_throttles_and_answers_late_is_survived(
    tmp_path: Path, launcher_home: Path
) -> None:
    world = short_run(tmp_path / "run", Service(failing=0.03, per_s=40.0, stale_s=2.0))
    assert set(world.moments.codes.values()) == {100}
    assert world.moments.started.keys() == {0, 1, 2}
    assert world.bucket.refused["lost"]
    assert world.bucket.refused["503"]
    assert any((r.method, r.key) == ("PUT", "MANIFEST.json") for r in world.bucket.requests)
    assert "the loss is nan" in reason(tmp_path / "run")


@pytest.fixture
def proxy(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_key)
    with fault_proxy(rclone.endpoint) as faults:
        yield faults


LARGE = [int(nodes) for nodes in os.environ.get("LAUNCHER_TEST_NODES", "").split()]
"""More numbers of nodes for the cross-check, by hand: 64 node programs take minutes and 5 GiB."""


@pytest.mark.system
@pytest.mark.parametrize(
    "nodes",
    [2, *(pytest.param(nodes, marks=[pytest.mark.slow, pytest.mark.timeout(0)]) for nodes in (8, *LARGE))],
)
def test_real_node_programs_ask_for_the_same(
    tmp_path: Path, launcher_home: Path, proxy: Faults, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both do the same number of upload passes; how long these take differs, and with that the number of polls."""
    begin_programs_with(f"import os\nos.cpu_count = lambda: {nodes}\n", tmp_path / "cpus", monkeypatch)
    machines = Machines(tmp_path, f"s3://{BUCKET}/{tmp_path.name}", endpoint=proxy.endpoint)
    try:
        real = real_requests(machines, proxy, nodes)
    finally:
        machines.end()
    simulated = simulated_requests(machines, tmp_path / "simulated", real)
    print(f"{nodes} nodes: {real.words} by real programs, {simulated.words} by the simulator")
    assert difference(real, simulated) < 0.2, f"{real.kinds}\n{simulated.kinds}"
