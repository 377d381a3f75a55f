"""Is it learning? Streams of events and what the guard makes of them."""

import math
from typing import Any

import pytest

from launcher.ranks.learning import LearningGuard


def steps(*losses: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"event": "step", "step": i + 1, "loss": loss, **more} for i, loss in enumerate(losses)]


def epochs(*losses: float) -> list[dict[str, Any]]:
    return [{"event": "epoch", "epoch": i + 1, "loss": loss} for i, loss in enumerate(losses)]


def guard_after(events: list[dict[str, Any]], classes: int = 10, patience: int = 3) -> LearningGuard:
    guard = LearningGuard(classes, patience)
    for event in events:
        guard.feed(event)
    return guard


@pytest.mark.parametrize("bad", [math.nan, math.inf, "nan", "inf", "-inf", 10**400])
def test_a_loss_that_is_no_number_three_times_in_a_row_is_the_end(bad: Any) -> None:
    guard = guard_after(steps(2.3, bad, bad, bad))
    assert "the loss is" in guard.problem
    assert "step 4" in guard.problem
    assert guard.poisoned


def test_a_single_overflow_is_no_finding() -> None:
    assert guard_after(steps(2.3, "nan", "nan", 2.2, "inf", 2.1)).problem == ""


def test_three_epochs_without_a_finite_loss_are_the_end() -> None:
    """Of a program that reports no steps."""
    guard = guard_after([{**each, "loss": "nan"} for each in epochs(1.0, 1.0, 1.0)])
    assert guard.problem.startswith("the loss is nan since about epoch 3")
    assert guard.poisoned


@pytest.mark.parametrize(
    "events",
    [
        steps(2.3, "nan"),
        [*steps(2.3), {"event": "epoch", "epoch": 1, "loss": "nan"}],
        [*steps("nan"), {"event": "epoch", "epoch": 1, "loss": "inf"}, {"event": "eval", "top1": 0.1}],
        steps(2.3, "nan", loss_scale=1.0),
        [{"event": "step", "from": "lines", "loss": "nan"}],
    ],
)
def test_a_program_that_ends_with_a_loss_that_is_no_number_has_diverged(events: list[dict[str, Any]]) -> None:
    guard = guard_after(events)
    assert guard.problem == ""
    assert guard.end().startswith("the loss is ")
    assert guard.poisoned


@pytest.mark.parametrize(
    "events",
    [
        [],
        steps(2.3, "nan", 2.2),
        [*steps(2.3, "nan"), *epochs(2.2)],
        steps(2.3, "nan", loss_scale=1024.0),
        [*steps(2.3), {"event": "epoch", "epoch": 1}],
    ],
)
def test_a_program_that_ends_with_a_loss_or_its_scaler_has_not_diverged(events: list[dict[str, Any]]) -> None:
    guard = guard_after(events)
    assert guard.end() == ""
    assert not guard.poisoned


def test_a_loss_at_that_of_guessing_is_found_after_enough_epochs() -> None:
    stuck = math.log(10) * 1.005
    assert guard_after(epochs(stuck, stuck)).problem == ""
    guard = guard_after(epochs(stuck, stuck, stuck))
    assert "ln(10)" in guard.problem
    assert not guard.poisoned


@pytest.mark.parametrize("loss", [math.log(10) * 0.98, math.log(10) * 1.02, 0.5])
def test_a_loss_elsewhere_is_no_finding(loss: float) -> None:
    assert guard_after(epochs(*[loss] * 9)).problem == ""


def test_an_epoch_elsewhere_starts_the_count_again() -> None:
    stuck = math.log(10)
    assert guard_after(epochs(stuck, stuck, 2.0, stuck, stuck)).problem == ""


def test_an_evaluation_better_than_guessing_proves_learning() -> None:
    """Heavy mixing of images keeps the loss high for a long time."""
    evaluated = [{"event": "eval", "top1": 0.4}, *epochs(*[math.log(10)] * 9)]
    assert guard_after(evaluated).problem == ""
    assert guard_after([{"event": "eval", "top1": 0.2}, *epochs(*[math.log(10)] * 9)]).problem


@pytest.mark.parametrize(("classes", "patience"), [(0, 3), (10, 0), (1, 3)])
def test_without_classes_or_patience_the_rule_is_out(classes: int, patience: int) -> None:
    assert guard_after(epochs(*[math.log(10)] * 9), classes, patience).problem == ""


def test_a_loss_scale_that_collapses_is_the_end() -> None:
    falling = [{"event": "step", "step": n, "loss": 1.0, "loss_scale": 2.0 ** (16 - n)} for n in range(20)]
    guard = guard_after(falling)
    assert "from 65536 to 0.25" in guard.problem
    assert guard.poisoned


@pytest.mark.parametrize("scale", [1.0, 1024.0, 2.0**24])
def test_a_steady_loss_scale_is_no_finding(scale: float) -> None:
    assert guard_after(steps(*[1.0] * 9, loss_scale=scale)).problem == ""
