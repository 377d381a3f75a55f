"""The simulator of large runs (`benchmarks/scale`): it does the same each time, and asks for what real node programs ask for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scale.__main__ import plan_for
from benchmarks.scale.nodes import Scenario, World, simulate
from benchmarks.scale.store import Service
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
    assert {r.kind for r in others if r.at < all_knew} == {"GET rendezvous", "PUT rendezvous"}
    prompt = {r.node for r in others if r.at < knew[r.node] + 0.05}
    assert len(prompt) < 6, "what node 0 knows already is told with the next message"
    assert {"PUT logs", "LIST logs"} <= {r.kind for r in others}
    assert "HEAD logs" not in {r.kind for r in others}


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


@pytest.mark.system
@pytest.mark.parametrize("nodes", [2, pytest.param(8, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
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
    assert difference(real, simulated) < 0.2, f"{real.kinds}\n{simulated.kinds}"
