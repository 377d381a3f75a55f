"""Reasons, details, outcomes and warnings full of phrases that once decided something: nothing changes its mind."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher.backends.base import Life
from launcher.cli.live import _bars
from launcher.node.stopping import StopKind, Stopper
from launcher.report.gather import gather
from launcher.runfolder.states import Attempt, AttemptResult, EndedBy, FirstFailure, RunState, State
from launcher.runs import judge
from launcher.runs.explain import explain_run
from launcher.runs.prune import find_items
from tests.launcher.samples import NOW, Sample

PLAIN = "words"
PHRASES = [
    "results are on m1 in /work/x, but not all in the store: no answer from http://127.0.0.1:9",
    "stopped by SIGTERM",
    "cancelled on request",
    "cancelled",
    "done",
    "a later attempt of this run has taken over",
    "rank 3 on host (node 2) failed: RuntimeError: EI0006: Getting socket times out",
    "rank 3 on host (node 2) ended with exit code 1\n  hint: hint: halve batch_size",
    "55 % of 2 GiB at 3 GiB/s",
    "the time limit of the allocation is near",
    "its node program was gone without a word",
    "Slurm job 17 has ended CANCELLED",
    "No space left on device",
    "INFO train: starting 8 process(es)",
]
FAILURE = FirstFailure(process="rank 1", rank=1, node=0, host="m1", exit=1, rule="bug", line="TypeError: x")


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(tmp_path)
    sample.entry.store.open().put("MANIFEST.json", b"{}")
    sample.log("rank-1", "Traceback (most recent call last):\nTypeError: x\n")
    return sample


def write(sample: Sample, state: State, text: str, **values: Any) -> None:
    failed = state is State.FAILED
    first = Attempt(attempt=1, started_at=NOW, ended_at=NOW + 9, outcome=text, result=AttemptResult.DONE)
    if failed:
        first = first.model_copy(update={"result": AttemptResult.FAILED, "first_failure": FAILURE})
    failure = FAILURE if failed else None
    sample.state(state, text, attempts=(first,), first_failure=failure, **values)
    sample.node(phase="staging", detail=text, warning=text, last_error=text, upload_error=text)


def decisions(sample: Sample) -> dict[str, Any]:
    """All that programs make of a run, without the texts that are shown."""
    view = sample.run.view()
    explained = explain_run(sample.entry, view)
    report = gather(sample.run)
    return {
        "state": view.state,
        "prune": [item.kind for item in find_items(sample.index, older_than_s=0, kinds=("work folder",))],
        "explained": replace(explained, summary="", attempts=(), platform=()),
        "bars": _bars(view),
        "phases": list(report.phases),
        "explanation in the report": report.explanation is not None,
    }


@pytest.mark.parametrize("unsafe", [None, ()], ids=["not known", "all in the store"])
@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.RUNNING])
def test_what_a_run_says_changes_no_decision(
    sample: Sample, state: State, unsafe: tuple[()] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 70)
    write(sample, state, PLAIN, unsafe=unsafe)
    expected = decisions(sample)
    for phrase in [*PHRASES, "; ".join(PHRASES)]:
        write(sample, state, phrase, unsafe=unsafe)
        assert decisions(sample) == expected, phrase


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("ended_by", [None, *EndedBy])
def test_what_a_platform_says_changes_no_decision(
    sample: Sample, ended_by: EndedBy | None, cancelled: bool
) -> None:
    def outcomes(text: str) -> list[tuple[Any, ...]]:
        write(sample, State.FAILED, text, ended_by=ended_by)
        view = sample.run.view()
        state = RunState.model_validate_json((sample.root / "state.json").read_bytes())
        life = Life(alive=False, detail=text, cancelled=cancelled)
        running = state.model_copy(update={"state": State.RUNNING})
        ends = [
            judge.with_platform(state, life),
            judge.with_platform(state, life.model_copy(update={"cause": text})),
            judge.perhaps_again(state, life),
            judge.gone(running, life, cancel_requested=False),
            judge.silent(running, life, 1e9),
        ]
        return [
            (view.state,),
            *((end.state, end.ended_by, end.first_failure, end.unsafe) for end in ends),
        ]

    expected = outcomes(PLAIN)
    for phrase in PHRASES:
        assert outcomes(phrase) == expected, phrase


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_platform_that_says_why_it_ends_is_no_user_who_cancels(phrase: str, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    stop.write_text(phrase)
    quiet = SimpleNamespace(is_set=lambda: False)
    plan = SimpleNamespace(
        run_dir=SimpleNamespace(stop=stop, cancel=tmp_path / "cancel.json"), time_limit_s=None
    )
    stopper = Stopper(cast("Any", plan), cast("Any", SimpleNamespace(superseded=quiet, cancelled=quiet)))
    request = stopper.request
    assert request is not None
    assert (request.kind, request.words) == (StopKind.PLATFORM, phrase)
