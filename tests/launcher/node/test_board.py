"""Real node programs of a run that counts as a large one: node 0 gathers the heartbeats, and `status` reads them from there."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from launcher.errors import NotFound
from launcher.node.board import StatusBoard
from launcher.node.cadence import FEW_NODES
from launcher.node.rendezvous.folder import MessageFolder
from launcher.runfolder.board import Board, parse_board
from launcher.runfolder.states import NodeStatus, State
from launcher.runs.index import entry_of_url
from launcher.runs.view import RunView, view_of
from launcher.storage.backoff import StoreBusy
from tests.launcher.node.crosscheck import RANK
from tests.launcher.node.machines import Machines, begin_programs_with
from tests.servers.faults import Faults, fault_proxy
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET
from tests.waiting import wait_until

NODES = 3
LARGE = """
import os

from launcher.node import cadence

os.cpu_count = lambda: 8
cadence.FEW_NODES = 1
cadence.BOARD_S = 0.5
"""
"""What each program of the run begins with: two machines are many, node 0 gathers often, and each machine has a CPU for its rank."""


@pytest.fixture
def reader(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A way to the store that only whoever looks at the run takes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone.secret_key)
    with fault_proxy(rclone.endpoint) as faults:
        yield faults


@pytest.fixture
def machines(
    tmp_path: Path, launcher_home: Path, rclone: S3Server, reader: Faults, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machines]:
    begin_programs_with(LARGE, tmp_path / "large", monkeypatch)
    machines = Machines(tmp_path, f"s3://{BUCKET}/{tmp_path.name}", endpoint=rclone.endpoint)
    yield machines
    machines.end()


def board_of(machines: Machines) -> Board | None:
    try:
        return parse_board(machines.store.read("status/board.json"))
    except NotFound:
        return None


def look(machines: Machines, reader: Faults) -> tuple[RunView, list[str]]:
    """What `status` shows by the URL of the run, and the keys of the heartbeats that it read."""
    address = machines.plans[0].store
    reader.clear()
    view = view_of(entry_of_url(address.url, address.model_copy(update={"endpoint": reader.endpoint})))
    keys = [unquote(path).rpartition("/")[2] for method, path in list(reader.seen) if method == "GET"]
    return view, [key for key in keys if key.startswith("node-")]


@pytest.mark.system
def test_node_0_gathers_the_heartbeats_of_all_machines(machines: Machines, reader: Faults) -> None:
    stop = machines.folder / "stop"
    machines.plan(nodes=NODES, program=[sys.executable, "-c", RANK, str(stop)], requires=["json"])
    machines.store.put("plan.json", machines.plans[0].run_dir.plan.read_bytes())
    machines.start(*range(NODES))
    wait_until(
        lambda: (board := board_of(machines)) is not None and len(board.posted) == NODES,
        lambda: machines.log(0),
    )
    view, _ = wait_until(lambda: (seen := look(machines, reader)) and not seen[1] and seen)
    assert [node.node for node in view.nodes] == list(range(NODES))
    assert reader.count("GET") + reader.count("HEAD") <= 10
    stop.touch()
    assert machines.codes() == [0] * NODES, machines.log(0)
    view, _ = look(machines, reader)
    assert view.state is State.SUCCEEDED
    assert {node.phase for node in view.nodes} == {"done"}


def gather(folder: Path, nodes: int, *, superseded: bool = False) -> Machines:
    """What node 0 does at the end of a run whose machines have written heartbeats, that of machine 3 damaged."""
    machines = Machines(folder, (folder / "runs").as_uri())
    machines.plan(nodes=nodes)
    for node in range(nodes):
        status = NodeStatus(
            node=node, host=f"m{node}", pid=1, attempt=2, phase="done", phase_since=0, updated_at=0
        )
        machines.store.put(
            f"status/node-{node}.json", status.model_dump_json().encode() if node != 3 else b"{"
        )
    upload = SimpleNamespace(attempt=2, superseded=threading.Event())
    if superseded:
        upload.superseded.set()
    StatusBoard(machines.plans[0], 0, upload).end(last=True)  # type: ignore[arg-type]
    return machines


def test_the_last_words_are_on_the_board(tmp_path: Path, launcher_home: Path) -> None:
    board = board_of(gather(tmp_path, FEW_NODES + 1))
    assert board is not None
    assert board.attempt == 2
    assert [each.status.node for each in board.posted] == [node for node in range(FEW_NODES + 1) if node != 3]
    assert {each.status.phase for each in board.posted} == {"done"}


def test_a_heartbeat_that_the_store_refuses_does_not_keep_the_others_from_the_board(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = MessageFolder.read

    def refusing(folder: MessageFolder, name: str, kind: type[NodeStatus]) -> NodeStatus | None:
        if name == "node-5.json":
            raise StoreBusy("slow down")
        return read(folder, name, kind)

    monkeypatch.setattr(MessageFolder, "read", refusing)
    board = board_of(gather(tmp_path, FEW_NODES + 1))
    assert board is not None
    assert {0, 1, 2, 4} < {each.status.node for each in board.posted}, "those that were listed before it"


def test_an_attempt_that_is_over_writes_no_board(tmp_path: Path, launcher_home: Path) -> None:
    assert board_of(gather(tmp_path, FEW_NODES + 1, superseded=True)) is None


def test_few_machines_have_no_board(tmp_path: Path, launcher_home: Path) -> None:
    assert board_of(gather(tmp_path, FEW_NODES)) is None
