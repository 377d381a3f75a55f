"""The fault campaign in short: every kind of fault once, on runs of the counter program, several at a time."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.bench import Bench, one, undisturbed
from benchmarks.faults.injections import FAULTS
from benchmarks.faults.platforms import Platform
from benchmarks.faults.programs import counter_program
from benchmarks.faults.rows import add_row, drop_half_line, read_rows
from tests.seeds import rng_of
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.system

AT_ONCE = 4
MOMENTS = ("start", "training", "saving", "uploading")
FEW = ("node SIGKILL", "none", "rank SIGKILL", "store resets")
MANY = sorted(  # a disk that stays full waits for its whole patience, and this machine cannot be lost
    name for name, kind in FAULTS.items() if kind.needs != "machines" and name != "disk full"
)
CAMPAIGN = [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in MANY]
NEEDS_ROOT = [name for name, kind in FAULTS.items() if kind.needs.endswith("disk")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, rclone: S3Server) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LAUNCHER_HOME", "LAUNCHER_LOCK_DIR", "LAUNCHER_SIGNING_KEY", *rclone.env):
            patch.setenv(name, "")  # the bench sets them; put back afterwards
        platform = Platform(tmp_path_factory.mktemp("faults"), rclone)
        bench = Bench(counter_program(), platform, hang_s=20, scale=0.3)
        bench.reference = undisturbed(bench)
        yield bench


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, bench: Bench) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """All that were asked for, under way; a test waits for its own."""
    chance = rng_of("moments of faults")
    asked = {item.callspec.params.get("fault") for item in request.session.items if hasattr(item, "callspec")}
    wanted = [name for name in MANY if name in asked and (os.geteuid() == 0 or name not in NEEDS_ROOT)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(one, bench, 100 + number, 7, name, chance.choice(MOMENTS))
            for number, name in enumerate(wanted)
        }


@pytest.mark.random
@pytest.mark.parametrize("fault", CAMPAIGN)
def test_nothing_is_lost_torn_orphaned_hung_or_different(
    results: dict[str, Future[dict[str, Any]]], fault: str
) -> None:
    if fault not in results:
        pytest.skip("NOT TESTED: a disk of its own needs root")
    result = results[fault].result()
    assert result["state"] == "SUCCEEDED", result
    assert result["wrong"] == [], result


@pytest.mark.slow
def test_faults_meet_what_they_are_meant_for(results: dict[str, Future[dict[str, Any]]]) -> None:
    """A campaign that always comes too late proves nothing."""
    met = [bool(result.result()["hit"]) for result in results.values()]
    assert sum(met) >= 0.6 * len(met)


def test_the_folder_of_the_bench_is_not_the_users(bench: Bench) -> None:
    assert Path(os.environ["LAUNCHER_HOME"]).is_relative_to(bench.folder)


def test_a_campaign_goes_on_after_a_row_that_was_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    add_row(path, {"number": 0})
    add_row(path, {"number": 1})
    with path.open("ab") as file:
        file.write(b'{"number": 2, "fau')
    assert [row["number"] for row in read_rows(path)] == [0, 1]
    assert "the last line is not whole" in capsys.readouterr().err
    drop_half_line(path)
    add_row(path, {"number": 2})
    assert [row["number"] for row in read_rows(path)] == [0, 1, 2]
    path.write_bytes(b"{}\nnonsense\n")
    with pytest.raises(SystemExit, match="line 2: not a row of a campaign"):
        read_rows(path)
