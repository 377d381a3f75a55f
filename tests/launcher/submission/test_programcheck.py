"""A Python, a command or a script that does not exist is found by check, dry run and submit, not by rank 0."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from launcher.cli import main
from launcher.errors import PlanError
from launcher.findings import Finding, errors
from launcher.snapshot.listing import Lister, Listing
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare

IMAGE = {"image": "a/b:1"}


@pytest.fixture
def folder(tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a script, from where commands are typed."""
    (tmp_path / "here" / "empty").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    Path("train.py").write_text("print('trained')\n")
    Path("train.sh").write_text("exec python train.py\n")
    return Path.cwd()


def write(program: list[str], **sections: object) -> Path:
    path = Path("job.yaml")
    path.write_text(yaml.safe_dump({"name": "mine", "program": program, **sections}))
    return path


def found(program: list[str], **sections: object) -> list[Finding]:
    rules = ("PF040", "PF041", "PF042")
    return [each for each in prepare(write(program, **sections)).findings if each.rule in rules]


@pytest.mark.parametrize(
    ("program", "rule", "words"),
    [
        (["python", "trian.py"], "PF041", "did you mean train.py?"),
        (["python", "-u", "src/train.py"], "PF041", "there is no folder"),
        (["python", "empty"], "PF041", "__main__.py"),
        (["python", "-m", "no_such_module_here"], "PF041", "no_such_module_here"),
        (["bash", "trian.sh"], "PF041", "trian.sh"),
        (["no-such-command", "train.py"], "PF040", "no-such-command"),
        (["./train.sh"], "PF040", "can't be executed"),
        (["./empty"], "PF040", "is a folder"),
        (["/no/python", "train.py"], "PF040", "/no/python"),
    ],
)
def test_what_does_not_exist_is_an_error_of_each_command(
    folder: Path, program: list[str], rule: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (finding,) = found(program)
    assert (finding.rule, finding.severity, finding.where) == (rule, "error", "program")
    assert words in f"{finding.message} {finding.fix}"
    assert main(["check", "job.yaml"]) == 2
    assert main(["submit", "job.yaml", "--dry-run"]) == 2
    assert main(["submit", "job.yaml"]) == 2
    assert rule in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "program",
    [
        ["python", "train.py", "--out", "new/folder", "--log", "x.json"],
        ["python", "-m", "train"],
        ["python", "-m", "json.tool"],
        ["python", "-c", "print('x.py')"],
        ["bash", "train.sh"],
        ["bash", "-c", "python later.py"],
        [sys.executable, "train.py"],
        ["python", "{data}/train.py"],
        ["{data}/bin/train", "x"],
    ],
)
def test_what_exists_is_not_found_fault_with(folder: Path, program: list[str]) -> None:
    assert found(program) == []


def test_a_python_that_does_not_exist_is_named_with_its_field(folder: Path) -> None:
    (finding,) = found(["python", "train.py"], local={"python": "venv/bin/python"})
    assert (finding.rule, finding.where) == ("PF040", "local.python")
    assert str(folder / "venv/bin/python") in finding.message
    job = write(["python", "train.py"])
    Path("d/train/one").mkdir(parents=True)
    Path("d/train/one/a.jpg").touch()
    job.write_text(
        "name: a\nmodel: {arch: tnt_digits}\ndata: {url: d, train_images: 1437}\nlocal: {python: /no/python}\n"
    )
    assert [each.rule for each in errors(prepare(job).findings)] == ["PF040"]


def test_a_settings_file_that_is_missing_is_a_warning(folder: Path) -> None:
    (finding,) = found(["python", "train.py", "--config=configs/vit.yaml"])
    assert (finding.rule, finding.severity) == ("PF042", "warning")


@pytest.mark.parametrize(
    ("words", "named"),
    [([], ["../shared.yaml"]), (["--config", "../shared.yaml"], []), (["--config=own.yaml"], [])],
)
def test_a_file_above_the_folder_that_the_script_names_is_a_warning(
    folder: Path, words: list[str], named: list[str]
) -> None:
    (folder / "shared.yaml").write_text("lr: 1\n")
    inside = folder / "inside"
    inside.mkdir()
    (inside / "helper.py").write_text("NONE = '../no/such'\nWHERE = '..'\n")
    (inside / "own.yaml").write_text("lr: 1\n")
    (inside / "main.py").write_text(
        "import argparse\nimport helper\np = argparse.ArgumentParser()\np.add_argument('--config', default='../shared.yaml')\n"
    )
    job = write(["python", "main.py", *words])
    findings = prepare(job, cwd=inside).findings
    warned = [each for each in findings if each.rule == "PF047"]
    assert [each.severity for each in warned] == ["warning"] * len(named)
    assert all(name in each.message for each in warned for name in named)


def test_a_platform_elsewhere_is_judged_by_what_is_certain(folder: Path) -> None:
    elsewhere = {"resources": {"backend": "slurm"}}
    assert [each.severity for each in found(["python", "trian.py"], **elsewhere)] == ["error"]
    assert [each.severity for each in found(["python", "/shared/train.py"], **elsewhere)] == ["warning"]
    assert found(["no-such-command"], **elsewhere) == []
    assert (
        found(["python", "train.py"], slurm={"python": "/nodes/python"}, **elsewhere)[0].severity == "warning"
    )
    containers = {"resources": {"backend": "modelarts"}, "modelarts": IMAGE}
    assert [each.severity for each in found(["python", "trian.py"], **containers)] == ["error"]
    assert found(["python", "/home/ma-user/train.py"], **containers) == []


