"""The board of a large run is a copy of its heartbeats: it saves reading them, and decides nothing that they don't bear out."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.api import find
from launcher.cli import main
from launcher.runfolder.board import OLD_S, Board, Posted
from launcher.runfolder.smallfiles import MOST_BYTES
from launcher.runfolder.states import NodeStatus, State
from launcher.runs.view import RunView
from launcher.storage import open_store
from launcher.storage.file import FileStore
from tests.launcher.samples import NOW, Sample

NODES = 5
WRITTEN = NOW + 1000.0


class Stored:
    """The folder of a run that lives elsewhere, with a board, and what was read of it."""

    def __init__(self, sample: Sample, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sample, self.root = sample, folder / sample.entry.run_id
        self.state = State.RUNNING
        self.read: list[str] = []
        read = FileStore.read

        def counted(store: FileStore, key: str, start: int = 0, length: int | None = None) -> bytes:
            self.read.append(key)
            return read(store, key, start, length)

        monkeypatch.setattr(FileStore, "read", counted)
        self.write(State.RUNNING)

    def write(self, state: State) -> None:
        """State, heartbeats in the phase `training`, and a board that has them as they are."""
        self._sample.state(state)
        for node in range(NODES):
            self._sample.node(node=node, host=f"m{node}", phase="training")
        shutil.copytree(self._sample.root, self.root, dirs_exist_ok=True)
        for node in range(NODES):
            os.utime(self.heartbeat(node), (WRITTEN, WRITTEN))
        self.post()

    def heartbeat(self, node: int) -> Path:
        return self.root / f"status/node-{node}.json"

    @property
    def board(self) -> Path:
        return self.root / "status/board.json"

    def post(
        self, *, attempt: int = 1, nodes: int = NODES, at: float = WRITTEN, phase: str = "training"
    ) -> None:
        listed = {info.key: info for info in open_store(str(self.root)).list("status/")}
        posted = []
        for node in range(nodes):
            status = NodeStatus.model_validate_json(self.heartbeat(node).read_bytes())
            info = listed[f"status/node-{node}.json"]
            shown = status.model_copy(update={"phase": phase})
            posted.append(Posted(status=shown, etag=info.etag, heard_at=info.mtime))
        self.board.write_text(Board(attempt=attempt, posted=tuple(posted)).model_dump_json())
        os.utime(self.board, (at, at))

    def beat(self, node: int, phase: str, at: float) -> None:
        """A later heartbeat of one machine."""
        status = json.loads(self.heartbeat(node).read_text())
        self.heartbeat(node).write_text(json.dumps({**status, "phase": phase}))
        os.utime(self.heartbeat(node), (at, at))

    def look(self) -> RunView:
        self.read.clear()
        return find(self.root.as_uri()).view()

    @property
    def singly(self) -> list[str]:
        """Heartbeats that were read by themselves."""
        return [key for key in self.read if key.startswith("status/node-")]


@pytest.fixture
def stored(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    return Stored(Sample(tmp_path), tmp_path / "elsewhere", monkeypatch)


def phases(view: RunView) -> list[str]:
    return [node.phase for node in view.nodes]


def test_no_heartbeat_is_read_of_a_run_with_a_board(stored: Stored) -> None:
    view = stored.look()
    assert [node.host for node in view.nodes] == [f"m{node}" for node in range(NODES)]
    assert stored.singly == []


def test_of_a_run_that_lives_the_board_may_be_behind(stored: Stored) -> None:
    stored.beat(3, "evaluating", WRITTEN + 20)
    assert phases(stored.look())[3] == "training"
    assert stored.singly == []


def test_a_machine_that_is_not_on_the_board_yet_is_read(stored: Stored) -> None:
    stored.post(nodes=4)
    assert len(stored.look().nodes) == NODES
    assert stored.singly == ["status/node-4.json"]


def test_a_machine_without_a_heartbeat_is_not_shown_for_being_on_the_board(stored: Stored) -> None:
    stored.heartbeat(2).unlink()
    assert [node.node for node in stored.look().nodes] == [0, 1, 3, 4]


def test_after_the_end_the_last_word_of_each_machine_is_shown(stored: Stored) -> None:
    stored.write(State.FAILED)
    stored.beat(1, "done", WRITTEN + 1)
    assert phases(stored.look()) == ["training", "done", "training", "training", "training"]
    assert stored.singly == ["status/node-1.json"]


def nothing_there(stored: Stored) -> None:
    stored.board.unlink()


def of_another_attempt(stored: Stored) -> None:
    stored.post(attempt=2, phase="by the board")


def not_json(stored: Stored) -> None:
    stored.board.write_bytes(b"\xff\x00 no JSON")


def of_another_form(stored: Stored) -> None:
    stored.board.write_text('{"attempt": 1, "posted": [{"status": {"node": 0}}]}')


def far_too_large(stored: Stored) -> None:
    os.truncate(stored.board, MOST_BYTES + 1)


def no_longer_kept_up(stored: Stored) -> None:
    stored.post(at=WRITTEN - OLD_S - 1, phase="by the board")
    for node in range(NODES):
        stored.beat(node, "training", WRITTEN + 1)


@pytest.mark.parametrize(
    "spoil",
    [nothing_there, of_another_attempt, not_json, of_another_form, far_too_large, no_longer_kept_up],
)
@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED])
def test_without_a_board_to_believe_all_heartbeats_are_read(
    stored: Stored, state: State, spoil: Callable[[Stored], None]
) -> None:
    stored.write(state)
    spoil(stored)
    assert phases(stored.look()) == ["training"] * NODES
    assert len(stored.singly) == NODES


def test_a_board_does_not_keep_a_dead_run_alive(stored: Stored) -> None:
    """Its age, and that of the heartbeats, are by the time of the store; what is written in them does not count."""
    os.utime(stored.root / "state.json", (WRITTEN, WRITTEN))
    view = stored.look()
    assert view.state is State.UNKNOWN
    assert len(view.nodes) == NODES


def test_the_command_shows_a_damaged_board_to_nobody(
    stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    not_json(stored)
    assert main(["status", stored.root.as_uri()]) == 0
    assert "board" not in "".join(capsys.readouterr())
