"""Which ranks keep the graphs that they compile, and who decides."""

from pathlib import Path

import pytest

from launcher.devices.inventory import HeldDevices
from launcher.node.devices import RunDevices
from launcher.node.messages import StartOrder
from launcher.node.processes import gang_processes
from launcher.submission.prepare import prepare

ENABLE, PATH = "MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH"
REPO = Path(__file__).parents[3]


def variables(overrides: tuple[str, ...] = ()) -> list[tuple[str | None, str | None]]:
    """Switch and folder that each process of a run of two ranks would get."""
    plan = prepare(REPO / "jobs/digits_tnt_2p.yaml", overrides=overrides, cwd=REPO).plan
    devices = RunDevices(HeldDevices((0, 1), {}), {}, {})
    processes = gang_processes(plan, plan.steps[0], 0, 1, Path("/data"), devices, StartOrder(), {})
    return [(each.env.get(ENABLE), each.env.get(PATH)) for each in processes]


@pytest.fixture(autouse=True)
def neither_is_set(monkeypatch: pytest.MonkeyPatch, launcher_home: Path) -> None:
    for name in (ENABLE, PATH):
        monkeypatch.delenv(name, raising=False)


def test_vitmodels_keeps_its_graphs_on_cpu() -> None:
    assert variables() == [("1", None)] * 3, "the scheduler and two ranks"


def test_the_job_and_the_shell_can_turn_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables((f"env.{ENABLE}='0'",)) == [("0", None)] * 3
    monkeypatch.setenv(ENABLE, "0")
    assert variables() == [("0", None)] * 3
    assert variables((f"env.{ENABLE}='1'",)) == [("1", None)] * 3


def test_a_folder_that_somebody_names_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH, "/shell")
    assert {folder for _, folder in variables()} == {"/shell"}
    assert {folder for _, folder in variables((f"env.{PATH}=/job",))} == {"/job"}


@pytest.mark.parametrize("other", [("resources.device=ascend910b",)], ids=["on Ascend"])
def test_elsewhere_it_is_off_and_each_rank_has_its_own_folder(other: tuple[str, ...]) -> None:
    found = variables(other)
    assert {switch for switch, _ in found} == {None}
    assert len({folder for _, folder in found}) == 2