def test_the_program_runs_with_the_jobs_python_whatever_path_has(
    folder: Path, jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    false_bin = folder / "bin"
    false_bin.mkdir()
    for name in ("python", "python3"):
        (false_bin / name).write_text("#!/bin/sh\nexit 3\n")
        (false_bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{false_bin}:{os.environ['PATH']}")
    Path("who.py").write_text(
        "import json, os, sys\n"
        "path = os.environ['LAUNCHER_RUN_DIR'] + '/eval'\nos.makedirs(path, exist_ok=True)\n"
        "json.dump(sys.executable, open(path + '/who.json', 'w'))\n"
    )
    Path("who.sh").write_text(f"exec python {folder}/who.py\n")
    for program in (["python", "who.py"], ["bash", "who.sh"]):
        view = jobs.run(program=program)
        assert view.state == "SUCCEEDED", view.reason
        who = json.loads((jobs.folder / "runs" / view.run_id / "eval" / "who.json").read_text())
        assert who == sys.executable


@pytest.mark.parametrize("requires", [None, ["mindspore"]])
def test_a_package_that_can_not_be_imported_is_an_error_of_submit(
    folder: Path, requires: list[str] | None
) -> None:
    Path("mindspore.py").write_text("raise ImportError('libascendcl.so: cannot open shared object file')\n")
    Path("train.py").write_text("import mindspore\n")
    job = prepare(write(["python", "train.py"], **({"requires": requires} if requires else {})))
    assert job.plan.requires == ("mindspore",)
    with pytest.raises(PlanError, match="libascendcl") as error:
        submit(job)
    assert "LO002" in str(error.value)


def test_a_script_of_torch_gets_no_scheduler_of_mindspore(folder: Path) -> None:
    Path("train.py").write_text("import torch\n")
    plan = prepare(write(["python", "train.py"], resources={"devices_per_node": 2})).plan
    assert plan.requires == ("torch",)
    assert "MS_ROLE" not in plan.ranks[0].env
    assert any("torch" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("program", "sections", "severity"),
    [
        (["python", "train.py"], {"retry": {"max_restarts": 2}}, "warning"),
        (["python", "train.py"], {}, "info"),
        (["python", "train.py"], {"resources": {"backend": "slurm"}}, "warning"),
        (["python", "train.py", "{resume}"], {}, ""),
        (["python", "train.py"], {"resume_args": ["--resume", "{resume}"]}, ""),
        (["python", "train.py"], {"env": {"FROM": "{resume}"}}, ""),
        (["python", "reader.py"], {}, ""),
        (["python", "importer.py"], {}, ""),
        (["bash", "reader.sh"], {}, ""),
    ],
)
def test_a_restart_that_can_not_resume_is_announced(
    folder: Path, program: list[str], sections: dict[str, object], severity: str
) -> None:
    Path("reader.py").write_text("import os\nprint(os.environ['LAUNCHER_RESUME'])\n")
    Path("importer.py").write_text("import reader\n")
    Path("reader.sh").write_text("python train.py --resume $LAUNCHER_RESUME\n")
    found = [each for each in prepare(write(program, **sections)).findings if each.rule == "PF043"]
    assert [each.severity for each in found] == ([severity] if severity else [])


def test_the_files_of_the_folder_are_listed_once_by_each_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []

    class Counted(Lister):
        def all_files(self) -> Listing:
            listed.append(folder)
            return super().all_files()

    monkeypatch.setattr("launcher.snapshot.select.Lister", Counted)
    job = prepare(write(["python", "train.py"], output={"url": "runs"}))
    assert len(listed) == 1
    assert job.plan.snapshot is not None
    assert job.plan.snapshot.files >= 2
    assert main(["check", "job.yaml"]) == 0
    assert len(listed) == 2


@pytest.mark.parametrize(
    ("program", "sections", "names"),
    [
        (["python", "train.py", "--output-dir", "{disk}/ckpt"], {}, ["{disk}/ckpt (program)"]),
        (["python", "train.py", "--out=../weights"], {}, ["weights (program)"]),
        (["python", "train.py"], {"env": {"CKPT_DIR": "{disk}/ckpt"}}, ["{disk}/ckpt (env.CKPT_DIR)"]),
        (["python", "saver.py"], {}, ["../weights (saver.py)", "/disk/x (saver.py)"]),
        (["python", "saver.py", "--save", "./x"], {}, ["../weights (saver.py)"]),
        (["python", "train.py", "--out", "ckpt", "--data", "{disk}", "--log={run_dir}/x"], {}, []),
    ],
)
def test_what_a_program_writes_outside_of_its_folder_is_a_warning(
    folder: Path, program: list[str], sections: dict[str, dict[str, str]], names: list[str]
) -> None:
    Path("../weights").mkdir()
    Path("saver.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--save', default='/disk/x')\nOUT = '../weights'\n"
    )
    disk = str(folder.parent)
    program = [word.replace("{disk}", disk) for word in program]
    filled = {
        section: {key: value.replace("{disk}", disk) for key, value in values.items()}
        for section, values in sections.items()
    }
    warned = [each for each in prepare(write(program, **filled)).findings if each.rule == "PF049"]
    words = [name.replace("{disk}", disk) for name in names]
    relative = [name.startswith("..") for name in words]
    assert [each.severity for each in warned] == ["warning"] * len(set(relative))
    for name, is_relative in zip(words, relative, strict=True):
        (finding,) = [each for each in warned if name in each.message]
        assert ("ranks work in a copy" in finding.message) is is_relative


def test_what_is_linked_for_its_size_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.snapshot.select.MOST_BYTES", 1000)
    Path("last.ckpt").write_bytes(bytes(5000))
    (finding,) = [each for each in prepare(write(["python", "train.py"])).findings if each.rule == "PF050"]
    assert (finding.severity, "last.ckpt (5.0 kB)" in finding.message) == ("info", True)
