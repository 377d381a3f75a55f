"""What `launcher status` shows of runs in each state, and how it chooses them."""

import json
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.cli.statusdetail import detail
from launcher.cli.statustable import table_of
from launcher.runfolder.states import Attempt, NodeStatus, RankStatus, State
from launcher.runs.activity import activity_text, slow_rank_text
from tests.launcher.samples import NOW, Sample, make_view

TRAINING = {
    "epoch": 3,
    "epochs": 25,
    "step": 69,
    "steps": 575,
    "loss": 1.2041,
    "images_per_s": 402.4,
    "eta_s": 70.0,
}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"phase": "queued", "detail": "device 0 is held by x"}, "queued: device 0 is held by x"),
        ({"phase": "staging", "detail": "41 % of 1.2 GB at 310 MB/s"}, "staging 41 % of 1.2 GB at 310 MB/s"),
        ({"phase": "compiling", "phase_since": NOW - 80}, "compiling graph, 1 min 20 s"),
        ({"phase": "training"}, "training"),
        ({"phase": "uploading", "phase_since": NOW - 5, "detail": "3 files"}, "uploading, 3 files, 5 s"),
        ({"state": State.PENDING, "phase": ""}, "starting"),
        ({"state": State.SUCCEEDED, "ended_at": NOW + 61}, "done in 1 min 01 s"),
        ({"state": State.FAILED, "reason": "rank 1 on m1 crashed\n  hint: x"}, "rank 1 on m1 crashed"),
        ({"state": State.UNKNOWN, "reason": "last heard of 3 min ago"}, "last heard of 3 min ago"),
    ],
)
def test_what_a_run_does_now(values: dict, words: str) -> None:
    assert activity_text(make_view(**values), NOW) == words


def test_failing_uploads_are_shown_beside_training() -> None:
    node = NodeStatus(
        node=0, host="m1", pid=1, attempt=1, phase="training", phase_since=NOW, updated_at=NOW,
        upload_error="no answer\nmore", pending_uploads=7,
    )  # fmt: skip
    assert activity_text(make_view(nodes=(node,)), NOW) == "training; 7 files not uploaded yet: no answer"


def test_a_rank_that_falls_behind_is_named() -> None:
    def nodes(*steps: int | None) -> tuple[NodeStatus, ...]:
        ranks = tuple(RankStatus(rank=rank, step=step) for rank, step in enumerate(steps))
        return (
            NodeStatus(
                node=0, host="m", pid=1, attempt=1, phase="", phase_since=NOW, ranks=ranks, updated_at=NOW
            ),
        )

    assert slow_rank_text(make_view(nodes=nodes(75, 74, None))) == ""
    assert slow_rank_text(make_view(nodes=nodes(75, 75, 60, 75))) == "rank 2 is at step 60, others at 75"


def test_the_table() -> None:
    views = [
        make_view(progress=TRAINING, submitted_at=NOW),
        make_view(
            run_id="b-20261121-110000-0001",
            state=State.FAILED,
            reason="rank 1 on m1 crashed",
            results={"last": 0.5},
        ),
    ]
    head, first, second = table_of(views).splitlines()
    assert head.split() == ["RUN", "STATE", "EPOCH", "STEP", "LOSS", "TOP-1", "IMG/S", "LEFT", "AGE", "NOW"]
    assert "RUNNING   3/25  69/575  1.204" in first
    assert "402  1 min 10 s" in first
    assert first.endswith("training")
    assert "50.00 %" in second
    assert second.endswith("rank 1 on m1 crashed")


def test_swept_values_are_columns_of_their_group_only() -> None:
    one = make_view(group="g", labels={"seed": "0"})
    other = make_view(group="g", labels={"seed": "1"})
    assert "seed" in table_of([one, other])
    assert "seed" not in table_of([one, make_view()])


def test_the_detail_of_a_restarted_run() -> None:
    attempts = (
        Attempt(attempt=1, started_at=NOW, ended_at=NOW + 5, outcome="rank 0 on m1 crashed"),
        Attempt(attempt=2, started_at=NOW + 6, resumed_step=48),
    )
    text = detail(make_view(attempt=2, attempts=attempts, progress=TRAINING, safe_step=48), NOW + 20)
    assert "attempt   1 after 5 s: rank 0 on m1 crashed" in text
    assert "attempt   2 from step 48: running" in text
    assert "progress  epoch 3/25, step 69/575, loss 1.204, 402 images/s, 1 min 10 s left" in text
    assert "safe      checkpoint step 48 is in the store, verified" in text
    assert "next      launcher attach sample-20261121-120000-abcd" in text


def test_many_ranks_are_summed_up() -> None:
    ranks = tuple(RankStatus(rank=r, phase="training", step=60 + r) for r in range(16))
    node = NodeStatus(
        node=0, host="m1", pid=9, attempt=1, phase="", phase_since=NOW, ranks=ranks, updated_at=NOW
    )
    assert "0 on m1, pid 9: 16 ranks: 16 training, steps 60 to 75" in detail(make_view(nodes=(node,)), NOW)


@pytest.fixture
def two(launcher_home: Path, tmp_path: Path) -> tuple[Sample, Sample]:
    good, bad = Sample(tmp_path), Sample(tmp_path, name="bad")
    bad.state(State.FAILED, "rank 0 on m1 crashed")
    return good, bad


def test_filters_and_exit_codes(two: tuple[Sample, Sample], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--state", "failed"]) == 0
    assert [view["name"] for view in json.loads(capsys.readouterr().out)] == ["bad"]
    assert main(["status", "--exit-code"]) == 100
    assert main(["status", "--name", "sam*", "--exit-code"]) == 0
    assert main(["status", two[1].entry.run_id, "--exit-code"]) == 100
    assert main(["list", "--state", "live"]) == 0
    assert "no run fits" in capsys.readouterr().err
    assert main(["status", "--state", "dead"]) == 2
    assert main(["status", "--since", "whenever"]) == 2


def test_a_limit_says_what_is_left_out(
    two: tuple[Sample, Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--limit", "1"]) == 0
    assert "1 more runs are not shown" in capsys.readouterr().err


def test_watch_ends_with_the_run(two: tuple[Sample, Sample], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", two[1].entry.run_id, "--watch", "0.2", "--exit-code"]) == 100
    assert "rank 0 on m1 crashed" in capsys.readouterr().out


def test_several_named_runs_are_a_table_in_their_order(
    launcher_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("one", "two", "three")
    one, two, _ = [Sample(tmp_path, name=name).entry.run_id for name in names]
    assert main(["status", two, one, two, "--json"]) == 0
    assert [each["run_id"] for each in json.loads(capsys.readouterr().out)] == [two, one]
    assert main(["status", "one", "two"]) == 0
    table = capsys.readouterr().out
    assert "one" in table and "two" in table and "three" not in table
    assert main(["status", one, two, "--name", "two", "--json"]) == 0
    assert [each["run_id"] for each in json.loads(capsys.readouterr().out)] == [two]
    assert main(["status", one, "nobody"]) == 3


def test_runs_named_by_url_are_in_the_table_too(
    launcher_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = Sample(tmp_path), Sample(tmp_path)
    one.index.remove(one.entry.run_id)
    assert main(["status", str(one.root), two.entry.run_id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["run_id"] for each in found] == [one.entry.run_id, two.entry.run_id]
