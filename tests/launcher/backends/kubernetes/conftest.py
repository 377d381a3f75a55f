"""A namespace of the real API server."""

from contextlib import suppress
from urllib.error import HTTPError

import pytest

from tests.servers.kube import KubeServer


@pytest.fixture(scope="session")
def vision(kube: KubeServer) -> str:
    """The namespace that the job files of these tests name."""
    with suppress(HTTPError):
        kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": "vision"}})
    return "vision"
