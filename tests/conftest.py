"""What tests share: when and on which worker they run, their draws, a home of their own, and jobs whose ranks run
`tests/programs/counter.py`."""

import gc
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import yaml
from _pytest.nodeid import NodeId
from hypothesis import is_hypothesis_test, settings

from launcher.backends import get_backend
from launcher.runs.index import Index, RunEntry
from launcher.runs.view import RunView, view_of
from launcher.submission.cancel import cancel
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from tests.seeds import SEED, rng_of
from tests.waiting import PATIENCE_S, wait_until

SERVERS = {"cluster", "kube", "radosgw", "rclone"}
"""Fixtures that are a server."""
SYSTEM = {*SERVERS, "jobs", "rotation", "s3", "site"}
"""Fixtures that start servers or whole runs, which take their time."""

settings.load_profile("fresh" if SEED else "fixed")
os.environ.setdefault("LAUNCHER_NO_AGENCY", "1")  # the machine of the tests may be one of a cloud
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
COUNTER = Path(__file__).parent / "programs" / "counter.py"

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in the background of a shell; programs of tests get Ctrl-C all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A program that is called in this process may block or take signals; what the next test starts must not inherit that."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spares the garbage collector the modules and the thousands of tests: they stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what starts a server or draws at random. What shares a fixture stays on one worker, and the longest come first."""
    worker = hasattr(config, "workerinput")
    for item in items:
        assert isinstance(item, pytest.Function)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        used = {*item.fixturenames, *(each.partition(" ")[0] for each in parameters if isinstance(each, str))}
        if used & SYSTEM:
            item.add_marker("system")
        if "rng" in item.fixturenames or is_hypothesis_test(item.obj):
            item.add_marker("random")
        if worker and (group := max(used & SERVERS - {"rclone"}, default="") or _shared_by_its_module(item)):
            # What pytest-xdist 3.8 does for its mark `xdist_group`, which has no effect under pytest 9.2.
            item._id = NodeId.parse(f"{item.nodeid}@{group}")
    items.sort(key=lambda item: not item.get_closest_marker("system"))


def _shared_by_its_module(item: pytest.Function) -> str:
    """The module of a test that uses a fixture of its module; '' for others."""
    definitions = item._fixtureinfo.name2fixturedefs.values()
    return item.nodeid.partition("::")[0] if any(each[-1].scope == "module" for each in definitions) else ""


def pytest_report_header() -> str:
    return f"random tests: LAUNCHER_TEST_SEED={SEED}" if SEED else "random tests: fixed seed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report of a random test that failed says how to repeat its draws."""
    report = yield
    if report.failed and SEED and item.get_closest_marker("random"):
        again = f"LAUNCHER_TEST_SEED={SEED} python -m pytest --hypothesis-seed={SEED} '{item.nodeid}'"
        report.sections.append(("repeat", again))
    return report


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The draws of this test: always the same, unless `make test-all` gives a fresh seed."""
    return rng_of(request.node.name)


@pytest.fixture
def launcher_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$LAUNCHER_HOME and the folder of device locks, empty."""
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAUNCHER_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "home"


class Jobs:
    """Submits jobs of the counter program and waits for them; whatever still runs at the end of the test is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = Index()
        self.entries: list[RunEntry] = []

    def file(self, *, env: dict[str, str] | None = None, devices: int = 1, **sections: object) -> Path:
        job = {
            "name": "counter",
            "program": [sys.executable, str(COUNTER)],
            "resources": {"devices_per_node": devices},
            "output": {"url": str(self.folder / "runs"), "upload_every": "1s"},
            "watch": {"grace": "60s"},
            "env": env or {},
            **sections,
        }
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        return path

    def submit(self, **arguments: object) -> RunEntry:
        entry = submit(prepare(self.file(**arguments)), self.index)  # type: ignore[arg-type]
        self.entries.append(entry)
        return entry

    def view(self, entry: RunEntry) -> RunView:
        return view_of(self.index.find(entry.run_id), self.index)

    def until(
        self, entry: RunEntry, condition: Callable[[RunView], bool], timeout_s: float = PATIENCE_S
    ) -> RunView:
        deadline = time.monotonic() + timeout_s
        while not condition(view := self.view(entry)):
            assert time.monotonic() < deadline, f"still {view.state} {view.phase}: {view.reason}"
            time.sleep(0.05)
        return view

    def end(self, entry: RunEntry) -> RunView:
        """The view of the ended run; its node program has then sent its last word to the store, too."""
        view = self.until(entry, lambda view: view.state.terminal)
        handle = self.index.find(entry.run_id).handle
        if handle:
            wait_until(
                lambda: not get_backend(entry.backend).poll([handle])[0].alive, "its node program ends"
            )
        return view

    def run(self, **arguments: object) -> RunView:
        return self.end(self.submit(**arguments))


@pytest.fixture
def jobs(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Jobs that are submitted from an empty folder, unless the test has chosen one."""
    if Path.cwd() == COUNTER.parents[2]:
        (tmp_path / "submitted").mkdir()
        monkeypatch.chdir(tmp_path / "submitted")
    jobs = Jobs(tmp_path)
    yield jobs
    running = [entry for entry in jobs.entries if not jobs.view(entry).state.terminal]
    for entry in running:
        cancel(entry)
    for entry in running:
        jobs.end(entry)
