"""Whole runs through the local back end tell of what happened to them."""

import os

import pytest

from launcher.runfolder.states import State
from tests.launcher.notify.webhook import webhook


def test_a_run_tells_of_restart_checkpoint_metric_and_end(jobs) -> None:
    with webhook() as hook:
        spec = {
            "to": [{"webhook": hook.url}],
            "on": ["end", "restart", "first-checkpoint", "metric"],
            "metric": "step >= 3",
        }
        view = jobs.run(
            env={"FAIL_AT": "5:0:exit 9"}, retry={"max_restarts": 1, "backoff": "0s"}, notify=spec
        )
        assert view.state is State.SUCCEEDED
        assert sorted(body["event"] for body in hook.wait_for(4)) == [
            "end",
            "first-checkpoint",
            "metric",
            "restart",
        ]
        end = next(body for body in hook.bodies if body["event"] == "end")
        assert (end["state"], end["results"], end["link"]) == ("SUCCEEDED", {"last": 0.021}, view.url)


def test_a_target_that_is_down_fails_no_run(jobs) -> None:
    view = jobs.run(notify={"to": [{"webhook": "http://127.0.0.1:9/"}, {"command": "exit 3"}]})
    assert view.state is State.SUCCEEDED


@pytest.mark.parametrize("how", ["hang", "failure"])
def test_a_run_tells_of_its_failure(jobs, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as hook:
        monkeypatch.setenv("HOOK_PORT", str(hook.port))
        spec = {"to": [{"webhook": "http://127.0.0.1:${HOOK_PORT}/"}]}
        fail, watch = (
            ("3:0:hang", {"hang_after": "2s", "grace": "1s"}) if how == "hang" else ("3:0:exit 9", {})
        )
        jobs.run(env={"FAIL_AT": fail}, watch=watch, notify=spec)
        (body,) = hook.wait_for(1)
        assert (body["event"], body["state"]) == (how, "FAILED")
        assert os.environ["HOOK_PORT"] in hook.url
