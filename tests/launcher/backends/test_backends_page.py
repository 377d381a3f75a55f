"""docs/backends.md: its example is a back end that works, and its table names what a back end has."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.api import submit_prepared
from launcher.backends import BACKENDS, base
from launcher.jobfile.load import load_job
from launcher.runfolder.states import State
from launcher.runs.index import new_run_id
from launcher.submission.prepare import Prepared, plan_of, prepared
from tests.launcher.samples import write_job
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "backends.md").read_text()
COUNTER = ROOT / "tests" / "programs" / "counter.py"
MANY_LINES = 80


def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher_home: Path) -> Iterator[None]:
    """The example in the registry."""
    (tmp_path / "background_backend.py").write_text(example())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(BACKENDS, "background", "background_backend:BackgroundBackend")
    yield
    sys.modules.pop("background_backend", None)


def job(folder: Path, nodes: int = 1, **env: str) -> Prepared:
    """A job for the example. The choices of the job file don't have it, so it is put in after reading."""
    path = write_job(folder, program=[sys.executable, str(COUNTER)], env=env, resources={"nodes": nodes})
    loaded = load_job(path)
    resources = loaded.spec.resources.model_copy(update={"backend": "background"})
    loaded = replace(loaded, spec=loaded.spec.model_copy(update={"resources": resources}))
    run_id = new_run_id(loaded.spec.name)
    return prepared(loaded, plan_of(loaded.spec, None, run_id=run_id, env=os.environ, cwd=folder))


@pytest.mark.system
@pytest.mark.usefixtures("registered")
def test_the_example_runs_a_job(tmp_path: Path) -> None:
    run = submit_prepared(job(tmp_path))
    view = run.wait(PATIENCE_S)
    assert (view.state, view.backend) == (State.SUCCEEDED, "background"), view.reason
    assert (tmp_path / "store" / run.id / "MANIFEST.json").exists()


@pytest.mark.system
@pytest.mark.usefixtures("registered")
def test_the_example_stops_a_run(tmp_path: Path) -> None:
    run = submit_prepared(job(tmp_path, STEPS="100000"))

    def cancel(view: object) -> None:
        if not cancelled and (tmp_path / "store" / run.id / "checkpoints" / "LATEST").exists():
            run.cancel()
            cancelled.append(view)

    cancelled: list[object] = []
    view = run.wait(PATIENCE_S, on_view=cancel)
    assert view.state is State.CANCELLED, view.reason


@pytest.mark.usefixtures("registered")
def test_the_example_knows_a_process_before_it_runs_its_program_and_after_its_end() -> None:
    from background_backend import is_alive, started  # type: ignore[import-not-found]

    child = subprocess.Popen(["sleep", "600"])
    handle = base.Handle(backend="background", data={"pid": child.pid, "started": started(child.pid)})
    assert is_alive(handle)
    assert not is_alive(base.Handle(backend="background", data={"pid": child.pid, "started": "1"}))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(handle)
    child.wait()
    assert not is_alive(handle)


@pytest.mark.usefixtures("registered")
def test_the_example_refuses_what_it_can_not_do(tmp_path: Path) -> None:
    assert [finding.rule for finding in job(tmp_path, nodes=2).findings] == ["BG001"]


def test_the_example_is_short() -> None:
    assert len(example().splitlines()) <= MANY_LINES


def test_the_table_names_every_member_and_nothing_else() -> None:
    named = set(re.findall(r"^\| `(\w+)", PAGE, re.MULTILINE))
    members = {name for name in vars(base.Backend) if not name.startswith("_")}
    assert members <= named
    assert named - members == {"LAUNCHER_LAUNCH_ID", "LAUNCHER_AGAIN", "LAUNCHER_EXIT"}


def test_the_page_names_every_further_ability() -> None:
    abilities = {
        name
        for name, value in vars(base).items()
        if getattr(value, "_is_protocol", False) and name != "Protocol"
    }
    assert len(abilities) >= 5
    assert abilities <= set(re.findall(r"`(\w+)` \(", PAGE))
