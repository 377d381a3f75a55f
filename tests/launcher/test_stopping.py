"""What a request to stop does to a run, whenever it comes."""

from launcher.states import State
from launcher.submission import cancel

LONG = {"STEPS": "400", "STEP_S": "0.1"}


def test_a_program_that_ends_with_0_on_sigterm_was_cancelled_all_the_same(jobs) -> None:
    entry = jobs.submit(env={**LONG, "ON_TERM": "0"})
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 1)
    cancel(entry)
    assert jobs.end(entry).state is State.CANCELLED


def test_the_time_limit_is_no_success_for_a_program_that_ends_with_0(jobs) -> None:
    view = jobs.run(env={**LONG, "ON_TERM": "0"}, resources={"time_limit": "1s"})
    assert view.state is State.FAILED
    assert "time limit of 1 s" in view.reason


def test_a_program_that_was_done_before_the_request_has_succeeded(jobs) -> None:
    entry = jobs.submit(env={"ON_TERM": "0", "AT_END": "60"})
    jobs.until(entry, lambda view: view.phase == "done")
    cancel(entry)
    assert jobs.end(entry).state is State.SUCCEEDED
