"""The words and variables that a program of the user's own gets, and data of any layout."""

import json
import sys
from pathlib import Path

import pytest

from launcher.dataset.single import single_file
from launcher.runfolder.states import State
from launcher.storage.address import StoreAddress
from launcher.submission.preflight import check_world
from launcher.submission.prepare import prepare

CODE = (
    "import json, os, sys; from pathlib import Path; "
    "names = ('LAUNCHER_DATA', 'LAUNCHER_RUN_DIR', 'LAUNCHER_RESUME', 'RANK_ID', 'MINE'); "
    "data = Path(sys.argv[1]); files = [data] if data.is_file() else sorted(p for p in data.rglob('*') if p.is_file()); "
    "beside = data.with_name(data.name + '.db').is_file(); "
    "value = {'argv': sys.argv[1:], 'env': {n: os.environ[n] for n in names}, 'beside': beside, "
    "'data': {p.name: p.read_text() for p in files}}; "
    "Path(f'said-{os.environ[\"RANK_ID\"]}.json').write_text(json.dumps(value))"
)
WORDS = ["{data}", "{run_dir}/summary", "{rank}", "{resume}"]


def run(jobs, url: Path, devices: int = 1) -> list[dict]:
    """What each rank said."""
    view = jobs.run(
        program=[sys.executable, "-c", CODE, *WORDS],
        data={"url": str(url)},
        env={"MINE": "r{rank}"},
        requires=["json"],
        devices=devices,
    )
    assert view.state is State.SUCCEEDED, view.reason
    work = jobs.index.find(view.run_id).run_dir.work
    return [json.loads((work / f"rank-{r}" / f"said-{r}.json").read_text()) for r in range(devices)]


def test_words_and_variables_say_the_same_on_each_rank(jobs) -> None:
    flat = jobs.folder / "flat data"
    flat.mkdir()
    for name in ("a.tfrecord", "b.tfrecord"):
        (flat / name).write_text(name)
    for rank, said in enumerate(run(jobs, flat, devices=2)):
        data, summary, number, resume = said["argv"]
        env = said["env"]
        assert (data, resume) == (env["LAUNCHER_DATA"], env["LAUNCHER_RESUME"])
        assert summary == f"{env['LAUNCHER_RUN_DIR']}/summary"
        assert (number, env["RANK_ID"], env["MINE"]) == (str(rank), str(rank), f"r{rank}")
        assert said["data"] == {"a.tfrecord": "a.tfrecord", "b.tfrecord": "b.tfrecord"}


def test_the_data_may_be_one_file(jobs) -> None:
    """MindRecord's index comes along; its neighbours don't."""
    for name in ("my train.mindrecord", "my train.mindrecord.db", "other.mindrecord"):
        (jobs.folder / name).write_text(name)
    (said,) = run(jobs, jobs.folder / "my train.mindrecord")
    assert said["data"] == {"my train.mindrecord": "my train.mindrecord"}
    assert said["beside"]
    folder = Path(said["argv"][0]).parent
    assert sorted(path.name for path in folder.iterdir()) == ["my train.mindrecord", "my train.mindrecord.db"]


@pytest.mark.parametrize(("name", "rules"), [("one.bin", []), ("none.bin", ["PF030"]), ("empty", ["PF030"])])
def test_data_that_are_not_there_are_refused_before_the_start(jobs, name: str, rules: list[str]) -> None:
    (jobs.folder / "one.bin").write_text("x")
    (jobs.folder / "empty").mkdir()
    job = jobs.file(program=[sys.executable, "-c", "pass"], data={"url": str(jobs.folder / name)})
    assert [each.rule for each in check_world(prepare(job).plan)] == rules


def test_a_folder_is_no_single_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for url in (
        f"file://{tmp_path}/sub",
        f"file://{tmp_path}/sub/",
        f"file://{tmp_path}/no",
        "memory://bucket",
    ):
        assert single_file(StoreAddress(url=url)) is None
