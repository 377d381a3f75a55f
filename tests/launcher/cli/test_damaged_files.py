"""Every small file of a run and of the home, damaged in every way, read by every command, here and by URL: each ends with a
documented exit code and an error of ours, never with a defect."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher.backends.base import Handle
from launcher.cli import main
from launcher.runfolder.signature import sign
from launcher.runfolder.states import State
from tests.launcher.damages import DAMAGES
from tests.launcher.samples import Sample

PLACES = ("missing", "a folder", "a link to nothing", "a link to itself", "a pipe")
HOWS = (*DAMAGES, *PLACES)
RUN_FILES = (
    "job.yaml",
    "plan.json",
    "plan.sig",
    "record.json",
    "state.json",
    "status/node-0.json",
    "metrics.jsonl",
    "progress/rank-0.jsonl",
    "checkpoints/LATEST",
    "checkpoints/best.json",
    "checkpoints/step-2/manifest.json",
    "eval/last.json",
    "MANIFEST.json",
    "cancel.json",
    "claims/1",
    "attempts/1",
    "logs/attempt-1/node-0/rank-0.log",
    "logs/attempt-1/node-0/rank-0.times",
)
READERS = (
    "status",
    "status --json",
    "logs",
    "explain",
    "explain --json",
    "report",
    "export --to csv",
    "fetch-results",
    "verify",
    "wait",
)
WRITERS = ("cancel", "resume", "retry")
COMMANDS = (*READERS, *WRITERS)
HOME_FILES = ("runs/{run}.json", "runs/.ended.json", "signing.key")
HOME_COMMANDS = ("status", "status RUN", "prune --dry-run", "cancel RUN", "resume RUN", "retry RUN")
ALLOWED = {0, 2, 3, 4, 5, 100, 101, 103}


class Folder:
    """A run that FAILED, whole, as it lies in the store and on this machine, with a copy to restore it from."""

    def __init__(self, sample: Sample, tmp_path: Path) -> None:
        self.entry = sample.entry
        _fill(sample)
        self.here, self.stored = sample.root, Path(sample.plan.store.url.removeprefix("file://"))
        self.home = Path(os.environ["LAUNCHER_HOME"])
        self._whole, self._tmp_path = tmp_path / "whole", tmp_path
        shutil.copytree(self.here, self._whole)
        self.restore(self.stored)

    def restore(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self._whole, root)

    def damage(self, root: Path, name: str, how: str) -> None:
        damage(root / name, (self._whole / name).read_bytes(), how)

    def keep(self) -> None:
        """Put back this run's entry: commands that write change it."""
        index = self.home / "runs" / f"{self.entry.run_id}.json"
        index.write_text(self.entry.model_dump_json())

    def forget(self) -> None:
        (self.home / "runs" / f"{self.entry.run_id}.json").unlink(missing_ok=True)

    def answer(self, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
        """What is wrong with the answer to a command line; empty when nothing is."""
        more = {
            "wait": ["--timeout", "0"],
            "fetch-results": ["--to", str(self._tmp_path / "fetched")],
            "report": ["--out", os.devnull],
            "export": ["--out", str(self._tmp_path / "exported")],
        }
        try:
            code = main([*words, *more.get(words[0], [])])
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException as error:
            code = -1
            print(f"{type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        text = capsys.readouterr().err
        good = code in ALLOWED and "defect" not in text and "Traceback" not in text
        return "" if good else f"launcher {' '.join(words)}: {code}: {text.strip()[:400]}"


def damage(path: Path, whole: bytes, how: str) -> None:
    if how in DAMAGES:
        path.write_bytes(DAMAGES[how](whole))
        return
    path.unlink(missing_ok=True)
    if how == "a folder":
        path.mkdir()
    elif how == "a link to nothing":
        path.symlink_to(path.parent / "nothing")
    elif how == "a link to itself":
        path.symlink_to(path)
    elif how == "a pipe":
        os.mkfifo(path)


def _fill(sample: Sample) -> None:
    sample.state(State.FAILED, "rank 0 ended with exit code 1")
    sample.node(phase="training")
    sample.log("rank-0", "starting\nValueError: no\n")
    sample.write("logs/attempt-1/node-0/rank-0.times", "0 1795300000.0\n")
    sample.metrics({"epoch": 1, "step": 2, "loss": 0.5, "top1": 0.5})
    step = {"t": 1.0, "event": "step", "step": 2, "loss": 0.5}
    sample.write("progress/rank-0.jsonl", json.dumps(step) + "\n")
    sample.write("checkpoints/step-2/weights.bin", "x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    files = [{"name": "weights.bin", "size": 1, "sha256": digest}]
    manifest = {"format": 1, "step": 2, "epoch": 1, "files": files}
    sample.write("checkpoints/step-2/manifest.json", json.dumps(manifest))
    latest = {"step": 2, "epoch": 1, "path": "checkpoints/step-2", "attempt": 1}
    sample.write("checkpoints/LATEST", json.dumps(latest))
    sample.write("checkpoints/best.json", json.dumps({"step": 2, "top1": 0.5}))
    sample.write("eval/last.json", json.dumps({"top1": 0.5}))
    entries = [{"key": "checkpoints/step-2/weights.bin", "size": 1, "sha256": digest}]
    committed = {"format": 1, "created_at": 1.0, "run": {"attempt": 1}, "files": entries}
    sample.write("MANIFEST.json", json.dumps(committed))
    sample.write("cancel.json", json.dumps({"requested_at": 1.0, "first_at": 1.0}))
    for name in ("claims/1", "attempts/1"):
        sample.write(name, json.dumps({"token": "t", "by": "anna@m1", "at": 1.0}))
    sample.write("plan.sig", sign((sample.root / "plan.json").read_bytes()).decode())


@pytest.fixture
def folder(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    started = Handle(backend="local", host=socket.gethostname(), data={"pid": 1, "started": "never"})
    monkeypatch.setattr("launcher.backends.local.LocalBackend.submit", lambda *_: started)
    monkeypatch.setattr("launcher.runfolder.attempts.SETTLE_S", 0.0)
    monkeypatch.setattr("launcher.runfolder.smallfiles.MOST_BYTES", 2_000_000)  # what is "huge" is above it
    monkeypatch.setattr("os.fsync", lambda _: None)  # thousands of writes, and no power is lost here
    monkeypatch.chdir(tmp_path)
    return Folder(Sample(tmp_path, output={"url": str(tmp_path / "store")}), tmp_path)


def answers(folder: Folder, where: str, name: str, how: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is wrong with the answers of all commands. Those that write come last, each on a damage of its own."""
    by_url = where == "by URL"
    run = folder.entry.store.url if by_url else folder.entry.run_id
    root = folder.here if where == "here" else folder.stored
    wrong = []
    for number, command in enumerate(COMMANDS):
        if number == 0 or command in WRITERS:
            folder.restore(root)
            folder.damage(root, name, how)
        (folder.forget if by_url else folder.keep)()
        first, *options = command.split()
        wrong.append(folder.answer([first, run, *options], capsys))
    return [f"{name}, {how}, {where}: {each}" for each in wrong if each]


def fails(wrong: list[str]) -> str:
    return f"{len(wrong)} wrong answers\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.system
def test_every_command_on_every_damage(name: str, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """Every second damage, here and by URL in turn; `make test-all` tries all of them in both places, and in the store's copy."""
    wrong: list[str] = []
    which = RUN_FILES.index(name)
    for number, how in enumerate(HOWS[which % 2 :: 2], which // 2):
        wrong += answers(folder, ("here", "by URL")[number % 2], name, how, capsys)
    assert not wrong, fails(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "by URL", "the store's copy"])
@pytest.mark.parametrize("name", RUN_FILES)
def test_every_damage_in_every_place(
    name: str, where: str, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: list[str] = []
    for how in HOWS:
        wrong += answers(folder, where, name, how, capsys)
    assert not wrong, fails(wrong)


@pytest.mark.system
@pytest.mark.parametrize("name", HOME_FILES)
def test_every_damage_of_the_home(name: str, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder.home / name.format(run=folder.entry.run_id)
    whole = path.read_bytes() if path.exists() else b'{"mtimes": {}, "views": []}'
    wrong = []
    for how in HOWS:
        for command in HOME_COMMANDS:
            folder.restore(folder.stored)
            folder.keep()
            damage(path, whole, how)
            wrong.append(folder.answer(command.replace("RUN", folder.entry.run_id).split(), capsys))
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            path.write_bytes(whole)
    assert not any(wrong), fails([f"{name}: {each}" for each in wrong if each])


def test_there_are_enough_of_them() -> None:
    assert len(RUN_FILES) * len(HOWS) * len(COMMANDS) >= 4_000
