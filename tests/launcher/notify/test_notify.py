"""Messages: which happening tells what, to whom, once, and without secrets."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from launcher.api import Run
from launcher.errors import LauncherError
from launcher.jobfile.problems import JobFileError
from launcher.jobfile.spec_notify import NotifySpec, NotifyTarget
from launcher.notify import postbox
from launcher.notify.happenings import happenings
from launcher.notify.postbox import Postbox, Record
from launcher.runfolder.progress import Progress
from launcher.runfolder.states import Attempt, AttemptResult, FirstFailure, RunState, State
from launcher.runs.watcher import Watcher
from launcher.storage import ObjectStore, open_store
from launcher.submission.prepare import prepare
from tests.launcher.notify.webhook import Hook, webhook
from tests.launcher.samples import Sample, write_job

EVERY = ("end", "failure", "hang", "restart", "first-checkpoint", "metric")
HANG = FirstFailure(rule="hang", rank=1)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


def run_state(state: State = State.RUNNING, **values: object) -> RunState:
    facts = {"run_id": "tnt-1", "name": "tnt", "backend": "local", "submitted_at": 1.0, "updated_at": 2.0}
    return RunState(**{**facts, "state": state, "url": "s3://bucket/tnt-1", **values})


def box(
    store: ObjectStore, target: dict[str, object], env: dict[str, str] | None = None, **spec: object
) -> Postbox:
    section = NotifySpec.model_validate({"to": [target], "on": EVERY, "metric": "top1 >= 0.5", **spec})
    return Postbox(section, lambda: store, env or {})


def tell(box: Postbox, run: RunState, progress: Progress | None = None) -> bool:
    return box.deliver(box.take(run, progress or Progress()), 400.0)


@pytest.mark.parametrize(
    ("run", "events"),
    [
        (run_state(State.SUCCEEDED), ["end"]),
        (run_state(State.CANCELLED), ["end"]),
        (run_state(State.FAILED, first_failure=FirstFailure()), ["failure"]),
        (run_state(State.FAILED, first_failure=HANG), ["hang"]),
        (run_state(safe_step=4), ["first-checkpoint"]),
        (run_state(), []),
        (
            run_state(
                attempt=3,
                attempts=(
                    Attempt(attempt=1, started_at=1, result=AttemptResult.FAILED),
                    Attempt(attempt=2, started_at=1, result=AttemptResult.FAILED, first_failure=HANG),
                    Attempt(attempt=3, started_at=1),
                ),
            ),
            ["restart", "hang"],
        ),
        (
            run_state(
                attempt=2, attempts=(Attempt(attempt=1, started_at=1, result=AttemptResult.CANCELLED),)
            ),
            [],
        ),
    ],
)
def test_one_happening_makes_one_message(
    run: RunState, events: list[str], hook: Hook, store: ObjectStore
) -> None:
    sender = box(store, {"webhook": hook.url})
    assert tell(sender, run)
    assert tell(sender, run)
    assert sorted(hook.events) == sorted(events)  # they are sent side by side


def test_a_target_hears_only_of_its_own_events(hook: Hook, store: ObjectStore) -> None:
    tell(box(store, {"webhook": hook.url, "on": ["end"]}), run_state(State.FAILED, first_failure=HANG))
    assert hook.events == ["end"]


@pytest.mark.parametrize(
    ("metric", "heard"),
    [("top1 >= 0.5", True), ("top1>0.9", False), ("loss < 2", True), ("last >= 0.7", True)],
)
def test_a_metric_is_reached(metric: str, heard: bool) -> None:
    spec = NotifySpec.model_validate({"on": ["metric"], "metric": metric})
    run = run_state(results={"last": 0.71})
    found = happenings(run, Progress(top1=0.6, loss=1.5), spec)
    assert [each.key for each in found] == ["metric"] * heard


def test_the_body_has_verdict_advice_link_and_next_command(hook: Hook, store: ObjectStore) -> None:
    failure = FirstFailure(rule="hang", rank=1, line="password: hunter2 \x1b[2J")
    reason = "rank 1: no progress, AWS_SECRET_ACCESS_KEY=abc123"
    run = run_state(State.FAILED, reason=reason, first_failure=failure, safe_step=4)
    tell(box(store, {"webhook": hook.url, "on": ["failure"]}, link="https://dash.example.com/{run}"), run)
    (body,) = hook.bodies
    assert (body["format"], body["event"], body["state"], body["title"]) == (
        1,
        "failure",
        "FAILED",
        "tnt FAILED after a hang",
    )
    assert body["verdict"].startswith("rank 1: no progress")
    assert any("watch.hang_after" in each for each in body["advice"])
    assert body["link"] == "https://dash.example.com/tnt-1"
    assert "launcher resume tnt-1" in body["next"]
    assert body["safe"] == "checkpoint step 4"
    assert "abc123" not in json.dumps(body)
    assert "hunter2" not in json.dumps(body)
    assert "\x1b" not in body["first_failure"]["line"]


def test_two_senders_send_it_once(hook: Hook, store: ObjectStore) -> None:
    first, second = (box(store, {"webhook": hook.url}) for _ in range(2))
    run = run_state(State.SUCCEEDED)
    taken = first.take(run, Progress())
    assert second.take(run, Progress()) == []
    assert first.deliver(taken, 400.0)
    assert box(store, {"webhook": hook.url}).take(run, Progress()) == []
    assert hook.events == ["end"]


@pytest.mark.parametrize("off", [-3e7, 0.0, 3e7])
def test_a_message_of_a_sender_that_is_gone_is_taken_over(
    hook: Hook, store: ObjectStore, tmp_path: Path, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's time: the clocks of the two may differ."""
    now = time.time()
    gone = Record(token="gone", by="m1", at=now + off)
    store.put("notices/attempt-1-0", gone.model_dump_json().encode())
    monkeypatch.setattr(time, "time", lambda: now - off)
    assert box(store, {"webhook": hook.url}).take(run_state(State.SUCCEEDED), Progress()) == []
    then = now - 2 * postbox.STALE_S
    os.utime(tmp_path / "store/notices/attempt-1-0", (then, then))
    assert tell(box(store, {"webhook": hook.url}), run_state(State.SUCCEEDED))
    assert hook.events == ["end"]


