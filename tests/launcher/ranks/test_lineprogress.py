"""Progress out of the lines of programs: recorded samples in `lines/`, and lines that mean harm."""

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.jobfile.linear import check_linear
from launcher.jobfile.spec_progress import ProgressSpec
from launcher.ranks import progresspatterns
from launcher.ranks.learning import LearningGuard
from launcher.ranks.lineprogress import LineProgress
from launcher.ranks.progressfile import BURST, LINE_BYTES, LineProgressFile
from launcher.ranks.progresspatterns import FORMS
from launcher.runfolder.progress import ProgressReader

LINES = Path(__file__).parent / "lines"
OWN = ProgressSpec(step=r"iter (\d+)/(\d+)", epoch=r"ep (\d+)", loss=r"train=([-+.\w]+)")


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def replay(sample: str, spec: ProgressSpec, path: Path) -> list[dict[str, Any]]:
    """The events of a recorded sample whose lines come 10 s apart."""
    file = LineProgressFile(path, spec)
    for number, line in enumerate(
        (LINES / f"{sample}.log").read_bytes().replace(b"\r", b"\r\0").split(b"\0")
    ):
        for part, text in enumerate(line.splitlines(keepends=True)):
            file.feed(text, 1000.0 + 10 * number + 10 * part)
    file.close()
    return events_of(path)


