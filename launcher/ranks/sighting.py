"""What a line tells of a training, and the shapes of numbers in lines."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 10**15
"""No step or epoch is larger; a larger number is something else."""
VALUE = r"(-?[0-9][0-9.eE+-]*|-?nan|-?inf)"
COUNT = r"([0-9]{1,18})"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one line tells; None for what it does not.

    `in_epoch`: step and steps are those of one epoch; with `counts_either` that is likely, and the next epoch shows. `ends_epoch`: the line closes an epoch. `bar`: it is a progress bar.
    `plain`: no library's form, so a guess: it is shown, and nothing is decided by it.
    """

    step: int | None = None
    steps: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    loss: str | None = None
    lr: str | None = None
    loss_scale: str | None = None
    in_epoch: bool = False
    counts_either: bool = False
    ends_epoch: bool = False
    bar: bool = False
    plain: bool = False


def whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) <= 18 else None


def number(text: str | None) -> float | None:
    """A number of a line; None for what is none."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
