"""What `attach`, `status`, `explain`, `report` and `wait` say of one run does not contradict itself."""

import html
import json
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.runfolder.states import AttemptResult, EndedBy, FirstFailure, RankStatus, State
from tests.launcher.samples import NOW, Sample

PLACES = (
    ["attach", "last"],
    ["status", "last"],
    ["explain", "last"],
    ["wait", "last"],
    ["report", "last", "--out", "-"],
)
SAME = "a restart would fail the same way"


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    monkeypatch.chdir(tmp_path)
    return Sample(tmp_path)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """What each place says, by the name of its command."""

    def ask() -> dict[str, str]:
        answers = {}
        for command in PLACES:
            main(command)
            printed = capsys.readouterr()
            answers[command[0]] = html.unescape(printed.out + printed.err)
        return answers

    return ask


def failure(rule: str, line: str, *, repeats: bool | None) -> FirstFailure:
    return FirstFailure(
        process="rank 1", rank=1, node=0, host="m1", exit=1, rule=rule, line=line, how="ended with exit code 1", repeats=repeats
    )  # fmt: skip


def attempt(number: int, result: AttemptResult | None, **values: Any) -> dict[str, Any]:
    return {
        "attempt": number,
        "started_at": NOW + number,
        "result": result,
        "outcome": result or "",
        **values,
    }


@pytest.mark.parametrize(
    ("rule", "repeats", "offered"),
    [
        ("device-memory", True, False),
        ("device-memory", None, False),  # an older run: the table says it
        ("device-memory", False, True),  # a rule of the job file had decided on a restart
        ("bug", False, True),
        ("bug", True, False),
        ("host-memory", True, False),  # its row names resume as the next command
        ("retry.on[0]", True, False),
        ("", None, True),
    ],
)
def test_resume_is_offered_everywhere_or_nowhere(
    rule: str, repeats: bool | None, offered: bool, sample: Sample, say: Any
) -> None:
    why = failure(rule, "the line that says why", repeats=repeats)
    hint = f"{SAME} ({rule})" if repeats else ""
    sample.state(State.FAILED, "rank 1 on m1 failed: the line that says why", hint=hint, first_failure=why)
    answers = say()
    for place in ("attach", "status", "explain", "report"):
        assert ("launcher resume" in answers[place]) == offered, place
        assert "the line that says why" in answers[place], place
    assert "launcher resume" not in answers["wait"]


def test_the_verdict_in_json_is_that_of_the_words(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    why = failure("device-memory", "EL0004: Failed to allocate memory.", repeats=True).model_copy(
        update={"code": "EL0004", "device": "ascend910 1"}
    )
    sample.state(State.FAILED, "it failed", first_failure=why)
    main(["explain", "last", "--json"])
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert {
        "rule",
        "rank",
        "node",
        "host",
        "device",
        "code",
        "line",
        "means",
        "advice",
        "repeats",
    } <= verdict.keys()
    assert (verdict["rule"], verdict["rank"], verdict["device"]) == ("device-memory", 1, "ascend910 1")
    assert verdict["repeats"] is True and verdict["advice"]


@pytest.mark.parametrize(
    ("step", "words"), [(2, "from step 2"), (0, "from step 0"), (None, "from the beginning")]
)
def test_the_step_that_an_attempt_went_on_from(
    step: int | None, words: str, sample: Sample, say: Any
) -> None:
    why = failure("bug", "KeyError: 'x'", repeats=False)
    attempts = (
        attempt(1, AttemptResult.FAILED, first_failure=why),
        attempt(2, AttemptResult.FAILED, first_failure=why, resumed_step=step, resume_settled=True),
    )
    sample.state(State.FAILED, "it failed", first_failure=why, attempt=2, attempts=attempts)
    answers = say()
    for place in ("attach", "status", "explain", "report"):
        assert words in answers[place], place


def test_no_step_is_named_before_it_is_known(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    """The disk of the new machine is empty until the checkpoint has come from the store."""
    attempts = (attempt(1, AttemptResult.FAILED), attempt(2, None, resume_settled=False))
    sample.state(State.RUNNING, attempt=2, attempts=attempts)
    for command in ("status", "explain"):
        main([command, "last"])
        assert "from the beginning" not in capsys.readouterr().out


def test_ranks_of_a_run_that_has_ended_are_ended(
    sample: Sample, say: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.node(ranks=(RankStatus(rank=0, phase="training", step=4), RankStatus(rank=1, phase="evaluating")))
    sample.state(State.FAILED, "it failed", first_failure=failure("bug", "KeyError: 'x'", repeats=False))
    assert "rank 0 ended step 4, rank 1 ended" in say()["status"]
    main(["status", "last", "--json"])
    ranks = json.loads(capsys.readouterr().out)["nodes"][0]["ranks"]
    assert {rank["phase"] for rank in ranks} == {"ended"}


def test_a_run_that_succeeded_after_a_cancel_has_nothing_to_explain(sample: Sample, say: Any) -> None:
    attempts = (
        attempt(1, AttemptResult.CANCELLED, ended_by=EndedBy.USER),
        attempt(2, AttemptResult.DONE, resumed_step=2, resume_settled=True),
    )
    sample.state(State.SUCCEEDED, attempt=2, attempts=attempts)
    answers = say()
    assert "nothing failed" in answers["explain"]
    assert "cancelled" not in answers["explain"].splitlines()[1]
    for place, words in answers.items():
        assert "launcher resume" not in words, place
        assert SAME not in words, place


def test_a_cancelled_run_may_be_resumed(sample: Sample, say: Any) -> None:
    sample.state(State.CANCELLED, "cancelled by somebody", ended_by=EndedBy.USER)
    answers = say()
    for place in ("attach", "status", "explain"):
        assert "launcher resume" in answers[place] and "cancelled by somebody" in answers[place], place