@pytest.mark.parametrize(
    ("sample", "spec", "last", "losses"),
    [
        (
            "lossmonitor",
            ProgressSpec(total_epochs=5),
            {"epoch": 3, "epochs": 5, "step": 186, "steps": 310, "loss": 1.8765},
            [2.2987, 2.1034, 1.8765],
        ),
        (
            "lossmonitor_old",
            ProgressSpec(total_epochs=3),
            {"epoch": 2, "step": 450, "steps": 750, "loss": 6.4431},
            [6.9077554, 6.8912, 6.5012, 6.4431],
        ),
        (
            "mindvision",
            ProgressSpec(),
            {"epoch": 2, "epochs": 10, "step": 2813, "steps": 18750, "loss": 0.121, "lr": 0.009},
            [0.534, 0.134, 0.121],
        ),
        (
            "mindcv",
            ProgressSpec(),
            {"epoch": 2, "epochs": 90, "step": 5104, "steps": 450360, "loss": 5.712345, "lr": 0.006},
            [6.912345, 6.812345, 5.712345],
        ),
        (
            "mindformers",
            ProgressSpec(),
            {
                "epoch": 2,
                "epochs": 2,
                "step": 300,
                "steps": 400,
                "loss": 3.125,
                "lr": 4.5e-06,
                "loss_scale": 131072.0,
            },
            [10.623, 10.401, 3.125],
        ),
        ("tqdm", ProgressSpec(), {"step": 1000, "steps": 1000, "loss": 0.411}, [0.923, 0.411]),
        (
            "tqdm_epochs",
            ProgressSpec(),
            {"epoch": 2, "epochs": 3, "step": 150, "steps": 300, "loss": 1.12},
            [1.92, 1.71, 1.12],
        ),
        (
            "huggingface",
            ProgressSpec(),
            {"epoch": 2, "step": 110, "steps": 300, "loss": 0.5021, "lr": 3.333e-05},
            [0.6911, 0.5021],
        ),
        (
            "lightning",
            ProgressSpec(total_epochs=4),
            {"epoch": 2, "epochs": 4, "step": 150, "steps": 400, "loss": 0.523},
            [0.923, 0.811, 0.523],
        ),
        ("own", OWN, {"epoch": 2, "step": 110, "steps": 400, "loss": 1.75}, [2.31, 2.11, 1.75]),
    ],
)
def test_a_recorded_sample_gives_progress_a_curve_and_the_time_left(
    sample: str, spec: ProgressSpec, last: dict[str, Any], losses: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "progress" / "rank-0.jsonl"
    events = replay(sample, spec, path)
    reader = ProgressReader(path)
    reader.update()
    shown = reader.progress.model_dump(exclude_none=True)
    assert {key: shown.get(key) for key in last} == last
    assert reader.phase_seen[0] == "training"
    assert reader.bad_lines == 0
    curve = [event["loss"] for event in events if event["event"] == "step" and "loss" in event]
    assert list(dict.fromkeys(curve)) == losses
    assert reader.progress.eta_s is not None
    done = last["step"] == last["steps"]
    assert (reader.progress.eta_s == 0.0) == done
    steps = [event["step"] for event in events if "step" in event]
    assert steps == sorted(steps)


def test_the_time_left_follows_the_steps(tmp_path: Path) -> None:
    lines = LineProgress(OWN)
    lines.feed("iter 10/400", 0.0)
    event = lines.feed("iter 20/400", 5.0)
    assert event is not None
    assert event["eta_s"] == 190.0


def test_a_bar_that_is_drawn_again_is_no_progress() -> None:
    lines = LineProgress(ProgressSpec())
    assert lines.feed(" 45%|████▌     | 450/1000 [00:12<00:15, 36.5it/s]", 0.0)
    assert lines.feed(" 45%|████▌     | 450/1000 [00:42<00:55, 16.5it/s]", 30.0) is None


@pytest.mark.parametrize(
    "line",
    [
        "Validation:  45%|████▌     | 9/20 [00:01<00:15, 36.5it/s]",
        "Downloading:  45%|████▌     | 45/100 [00:01<00:15, 36.5MB/s]",
        "Map:  45%|████▌     | 450/1000 [00:01<00:15, 365 examples/s]",
        "Eval epoch time: 10.000 ms, per step time: 1.000 ms",
        "{'eval_loss': 0.5, 'epoch': 1.0}",
        "the loss is great, step 5 of the plan",
        "epoch: one step: two, loss is three",
    ],
)
def test_lines_that_are_no_training_say_nothing(line: str) -> None:
    assert LineProgress(ProgressSpec()).feed(line, 0.0) is None


def test_a_loss_that_is_no_number_reaches_the_guard_and_no_old_loss_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    file = LineProgressFile(path, ProgressSpec())
    for step, loss in enumerate(("2.3", "nan", "nan", "nan"), 1):
        file.feed(f"epoch: 1 step: {step}, loss is {loss}\n".encode(), 1000.0 + step)
    guard = LearningGuard(0, 0)
    for event in events_of(path):
        guard.feed(event)
    assert "the loss is nan since about step 4" in guard.problem
    assert guard.poisoned
    reader = ProgressReader(path)
    reader.update()
    assert reader.progress.loss is None


def test_a_file_that_the_program_writes_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    file = LineProgressFile(path, ProgressSpec())
    file.feed(b"epoch: 1 step: 1, loss is 2\n", 1.0)
    with path.open("a") as own:
        own.write('{"t": 1.0, "event": "step", "step": 7}\n')
    before = path.read_bytes()
    file.feed(b"epoch: 1 step: 2, loss is 2\nepoch: 1 step: 3, loss is 1\n", 2.0)
    file.close()
    assert path.read_bytes() == before


def test_a_program_that_wrote_the_file_before_a_restart_is_trusted_to_do_it_again(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    path.write_text('{"t": 1.0, "event": "phase", "phase": "training"}\n')
    before = path.read_bytes()
    file = LineProgressFile(path, ProgressSpec())
    file.feed(b"epoch: 1 step: 2, loss is 2\n", 2.0)
    file.close()
    assert path.read_bytes() == before


def test_lines_go_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    for step in (1, 2):
        file = LineProgressFile(path, ProgressSpec())
        file.feed(f"epoch: 1 step: {step}, loss is 2\n".encode(), 2.0)
        file.close()
    assert [event["step"] for event in events_of(path)] == [1, 2]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_lines_come_in_pieces_of_any_size(size: int, tmp_path: Path) -> None:
    data = "epoch: 1 step: 1, loss is 2\r\n█\xff\nepoch: 1 step: 2, loss is 1".encode("latin-1", "replace")
    file = LineProgressFile(tmp_path / "rank-0.jsonl", ProgressSpec())
    for start in range(0, len(data), size):
        file.feed(data[start : start + size], 1.0)
    file.close()
    assert [event["step"] for event in events_of(tmp_path / "rank-0.jsonl")] == [1, 2]


@pytest.mark.parametrize("size", [100, 4096, 1 << 20])
def test_the_rest_of_a_long_line_is_not_looked_at(size: int, tmp_path: Path) -> None:
    data = b"x" * (LINE_BYTES + 1) + b"epoch: 1 step: 1, loss is 2" + b"y" * 20_000
    data += b"\nepoch: 1 step: 2, loss is 2\n"
    file = LineProgressFile(tmp_path / "rank-0.jsonl", ProgressSpec())
    for start in range(0, len(data), size):
        file.feed(data[start : start + size], 1.0)
        assert len(file._rest) <= LINE_BYTES
    file.close()
    assert [event["step"] for event in events_of(tmp_path / "rank-0.jsonl")] == [2]


def test_a_talkative_program_makes_few_events_and_the_newest_is_kept(tmp_path: Path) -> None:
    file = LineProgressFile(tmp_path / "rank-0.jsonl", ProgressSpec())
    for step in range(1, 10_001):
        file.feed(f"epoch: 1 step: {step}, loss is 2\n".encode(), 1000.0 + step / 1000)
    file.close()
    steps = [event["step"] for event in events_of(tmp_path / "rank-0.jsonl")]
    assert BURST < len(steps) < BURST + 30
    assert steps[-1] == 10_000


def test_a_disk_that_takes_nothing_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "progress").write_text("a file where the folder should be")
    file = LineProgressFile(tmp_path / "progress" / "rank-0.jsonl", ProgressSpec())
    file.feed(b"epoch: 1 step: 1, loss is 2\n", 1.0)
    (tmp_path / "progress").unlink()
    file.close()
    assert [e["step"] for e in events_of(tmp_path / "progress" / "rank-0.jsonl")] == [1]


@pytest.mark.parametrize(
    "line",
    [
        "epoch: 999999999999999999 step: 999999999999999999, loss is 1e999",
        "epoch: 99999999999999999999999 step: 1, loss is 1",
        "epoch: 1 step: 1, loss is 1.2.3.4",
        "Epoch:[  0/  0], step:[  0/  0], loss: 1",
        "epoch time: 0.000 ms, per step time: 0.000 ms",
        "epoch time: 1e300 ms, per step time: 1e-300 ms",
        "epoch time: inf ms, per step time: nan ms",
        "{'loss': nan, 'epoch': 1e300}",
        "{'loss': 1, 'epoch': -inf}",
        "100%|██████████| 0/0 [00:00<00:00, ?it/s]",
        "\0epoch: 1 step: \u0663, loss is 1",
    ],
)
def test_no_line_breaks_the_reader(line: str, tmp_path: Path) -> None:
    file = LineProgressFile(tmp_path / "rank-0.jsonl", ProgressSpec())
    for now in (1.0, 2.0):
        file.feed(line.encode() + b"\nepoch: 2 step: 1, loss is 1\n", now)
    file.close()
    reader = ProgressReader(tmp_path / "rank-0.jsonl")
    reader.update()
    assert reader.progress.loss == 1


def test_every_built_in_pattern_takes_linear_time() -> None:
    patterns = [form.pattern for form in FORMS]
    patterns += [
        value
        for name, value in vars(progresspatterns).items()
        if name.startswith("_") and hasattr(value, "search")
    ]
    assert len(patterns) >= 12
    for pattern in patterns:
        check_linear(pattern.pattern)
