"""Containers with cards: the platform's rank table, and ranks started once per machine or once per card."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.launcher.backends.modelarts.site import Site

pytestmark = pytest.mark.system

FAKES = Path(__file__).parents[3] / "fakes"
CARDS = {"device": "ascend910", "nodes": 1, "devices_per_node": 2}
SHOW = (
    "import json, os; e = os.environ; names = ('RANK_ID', 'RANK_SIZE', 'DEVICE_ID', 'ASCEND_RT_VISIBLE_DEVICES'); "
    "table = json.load(open(e['RANK_TABLE_FILE'])); "
    "print('SAW', json.dumps([{n: e.get(n) for n in names}, table['status'], table['server_count']]), flush=True)"
)


@pytest.mark.parametrize(
    "engine", [None, pytest.param("Ascend-Powered-Engine:mindspore_2.10", marks=pytest.mark.slow)]
)
def test_cards_with_the_platforms_rank_table_once_per_machine_or_once_per_card(
    site: Site, engine: str | None
) -> None:
    """The table has groups, and with a custom image it is not complete at first. Cards are those of tests/fakes."""
    site.fake.cloud.extra_env = {
        "PATH": f"{FAKES}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FAKE_ASCEND": str(FAKES / "machines" / "ascend910"),
    }
    how = {"engine": engine} if engine else {"image": "org/launcher:1"}
    options = {"region": "cn-north-4", "pool_id": "pool-1", **how}
    entry = site.submit(program=["python", "-c", SHOW], resources=CARDS, modelarts_only=options)
    view = site.end(entry)
    assert view.state == "SUCCEEDED", f"{view.reason}\n{site.console(entry)}"
    logs = sorted(site.run_dir(entry).glob("logs/attempt-1/node-*/rank-*.log"))
    seen = [json.loads(path.read_text().partition("SAW ")[2]) for path in logs]
    assert [each[0]["RANK_ID"] for each in seen] == ["0", "1"]
    assert {each[0]["RANK_SIZE"] for each in seen} == {"2"}
    assert [each[0]["DEVICE_ID"] for each in seen] == ["0", "1"]
    assert [each[1:] for each in seen] == [["completed", "1"]] * 2
    assert len(site.job(entry).machines) == 1
    assert len({path.parent.name for path in logs}) == (2 if engine else 1)
