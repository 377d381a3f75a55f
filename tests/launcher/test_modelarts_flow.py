"""A run on ModelArts as a whole: submitted, run by containers on two machines that meet in the bucket, fetched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.modelarts_site import Site, modelarts_site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with modelarts_site(tmp_path, monkeypatch) as site:
        yield site


def test_two_machines_count_together(site: Site) -> None:
    entry = site.submit()
    view = site.end(entry)
    assert view.state == "SUCCEEDED", f"{view.reason}\n{site.console(entry)}"
    assert site.result(entry) == 0.021
