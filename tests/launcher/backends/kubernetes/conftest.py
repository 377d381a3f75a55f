"""Namespaces of the real API server, and controllers that run pods as processes of this machine."""

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.fakes.kubernetes_cluster import FakeCluster, fake_cluster
from tests.servers.kube import KubeServer
from tests.waiting import wait_until


def make_namespace(kube: KubeServer, name: str) -> None:
    """One of an earlier test serves. A server that has just begun may refuse it, or not have it at once."""

    def made() -> bool:
        try:
            kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        except HTTPError as error:
            return error.code == 409
        return False  # seen with the next request

    wait_until(made, f"namespace {name}")


@pytest.fixture(scope="session")
def vision(kube: KubeServer) -> str:
    """The namespace that the job files of these tests name."""
    make_namespace(kube, "vision")
    return "vision"


@pytest.fixture
def here(kube: KubeServer, vision: str, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> KubeServer:
    """The server, as the kubeconfig of this process names it; no answer of an earlier test is kept."""
    from launcher.backends.kubernetes import backend

    backend._recent.clear()
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    return kube


@pytest.fixture
def cluster(here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Controllers and a node for a namespace of this test, where an answer is kept for a moment only."""
    from launcher.backends.kubernetes import backend

    monkeypatch.setattr(backend, "PAUSE_S", 0.2)
    namespace = f"test-{tmp_path.name.replace('_', '-').lower()}"[:60].strip("-")
    make_namespace(here, namespace)
    with fake_cluster(here, namespace, tmp_path / "pods") as fake:
        yield fake
