"""Logs of pods, through a real API server from a stand-in for a kubelet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from launcher.backends.base import Handle
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.console import read_console
from tests.fakes.kubernetes_logs import PREVIOUS, log_server
from tests.servers.kube import KubeServer

PODS = "/api/v1/namespaces/vision/pods"
HANDLE = Handle(backend="kubernetes", data={"name": "told-a1", "namespace": "vision", "attempt": 1})


@pytest.fixture
def output(here: KubeServer, tmp_path: Path) -> Iterator[Path]:
    """What the container of a pod prints. The pod is the only one of the run."""
    output = tmp_path / "output.log"
    server = log_server(tmp_path, {"told-0": output})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    node = {"metadata": {"name": "n-told"}}
    with suppress(HTTPError):
        here.call("POST", "/api/v1/nodes", node)
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    endpoint = {"kubeletEndpoint": {"Port": server.server_address[1]}}
    here.call(
        "PATCH",
        "/api/v1/nodes/n-told/status",
        {"status": {"addresses": addresses, "daemonEndpoints": endpoint}},
    )
    labels = {"app.kubernetes.io/managed-by": "ascend-launcher", "ascend-launcher/run": "told"}
    metadata = {"name": "told-0", "labels": {**labels, "ascend-launcher/attempt": "1"}}
    spec = {"nodeName": "n-told", "containers": [{"name": "ascend", "image": "x:1"}]}
    here.call("POST", PODS, {"metadata": metadata, "spec": spec})
    try:
        yield output
    finally:
        here.call("DELETE", f"{PODS}/told-0", {"gracePeriodSeconds": 0})
        server.shutdown()
        thread.join()
        server.server_close()


def begin(kube: KubeServer, restarts: int) -> None:
    running: dict[str, Any] = {"name": "ascend", "image": "", "imageID": "", "ready": True}
    running |= {"restartCount": restarts, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    kube.call(
        "PATCH", f"{PODS}/told-0/status", {"status": {"phase": "Running", "containerStatuses": [running]}}
    )


def test_a_container_that_has_begun_anew_is_read_from_the_one_before_on(
    here: KubeServer, output: Path
) -> None:
    cluster = Cluster()
    begin(here, 0)
    output.write_text("one\ntwo\n")
    first = read_console(cluster, HANDLE, 0, "")
    assert first.lines == ("one", "two")
    output.with_name(PREVIOUS).write_text("one\ntwo\nlast words\n")
    output.write_text("again\n")
    begin(here, 1)
    second = read_console(cluster, HANDLE, 0, first.after)
    assert second.lines == ("last words", "again")
    output.write_text("again\nand on\n")
    assert read_console(cluster, HANDLE, 0, second.after).lines == ("and on",)
    assert read_console(cluster, HANDLE, 0, "").lines == ("one", "two", "last words", "again", "and on")
    output.with_name(PREVIOUS).unlink()
    assert read_console(cluster, HANDLE, 0, first.after).lines == ("again", "and on"), (
        "its node has dropped it"
    )
