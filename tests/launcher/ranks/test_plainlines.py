"""Progress out of the lines of loops that people write by hand."""

from typing import Any

import pytest

from launcher.jobfile.linear import check_linear
from launcher.jobfile.spec_progress import ProgressSpec
from launcher.ranks import plainlines
from launcher.ranks.lineprogress import LineProgress
from launcher.ranks.plainlines import read_plain_line


def last_of(lines: list[str]) -> dict[str, Any]:
    """The last event that lines make, 1 s apart."""
    progress = LineProgress(ProgressSpec())
    events = [event for now, line in enumerate(lines) if (event := progress.feed(line, float(now)))]
    return {key: value for key, value in events[-1].items() if key not in ("t", "from", "event", "eta_s")}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("step 3/5 loss=0.333 lr=0.1", {"step": 3, "steps": 5, "loss": 0.333, "lr": 0.1}),
        ("2026-11-28 10:00:00 INFO step: 7, train loss: 1.5e-2", {"step": 7, "loss": 0.015}),
        ("iter 250: loss 3.2041, time 25.31ms, mfu 11.2%", {"step": 250, "loss": 3.2041}),
        ("Epoch 1/3 - loss: 0.4211 - acc: 0.81 - val_loss: 0.5", {"epoch": 1, "epochs": 3, "loss": 0.4211}),
        ("[Epoch 2] train_loss=0.31 val_loss=0.40", {"epoch": 2, "loss": 0.31}),
        (
            "Epoch [1/10], Step [100/600], Loss: 0.2458",
            {"epoch": 1, "epochs": 10, "step": 100, "steps": 6000, "loss": 0.2458},
        ),
        ("Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.2953", {"epoch": 1, "step": 640, "loss": 2.2953}),
        (
            "Epoch: [0][  10/5005]\tTime  0.314 (  0.576)\tLoss 6.9346e+00 (6.9600e+00)\tAcc@1   0.00",
            {"epoch": 1, "step": 10, "loss": 6.9346},
        ),
        (
            "Train: 0 [  50/1251 (  4%)]  Loss: 6.94 (6.95)  Time: 0.4s  LR: 1.000e-06  Data: 0.01",
            {"epoch": 1, "step": 50, "loss": 6.94, "lr": 1e-06},
        ),
        ("epoch 3, loss: tensor(0.3412, device='npu:0', grad_fn=<Nll>)", {"epoch": 3, "loss": 0.3412}),
        ("step: 4 loss: Tensor(shape=[], dtype=Float32, value= 2.3)", {"step": 4, "loss": 2.3}),
        ("epoch: 1, batch: 20, loss: nan", {"epoch": 1, "step": 20, "loss": "nan"}),
    ],
)
def test_a_line_with_a_count_and_a_loss(line: str, told: dict[str, Any]) -> None:
    assert last_of([line]) == told


@pytest.mark.parametrize(
    "line",
    [
        "Test: [  0/196]\tLoss 1.2 (1.2)",
        "validation: epoch 3 loss 0.4",
        "[eval] step 100 loss=0.5",
        "Epoch 3 validation loss: 0.5",
        "best epoch 3 with loss 0.2",
        "epoch 3 done in 20 s",
        "loss function: cross entropy, batch 32",
        "batch size 64, loss scale 1024",
        "step 3 gloss 4",
        "weight loss 3",
    ],
)
def test_other_lines_tell_nothing(line: str) -> None:
    assert read_plain_line(line) is None


def test_steps_of_an_epoch_begin_again() -> None:
    lines = [f"epoch {epoch} step {step} loss 1.0" for epoch in (1, 2, 3) for step in (1, 2, 3, 4)]
    assert last_of(lines) == {"epoch": 3, "step": 12, "loss": 1.0}


def test_steps_of_the_whole_training_go_on_over_epochs() -> None:
    lines = [
        f"epoch {epoch} step {4 * (epoch - 1) + step}/12 loss 1.0"
        for epoch in (1, 2, 3)
        for step in (1, 2, 3, 4)
    ]
    assert last_of(lines) == {"epoch": 3, "step": 12, "steps": 12, "loss": 1.0}


def test_patterns_take_linear_time() -> None:
    patterns = {name: each.pattern for name, each in vars(plainlines).items() if hasattr(each, "pattern")}
    assert len(patterns) >= 5
    for pattern in patterns.values():
        check_linear(pattern)
