"""How tests are shared out among the workers of pytest-xdist."""

import pytest
from xdist.scheduler import LoadGroupScheduling


@pytest.fixture(scope="module")
def shared() -> str:
    return __name__


@pytest.mark.usefixtures("shared")
def test_what_shares_a_fixture_of_its_module_stays_on_one_worker(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("no workers here: `make check` has some")
    scope = LoadGroupScheduling._split_scope(None, request.node.nodeid)
    assert scope == "tests/test_workers.py"
