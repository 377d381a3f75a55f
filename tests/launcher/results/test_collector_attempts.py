"""Collecting in several attempts and on several machines: the later attempt wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import StoreRefused
from launcher.results.collector import Collector
from launcher.runfolder.sets import read_latest, remote_sets
from launcher.storage import ObjectStore
from tests.servers.rundir import RunDir


def test_an_earlier_attempt_that_is_still_alive_only_adds_its_logs(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    old = Collector(run.root, memory, attempt=1)
    run.checkpoint(30)
    old.sync()
    new_run = RunDir(tmp_path / "new")
    new_run.checkpoint(40)
    new_run.write("eval/last.json", '"new"')
    Collector(new_run.root, memory, attempt=2).sync(final=True)
    run.checkpoint(90)
    run.write("eval/last.json", '"old"')
    run.append("logs/attempt-1/node-0/rank-0.log", "still here\n")
    report = old.sync(final=True)
    assert report.superseded
    assert report.uploaded == ("logs/attempt-1/node-0/rank-0.log",)
    assert read_latest(memory).step == 40  # type: ignore[union-attr]
    assert memory.read("eval/last.json") == b'"new"'
    assert 90 not in remote_sets(memory)
    with pytest.raises(StoreRefused, match="later attempt"):
        old.commit({})


def test_the_state_alone_tells_of_a_later_attempt(memory: ObjectStore, run: RunDir) -> None:
    memory.put("state.json", b'{"attempt": 3}')
    run.checkpoint(10)
    assert Collector(run.root, memory, attempt=2).sync().superseded
    assert not Collector(run.root, memory, attempt=3).sync().superseded


def test_latest_never_goes_back_within_an_attempt(memory: ObjectStore, run: RunDir) -> None:
    run.checkpoint(30)
    Collector(run.root, memory, attempt=1).sync()
    run.drop(30)
    run.checkpoint(10)
    assert Collector(run.root, memory, attempt=1).sync().latest_step == 30
    assert Collector(run.root, memory, attempt=2).sync().latest_step == 10


def test_results_of_other_machines_are_in_the_commit(
    memory: ObjectStore, run: RunDir, tmp_path: Path
) -> None:
    other = RunDir(tmp_path / "other")
    other.append("logs/attempt-1/node-1/rank-1.log", "node one\n")
    other.append("logs/attempt-1/node-0/rank-0.log", "not mine\n")
    other.write("eval/last.json", "not mine either")
    second = Collector(other.root, memory, attempt=1, node=1)
    assert second.sync(final=True).uploaded == ("logs/attempt-1/node-1/rank-1.log",)
    run.append("logs/attempt-1/node-0/rank-0.log", "node zero\n")
    first = Collector(run.root, memory, attempt=1)
    first.sync(final=True)
    manifest = first.commit({})
    assert {each.key for each in manifest.files} == {
        "logs/attempt-1/node-0/rank-0.log",
        "logs/attempt-1/node-1/rank-1.log",
    }
    assert memory.read("logs/attempt-1/node-0/rank-0.log") == b"node zero\n"


def test_a_new_attempt_withdraws_the_commit(memory: ObjectStore, run: RunDir) -> None:
    first = Collector(run.root, memory, attempt=1)
    run.checkpoint(10)
    first.sync(final=True)
    first.commit({})
    run.append("logs/attempt-1/node-0/node.log", "after the commit\n")
    assert first.sync().uploaded == (), "a late log line must not make the manifest wrong"
    assert memory.head("MANIFEST.json") is not None
    run.checkpoint(20)
    Collector(run.root, memory, attempt=2).sync()
    assert memory.head("MANIFEST.json") is None