def test_a_server_that_fails_is_tried_again(
    hook: Hook, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postbox, "PAUSES_S", (0.0, 0.0))
    hook.answers = [503, 429]
    assert tell(box(store, {"webhook": hook.url}), run_state(State.SUCCEEDED))
    assert (hook.events, len(hook.paths)) == (["end"], 3)


@pytest.mark.parametrize("answer", [404, 302])
def test_a_refused_message_is_given_up_and_another_machine_may_send_it(
    answer: int, hook: Hook, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    hook.answers = [answer]
    run, target, env = run_state(State.SUCCEEDED), {"webhook": hook.url + "/${KEY}"}, {"KEY": "s3cr3t"}
    with caplog.at_level(logging.INFO):
        assert not tell(box(store, target, env), run)
    assert f"HTTP {answer}" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert tell(box(store, target, env), run)
    assert (hook.paths, hook.events) == (["/hook/s3cr3t"] * 2, ["end"])


def test_a_machine_without_the_variable_leaves_the_message_to_others(
    hook: Hook, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    run, target = run_state(State.SUCCEEDED), {"webhook": "http://127.0.0.1:${PORT}/hook"}
    assert box(store, target).take(run, Progress()) == []
    assert "${PORT} is not set here" in caplog.text
    assert tell(box(store, target, {"PORT": str(hook.port)}), run)
    assert hook.events == ["end"]


def test_a_command_gets_the_message(store: ObjectStore, tmp_path: Path) -> None:
    target = {
        "command": f'printf "%s\\n" "$LAUNCHER_NOTICE_TITLE" "$LAUNCHER_NOTICE_NEXT" > {tmp_path}/title; cat > {tmp_path}/body'
    }
    assert tell(box(store, target, {"PATH": "/usr/bin:/bin"}), run_state(State.SUCCEEDED, name="; touch x"))
    assert (tmp_path / "title").read_text() == "; touch x SUCCEEDED\nlauncher fetch-results tnt-1\n"
    assert json.loads((tmp_path / "body").read_text())["event"] == "end"


def test_a_command_runs_where_the_job_was_submitted(
    store: ObjectStore, tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    notify = {"to": [{"command": "echo $LAUNCHER_NOTICE_EVENT >> ends.txt"}]}
    plan = prepare(write_job(tmp_path, notify=notify), cwd=tmp_path).plan
    for number, folder in enumerate((plan.submitted_in, str(tmp_path / "gone"))):
        each = Postbox(plan.notify, lambda: store, {"PATH": "/usr/bin:/bin"}, folder)
        assert tell(each, run_state(State.SUCCEEDED, attempt=number + 1))
    assert (tmp_path / "ends.txt").read_text() == "end\n"
    assert (tmp_path / "elsewhere" / "ends.txt").read_text() == "end\n"


def test_a_plan_without_commands_names_no_folder(tmp_path: Path, launcher_home: Path) -> None:
    notify = {"to": [{"webhook": "https://x.example.com/h"}]}
    assert prepare(write_job(tmp_path, notify=notify), cwd=tmp_path).plan.submitted_in == ""


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
def test_apprise_sends_it(hook: Hook, store: ObjectStore) -> None:
    target = {"apprise": "json://127.0.0.1:${PORT}/hook"}
    sender = box(store, target, {"PORT": str(hook.port)})
    letters = sender.take(run_state(State.FAILED, reason="rank 3 died"), Progress())
    hook.bodies.append({"event": "before"})  # the form of the body is apprise's own
    assert sender.deliver(letters, 400.0)
    assert hook.bodies[1]["title"] == "tnt FAILED"
    assert "rank 3 died" in hook.bodies[1]["message"]


@pytest.mark.parametrize(
    "target",
    [
        {},
        {"webhook": "https://x.example.com/h", "command": "true"},
        {"webhook": "ftp://x.example.com"},
        {"webhook": "https://hooks.example.com/services/T0AB12CD/B0AB12CD/abcDEF123456ghiJKL"},
        {"webhook": "https://oapi.example.com/robot/send?access_token=abc"},
        {"webhook": "https://ann:pass@example.com/h"},
        {"apprise": "slack://TokenA/TokenB/TokenC"},
        {"apprise": "mailto://ann:pass@${HOST}"},
        {"command": "curl -H 'token: abcdef' https://x.example.com"},
        {"command": " "},
    ],
)
def test_a_target_with_a_secret_or_without_a_way_is_refused(target: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        NotifyTarget.model_validate(target)
    assert "pass@" not in str(caught.value.errors()[0]["ctx"])


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ({"webhook": "127.0.0.1:18765"}, "put https:// or http:// in front of it"),
        ({"url": "https://x.example.com/h"}, "did you mean 'webhook'?"),
        ({"webhok": "https://x.example.com/h"}, "did you mean 'webhook'?"),
        ({"cmd": "true"}, "did you mean 'command'?"),
        ({"email": "ann@example.com"}, "did you mean 'apprise'?"),
    ],
)
def test_a_wrong_target_is_one_problem(target: dict[str, str], hint: str, tmp_path: Path) -> None:
    with pytest.raises(JobFileError) as caught:
        prepare(write_job(tmp_path, notify={"to": [target]}), cwd=tmp_path)
    assert [each.hint for each in caught.value.problems] == [hint]


@pytest.mark.parametrize("spec", [{"on": ["metric"]}, {"on": ["metric"], "metric": "good"}])
def test_a_metric_needs_a_condition(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NotifySpec.model_validate(spec)


def test_a_condition_that_no_list_of_events_names_counts_for_all_without_a_list() -> None:
    targets = [{"command": "true"}, {"command": "false", "on": ["end"]}]
    spec = NotifySpec.model_validate({"to": targets, "metric": "top1 > 0.5"})
    assert [spec.events_of(target) for target in spec.to] == [("end", "failure", "hang", "metric"), ("end",)]


def test_variables_are_stored_as_written(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", "s3cr3t")
    prepared = prepare(
        write_job(tmp_path, notify={"to": [{"webhook": "https://x.example.com/${HOOK_KEY}"}]}), cwd=tmp_path
    )
    assert "${HOOK_KEY}" in prepared.plan.text()
    assert "s3cr3t" not in prepared.plan.text()


def test_user_defaults_notify_and_a_job_may_differ(tmp_path: Path, launcher_home: Path) -> None:
    defaults = launcher_home / "defaults.yaml"
    defaults.parent.mkdir(parents=True, exist_ok=True)
    defaults.write_text("notify: {to: [{command: 'true'}], on: [failure]}\n")
    plan = prepare(write_job(tmp_path, notify={"on": ["end"]}), cwd=tmp_path).plan
    assert (plan.notify.to[0].command, plan.notify.on) == ("true", ("end",))


def test_wait_tells_of_a_run_whose_machine_could_not(tmp_path: Path, launcher_home: Path, hook: Hook) -> None:
    sample = Sample(tmp_path, notify={"to": [{"webhook": hook.url}]})
    Run(sample.entry, sample.index).wait()
    Run(sample.entry, sample.index).wait()
    assert hook.events == ["end"]


@pytest.mark.parametrize("ends", ["sent", "given up"])
def test_who_follows_sees_what_becomes_of_the_message_of_the_run_s_machine(
    ends: str,
    tmp_path: Path,
    launcher_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sample = Sample(tmp_path, notify={"to": [{"command": "exit 3"}]})
    store, key = sample.entry.store.open(), "notices/attempt-1-0"
    theirs = Record(token="theirs", by="m1", at=time.time())
    store.put(key, theirs.model_dump_json().encode())

    def machine_goes_on(_seconds: float) -> None:
        if ends == "sent":
            store.put(key, theirs.model_copy(update={"sent": True}).model_dump_json().encode())
        elif store.head(key) and not caplog.messages:
            store.delete(key)

    monkeypatch.setattr(postbox, "LOOK_AT_END_S", 0.0)
    monkeypatch.setattr(postbox, "PAUSES_S", ())
    monkeypatch.setattr("launcher.runs.watcher.time.sleep", machine_goes_on)
    run = Run(sample.entry, sample.index)
    assert Watcher(sample.entry).settle(run.view(), 400.0)
    words = "notify (command, end): the command ended with exit code 3"
    assert caplog.messages == ([] if ends == "sent" else [words])


def test_who_follows_does_not_wait_for_ever(tmp_path: Path, launcher_home: Path) -> None:
    sample = Sample(tmp_path, notify={"to": [{"command": "true"}]})
    theirs = Record(token="theirs", by="m1", at=time.time())
    sample.entry.store.open().put("notices/attempt-1-0", theirs.model_dump_json().encode())
    assert not Watcher(sample.entry).settle(Run(sample.entry, sample.index).view(), 0.0)


def test_a_plan_of_a_stranger_is_not_obeyed(
    tmp_path: Path, launcher_home: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(tmp_path, notify={"to": [{"webhook": hook.url}]})
    folder = Path(sample.plan.store.url.removeprefix("file://"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    sample.root.rename(folder)  # only the store has it now, without a signature of ours
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "another"))
    entry = sample.entry.model_copy(update={"named_by_url": True})
    with contextlib.suppress(TimeoutError, LauncherError):
        Run(entry).wait(0)
    assert hook.events == []
