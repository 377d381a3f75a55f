"""`device: auto` is the chip that npu-smi names, and nothing that it does not."""

from pathlib import Path

import pytest

from launcher.cli import main
from launcher.devices.chip import chip_here
from launcher.devices.probe import Probe
from launcher.errors import NoDevices, PlanError
from launcher.submission.prepare import Prepared, prepare
from tests.launcher.samples import write_job

FAKES = Path(__file__).parents[2] / "fakes"
MAPPING = "\tNPU ID                         Chip ID                        Chip Logic ID                  Chip Name\n"


def probe(folder: Path) -> Probe:
    return Probe(npu_smi=str(FAKES / "npu-smi"), dev_dir=folder, search=())


@pytest.mark.parametrize("name", ["ascend910b", "atlas-a3"])
def test_the_chip_of_a_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / name))
    assert chip_here(probe(tmp_path)) == name


@pytest.mark.parametrize(
    ("names", "chip"),
    [
        (("310P3",), "ascend310p"),
        (("910B4-1", "910B4-1"), "ascend910b"),
        (("910ProB",), "ascend910"),
        (("Ascend910",), ""),
        (("910B",), ""),
        (("",), ""),
        (("910B3", "310P3"), ""),
        ((), ""),
    ],
)
def test_a_name_of_several_chips_is_not_guessed(
    names: tuple[str, ...], chip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"\t{k:<30} {0:<30} {k:<30} {name or '-'}\n" for k, name in enumerate(names)]
    monkeypatch.setattr(Probe, "run", lambda self, *words: MAPPING + "".join(rows) if "-m" in words else "")
    if chip:
        assert chip_here(probe(tmp_path)) == chip
    else:
        with pytest.raises(NoDevices, match="does not tell one chip"):
            chip_here(probe(tmp_path))


def test_a_machine_without_npus_is_cpu_and_one_without_its_tools_is_not(tmp_path: Path) -> None:
    nothing = Probe(npu_smi="no-such-tool", dev_dir=tmp_path, search=())
    assert chip_here(nothing) == "cpu"
    (tmp_path / "davinci0").touch()
    with pytest.raises(NoDevices, match="not installed"):
        chip_here(nothing)


def job(folder: Path, *sets: str) -> Prepared:
    program = "program=[python3, -c, pass]"
    return prepare(write_job(folder), overrides=[program, *sets], backend=None)


def test_a_job_takes_the_chip_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.submission.prepare.chip_here", lambda: "ascend910b")
    made = job(tmp_path, "resources.device=auto")
    assert made.plan.device == "ascend910b"
    assert "resources.device: ascend910b, which this machine has" in made.plan.notes
    monkeypatch.setattr("launcher.submission.prepare.chip_here", lambda: "ascend950")
    with pytest.raises(PlanError, match="ascend950"):
        job(tmp_path, "resources.device=auto")
    with pytest.raises(PlanError, match="the run is on others"):
        job(tmp_path, "resources.device=auto", "resources.backend=slurm")


@pytest.mark.parametrize(
    ("task", "backend", "refused"),
    [("train", "local", True), ("infer", "local", False), ("infer", "slurm", True)],
)
def test_a_310p_does_not_train(task: str, backend: str, refused: bool, tmp_path: Path) -> None:
    made = job(tmp_path, "resources.device=ascend310p", f"task={task}", f"resources.backend={backend}")
    found = [finding for finding in made.findings if finding.rule == "PF014"]
    assert bool(found) is refused
    assert made.rank_table is None
    assert "RANK_TABLE_FILE" not in made.plan.env


def test_rank_tables_are_refused_for_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines = tmp_path / "machines.yaml"
    machines.write_text("10.0.0.5: {0: 192.168.100.101}\n")
    assert main(["rank-table", "generate", "--chip", "ascend310p", "--addresses", str(machines)]) == 2
    assert "310P (inference) has no rank table" in capsys.readouterr().err
