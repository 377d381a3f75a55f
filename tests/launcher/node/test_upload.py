"""The upload of a machine ends when a later attempt has begun, which many machines find out with one request each."""

import os
import threading
from pathlib import Path

import pytest

from launcher.node import upload
from launcher.node.cadence import FEW_NODES
from launcher.node.context import NodeContext
from launcher.node.program import make_context
from launcher.results.collector import Collector
from launcher.results.report import CollectReport
from launcher.runfolder import paths
from launcher.storage.file import FileStore
from launcher.threads import LOW_PRIORITY
from tests.launcher.node.machines import Machines


def last_of(nodes: int, folder: Path) -> NodeContext:
    machines = Machines(folder, (folder / "runs").as_uri())
    machines.plan(nodes=nodes)
    return make_context(machines.plans[nodes - 1], nodes - 1, 1)


@pytest.mark.parametrize("nodes", [2, FEW_NODES + 1])
def test_a_follower_gives_way_to_a_later_attempt(
    tmp_path: Path, launcher_home: Path, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "FOLLOWERS_PATIENCE_S", 0.0)
    context = last_of(nodes, tmp_path)
    context.upload.send_status()
    assert not context.upload.superseded.is_set()
    context.store.put("attempts/2", b"{}")
    context.upload.send_status()
    assert context.upload.superseded.is_set()


@pytest.mark.parametrize(("nodes", "read"), [(2, ["checkpoints/LATEST", "state.json"]), (FEW_NODES + 1, [])])
def test_what_a_follower_reads_to_know_it(
    tmp_path: Path, launcher_home: Path, nodes: int, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = last_of(nodes, tmp_path)
    keys: list[str] = []
    whole = FileStore.read

    def noted(store: FileStore, key: str, start: int = 0, length: int | None = None) -> bytes:
        keys.append(key)
        return whole(store, key, start, length)

    monkeypatch.setattr(FileStore, "read", noted)
    context.upload.send_status()
    assert keys == read


def test_a_cancel_request_is_seen_while_an_upload_lasts(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CANCEL_LOOK_S", 0.01)
    context = last_of(2, tmp_path)
    whole = Collector.sync

    def held(collector: Collector) -> CollectReport:
        context.store.put(paths.CANCEL, b"{}")
        assert context.upload.cancelled.wait(60), "nobody looked"
        return whole(collector)

    monkeypatch.setattr(Collector, "sync", held)
    context.upload.upload_once()
    assert context.upload.last_report is not None


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="threads have no priority here")
def test_uploads_give_way_to_ranks(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, found = last_of(2, tmp_path), []
    whole = Collector.sync

    def noted(collector: Collector) -> CollectReport:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return whole(collector)

    monkeypatch.setattr(Collector, "sync", noted)
    context.upload.upload_once()
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert found == [max(here, LOW_PRIORITY)]
    assert here != LOW_PRIORITY, "the program itself keeps its priority"
