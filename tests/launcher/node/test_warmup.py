"""What is made ready while data are staged, and what becomes of it."""

from pathlib import Path

import pytest

from launcher.node.warmup import WarmUp, warm_up_process
from launcher.plan.model import Plan
from launcher.ranks.orphans import marked, node_mark
from launcher.submission.prepare import prepare
from tests.conftest import wait_until

REPO = Path(__file__).parents[3]
COMPILER = """#!/bin/sh
case "$1" in --version) echo 'a compiler of the tests, 1.0'; exit;; esac
for word in "$@"; do out=$word; done
echo "$$ $out" > "{called}"
{then}
"""


def plan_of(tmp_path: Path, job: str, *overrides: str) -> Plan:
    work = f"output.work_dir={tmp_path / 'work'}"
    return prepare(REPO / "jobs" / job, overrides=(work, *overrides), cwd=REPO).plan


@pytest.fixture
def called(tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the compiler of the tests writes."""
    monkeypatch.setenv("CXX", str(tmp_path / "compiler"))
    monkeypatch.setenv("VITMODELS_KERNELS", str(tmp_path / "kernels"))
    return tmp_path / "called"


def write_compiler(tmp_path: Path, called: Path, then: str) -> None:
    path = tmp_path / "compiler"
    path.write_text(COMPILER.format(called=called, then=then))
    path.chmod(0o755)


def test_the_operators_are_compiled_beside_staging(tmp_path: Path, called: Path) -> None:
    write_compiler(tmp_path, called, 'echo made > "$out"')
    with WarmUp(plan_of(tmp_path, "digits_tnt_2p.yaml"), 0):
        wait_until(lambda: list((tmp_path / "kernels").glob("*.so")))


def test_it_ends_with_the_node_program(tmp_path: Path, called: Path) -> None:
    write_compiler(tmp_path, called, "exec tail -f /dev/null")
    plan = plan_of(tmp_path, "digits_tnt_2p.yaml")
    with WarmUp(plan, 0):
        wait_until(called.exists)
        assert marked(node_mark(plan.run_id, 0))
    assert not marked(node_mark(plan.run_id, 0))


def test_ranks_can_do_without_it(tmp_path: Path, called: Path) -> None:
    plan = plan_of(tmp_path, "digits_tnt_2p.yaml")
    plan.run_dir.work.parent.mkdir(parents=True)
    plan.run_dir.work.write_text("no folder can be made here")
    with WarmUp(plan, 0):
        pass


def test_on_ascend_nothing_is_compiled(tmp_path: Path, launcher_home: Path) -> None:
    process = warm_up_process(plan_of(tmp_path, "digits_tnt_2p.yaml", "resources.device=ascend910b"))
    assert process is not None
    assert process.argv[-2:] == ("--device", "ascend")


def test_a_program_of_ones_own_gets_none(tmp_path: Path, launcher_home: Path) -> None:
    (tmp_path / "train.py").write_text("print('hello')\n")
    (tmp_path / "job.yaml").write_text(
        f"name: own\nprogram: [python, train.py]\noutput: {{url: {tmp_path / 'runs'}}}\nresources: {{device: cpu}}\n"
    )
    assert warm_up_process(prepare(tmp_path / "job.yaml", cwd=tmp_path).plan) is None
