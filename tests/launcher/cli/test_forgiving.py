"""A command line that forgives: other tools' verbs, values typed as options, RUN left out, narrow terminals."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from launcher.cli import COMMANDS, main
from launcher.cli.forgiving import ANSWERS, DESTRUCTIVE, OPTIONS, VERBS, unknown_command
from launcher.cli.statustable import table_of, unique_prefixes
from tests.launcher.samples import NOW, make_view


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "home"))


def write_job(**changes: object) -> None:
    job = {
        "name": "trial",
        "model": {"config": "vitmodels/configs/tnt_digits.yaml"},
        "data": {"url": "images"},
        "output": {"url": "runs"},
        **changes,
    }
    Path("images/train/one").mkdir(parents=True)
    for index in range(64):
        Path(f"images/train/one/{index}.jpg").touch()
    Path("job.yaml").write_text(yaml.safe_dump(job))


@pytest.mark.parametrize(
    ("typed", "ours"),
    [("run", "submit"), ("ps", "status"), ("kill", "cancel"), ("tail", "logs -f"), ("validate", "check")],
)
def test_verbs_of_other_tools(typed: str, ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    error = capsys.readouterr().err
    assert f"no command '{typed}'" in error
    assert f"that is 'launcher {ours}' here" in error


def test_every_verb_is_answered_with_a_command_that_exists() -> None:
    assert {ours.split()[0] for ours in VERBS.values()} <= set(COMMANDS)
    assert not (set(VERBS) | set(ANSWERS)) & set(COMMANDS)
    assert not set(VERBS) & set(ANSWERS)
    assert not {ours.split()[0] for ours in VERBS.values()} & set(DESTRUCTIVE)


@pytest.mark.parametrize("typed", ["version", "notify", "rm", "login"])
def test_words_without_a_command_of_ours_are_answered(typed: str) -> None:
    hint = unknown_command(typed, COMMANDS)
    assert "commands: " not in hint
    assert not any(each in hint for each in DESTRUCTIVE)


@pytest.mark.parametrize("typed", ["prun", "prunes", "delet", "delete_run", "deletes", "purne"])
def test_no_slip_is_answered_with_a_command_that_removes(typed: str) -> None:
    hint = unknown_command(typed, COMMANDS)
    assert not any(f"mean '{each}'" in hint for each in DESTRUCTIVE)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--epochs", "3"], "--set epochs=3"),
        (["--epochs=3"], "--set epochs=3"),
        (["epochs=3"], "--set epochs=3"),
        (["--batch-size", "8", "resources.nodes=2"], "--set batch_size=8 --set resources.nodes=2"),
        (["--lr", "1e-3"], "--set base_lr=1e-3"),
        (["--wd=0.1", "--epoch", "3"], "--set weight_decay=0.1 --set epochs=3"),
        (["--model.set.base_lr", "1e-3"], "--set model.set.base_lr=1e-3"),
        (["--nodes", "2", "--data", "images"], "--set resources.nodes=2 --set data.url=images"),
    ],
)
def test_a_value_typed_as_an_option(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_job()
    with pytest.raises(SystemExit) as ended:
        main(["submit", "job.yaml", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"is changed with {hint}\n")


VALUES = {
    "lr": "1e-3",
    "learning-rate": "1e-3",
    "weight-decay": "0.1",
    "batch_size": "8",
    "epochs": "3",
    "epoch": "3",
    "optimizer": "adamw",
    "opt": "adamw",
    "momentum": "0.8",
    "seed": "1",
    "workers": "2",
    "dropout": "0.1",
    "max-restarts": "2",
    "name": "second",
    **dict.fromkeys(("bs", "batch", "warmup"), "2"),
    **dict.fromkeys(("nodes", "nnodes", "devices", "gpus", "npus", "nproc_per_node"), "1"),
    **dict.fromkeys(("data", "data_dir", "dataset"), "images"),
    **dict.fromkeys(("output", "output_dir", "out"), "results"),
    **dict.fromkeys(("walltime", "time"), "3h"),
    "wd": "0.1",
    "device": "cpu",
}
"""Options that people type, with a value."""


@pytest.mark.parametrize("option", [*VALUES, *(name for name in OPTIONS if name not in VALUES)])
def test_what_a_hint_says_works(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_job()
    with pytest.raises(SystemExit):
        main(["submit", "job.yaml", f"--{option}", VALUES[option]])
    words = capsys.readouterr().err.rpartition(" is changed with ")[2].split()
    assert words[0] == "--set"
    assert main(["submit", "job.yaml", "--dry-run", *words]) == 0


def test_an_option_that_no_key_resembles_gets_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    write_job()
    with pytest.raises(SystemExit):
        main(["submit", "job.yaml", "--zzqq", "3"])
    assert "no key of a job file is called 'zzqq'" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["jobs", "work"])
def test_a_job_file_in_a_folder_below_is_named(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_job()
    Path(folder).mkdir()
    Path("job.yaml").rename(f"{folder}/trial.yaml")
    assert main(["submit", "trial.yaml", "--dry-run"]) == 2
    assert f"hint: did you mean {folder}/trial.yaml?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--verbose"], ["second.yaml"]])
def test_other_words_get_no_such_hint(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["submit", "job.yaml", *words])
    assert "hint" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["logs", "explain", "attach", "wait", "fetch-results", "report", "verify"]
)
def test_commands_that_read_take_the_last_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 3
    assert "'last'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["cancel", "resume", "retry", "delete"])
def test_commands_that_change_a_run_ask_for_it(command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 2


def test_a_dry_run_may_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    write_job()
    assert main(["submit", "job.yaml", "--follow", "--dry-run"]) == 0
    assert "(a submit gets one of its own)" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_explain_of_a_file_leaves_out_other_back_ends(capsys: pytest.CaptureFixture[str]) -> None:
    write_job(slurm={"partition": "npu"})
    assert main(["explain", "job.yaml"]) == 0
    out = capsys.readouterr().out
    sections = {line.partition(".")[0] for line in out.splitlines() if " = " in line}
    assert {"local", "slurm"} <= sections  # the one that is used, and the one that the file has
    assert "modelarts" not in sections
    assert "launcher check --origins job.yaml" in out
    assert main(["check", "--origins", "job.yaml"]) in (0, 2)
    assert "modelarts." in capsys.readouterr().out


def test_a_machine_without_npus_has_no_rank_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["rank-table", "generate"]) == 2
    assert "npu-smi is not installed" in capsys.readouterr().err


IDS = [
    "tnt-20261121-120000-abcd",
    "tnt-20261121-120500-0001",
    "tnt-b-20261121-120500-0001",
    "vit-20261122-1-2",
]


def test_a_unique_prefix_ends_at_a_hyphen() -> None:
    assert list(unique_prefixes(IDS).values()) == [
        "tnt-20261121-120000",
        "tnt-20261121-120500",
        "tnt-b",
        "vit",
    ]
    assert unique_prefixes(["a-1", "a-1-2"])["a-1"] == "a-1"  # typed exactly, it is a-1


def test_at_80_columns_ids_are_short_and_now_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.cli.statustable.width_of", lambda: 80)
    training = {
        "epoch": 3,
        "epochs": 25,
        "step": 69,
        "steps": 575,
        "loss": 1.2,
        "top1": 0.5,
        "images_per_s": 402.4,
    }
    views = [make_view(run_id=each, progress=training, submitted_at=NOW) for each in IDS]
    head, *rows = table_of(views, IDS).splitlines()
    assert head.split()[-1] == "NOW"
    assert all(len(row) <= 80 and row.endswith("training") for row in rows)
    assert [row.split()[0] for row in rows] == list(unique_prefixes(IDS).values())


def test_the_best_of_a_sweep_is_marked() -> None:
    def view(run_id: str, group: str, top1: float) -> object:
        return make_view(run_id=run_id, group=group, progress={"top1": top1})

    views = [view("a-1", "g", 0.5), view("a-2", "g", 0.7), view("b-1", "h", 0.9), view("c-1", "", 0.95)]
    rows = table_of(views).splitlines()[1:]
    assert ["* " in row for row in rows] == [False, True, False, False]


def test_log_times_have_one_width(monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher.cli.logs import _clock

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert _clock(1_700_000_000.25) == "2023-11-14 22:13:20.250"
    assert _clock(0.0) == " " * 23


def test_the_dashboard_says_how_it_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from launcher.cli.dashboard import _tell

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    _tell("http://127.0.0.1:1/?token=x")
    shown = capsys.readouterr()
    assert shown.out == "http://127.0.0.1:1/?token=x\n"
    assert "Ctrl-C ends the dashboard" in shown.err
