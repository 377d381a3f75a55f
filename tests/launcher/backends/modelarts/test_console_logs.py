"""What a container printed: complete, in order, each line once, whatever the service means by `order`; and its fall-backs."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.consolelog import ConsoleLog
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.login import Project
from launcher.backends.modelarts.logpages import LogPage
from tests.fakes.modelarts import FakeModelArts
from tests.fakes.modelarts_jobs import Job
from tests.fakes.modelarts_wire import Account
from tests.launcher.backends.modelarts.jobs import service_here

ACCOUNT = Account("access-key-of-tests", "secret-key-of-tests", "project-1")
READINGS = list(product(("v2", "v1"), (False, True), (False, True)))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelArts]:
    with service_here(ACCOUNT, tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def log(fake: FakeModelArts, job: Job) -> ConsoleLog:
    return ConsoleLog(
        Service(Project("cn-north-4", fake.endpoint, "project-1"), patience_s=5.0), job.id, "worker-0"
    )


@pytest.fixture
def printed(fake: FakeModelArts) -> list[str]:
    """The lines of the container; a test adds to them."""
    return fake.service.logs.given.setdefault("worker-0", [])


def texts(first: int, last: int) -> list[str]:
    return [f"line {n}" for n in range(first, last)]


def set_up(fake: FakeModelArts, reading: str, repeats: bool, backwards: bool, most: int = 500) -> None:
    book = fake.service.logs
    book.reading, book.repeats_base, book.backwards, book.most = reading, repeats, backwards, most


@pytest.mark.parametrize(("reading", "repeats", "backwards"), READINGS)
@pytest.mark.parametrize(("most", "count"), [(500, 1), (500, 2), (7, 7), (7, 8), (7, 50), (500, 1203)])
def test_every_line_once_and_in_order(
    fake: FakeModelArts,
    log: ConsoleLog,
    printed: list[str],
    reading: str,
    repeats: bool,
    backwards: bool,
    most: int,
    count: int,
) -> None:
    set_up(fake, reading, repeats, backwards, most)
    printed += texts(0, count)
    console = log.read("")
    assert list(console.lines) == texts(0, count)
    assert log.read(console.after).lines == ()
    printed += texts(count, count + 20)
    more = log.read(console.after)
    assert list(more.lines) == texts(count, count + 20)
    assert log.read(more.after).lines == ()


def test_a_log_that_begins_with_nothing(log: ConsoleLog, printed: list[str]) -> None:
    console = log.read("")
    assert (console.lines, console.after) == ((), "")
    printed.append("")
    console = log.read("")
    assert console.lines == ("",)
    printed += ["", "x"]
    assert log.read(console.after).lines == ("", "x")


@pytest.mark.system
def test_a_hundred_thousand_lines(fake: FakeModelArts, log: ConsoleLog, printed: list[str]) -> None:
    """Back to the first line, and forwards: 2 × 200 pages and a few to find the way."""
    set_up(fake, "v2", repeats=False, backwards=True)
    printed += texts(0, 100_000)
    assert list(log.read("").lines) == printed
    assert len(fake.service.requests) < 410


@pytest.mark.parametrize(("reading", "repeats", "backwards"), READINGS)
def test_a_log_that_is_rotated_goes_on(
    fake: FakeModelArts, log: ConsoleLog, printed: list[str], reading: str, repeats: bool, backwards: bool
) -> None:
    """The oldest lines go, the one that was read last among them; or the log begins anew with smaller ids."""
    set_up(fake, reading, repeats, backwards, most=7)
    printed += texts(0, 30)
    console = log.read("")
    printed += texts(30, 60)
    fake.service.logs.removed = 40
    console = log.read(console.after)
    assert list(console.lines) == texts(40, 60)
    fake.service.logs.removed, fake.service.logs.shift = 0, -1_000_000
    printed[:] = ["anew", "and on"]
    console = log.read(console.after)
    assert console.lines == ("anew", "and on")
    assert log.read(console.after).lines == ()


def test_a_service_that_ignores_the_base_line_ends(
    fake: FakeModelArts, log: ConsoleLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fake.service.logs,
        "answer",
        lambda *_: {"start_line": "5", "end_line": "7", "lines": 3, "content": "a\nb\nc\n"},
    )
    console = log.read("")
    assert console.lines == ("a", "b", "c")
    assert log.read(console.after).lines == ()


def test_ids_that_fall_show_that_the_newest_line_came_first() -> None:
    page = LogPage.of({"start_line": "9", "end_line": "7", "lines": 3, "content": "c\nb\na\n"})
    assert page == LogPage("7", "9", ("a", "b", "c"))


# ---- fall-backs


def test_without_the_question_by_lines_the_preview_is_read_by_bytes(
    fake: FakeModelArts, log: ConsoleLog, printed: list[str]
) -> None:
    fake.faults.add("logs", "refuse 405 ModelArts.2803")
    printed += texts(0, 100)
    console = log.read("")
    assert list(console.lines) == texts(0, 100)
    assert log.read(console.after).lines == ()
    printed += texts(100, 130)
    console = log.read(console.after)
    assert list(console.lines) == texts(100, 130)
    fake.service.preview_bytes = 40
    printed += texts(130, 200)
    console = log.read(console.after)
    assert console.lines[0] == "[590 bytes of this log are not kept by the platform]"
    assert console.lines[-1] == "line 199"


def test_a_refusal_is_no_reason_for_a_fall_back(
    fake: FakeModelArts, log: ConsoleLog, printed: list[str]
) -> None:
    printed.append("x")
    fake.faults.add("logs", "refuse 403 ModelArts.0108")
    with pytest.raises(ServiceError, match="0108"):
        log.read("")
    assert [name for name, _ in fake.service.requests] == ["logs"]


@pytest.mark.parametrize("code", ["2819", "2820"])
def test_a_log_that_the_service_has_removed(fake: FakeModelArts, log: ConsoleLog, code: str) -> None:
    fake.faults.add("logs", f"refuse 400 ModelArts.{code}")
    fake.faults.add("preview", f"refuse 400 ModelArts.{code}")
    assert log.read("").cleared
    fake.faults.add("logs", "refuse 400 ModelArts.2818")
    assert not log.read("").cleared
