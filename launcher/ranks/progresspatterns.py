"""The forms in which well-known libraries print how far a training is. Pure: one line in, what it tells out.

Each form is tried only on lines that hold its word, and every pattern takes linear time (`launcher.jobfile.linear`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from launcher.ranks.plainlines import read_plain_line
from launcher.ranks.sighting import COUNT, MOST, VALUE, Sighting, number, whole


@dataclass(frozen=True, slots=True)
class Form:
    """One form of line. Groups have the names of the fields of `Sighting`."""

    name: str
    word: str
    pattern: re.Pattern[str]
    in_epoch: bool = False
    ends_epoch: bool = False

    def read(self, line: str) -> Sighting | None:
        if self.word not in line or not (match := self.pattern.search(line)):
            return None
        found = match.groupdict()
        return Sighting(
            step=whole(found.get("step")),
            steps=whole(found.get("steps")),
            epoch=whole(found.get("epoch")),
            epochs=whole(found.get("epochs")),
            loss=found.get("loss"),
            lr=found.get("lr"),
            loss_scale=found.get("scale"),
            in_epoch=self.in_epoch,
            ends_epoch=self.ends_epoch,
        )


def _named(pattern: str) -> re.Pattern[str]:
    """`<step>` stands for a counted group of that name, `<loss=>` for one with a value; blanks for any number of blanks."""
    pattern = re.sub(r"<(\w+)=>", lambda m: f"(?P<{m[1]}>{VALUE[1:]}", pattern)
    pattern = re.sub(r"(?<!\?P)<(\w+)>", lambda m: f"(?P<{m[1]}>{COUNT[1:]}", pattern)
    return re.compile(pattern.replace(" ", "[ ]{0,9}"))


FORMS = (
    Form("LossMonitor", "loss is", _named(r"epoch: <epoch> step: <step>, loss is \[?<loss=>"), in_epoch=True),
    Form(
        "MindFormers",
        "step:[",
        _named(r"Epoch: \[ <epoch>/ <epochs>\], step: \[ <step>/ <steps>\], loss: \[? <loss=>"),
        in_epoch=True,
    ),
    Form(
        "MindCV",
        "batch: [",
        _named(r"Epoch: \[ <epoch>/ <epochs>\], batch: \[ <step>/ <steps>\], loss: <loss=>, lr: <lr=>"),
        in_epoch=True,
    ),
    Form(
        "TimeMonitor",
        "poch time:",
        _named(r"[Ee]poch time: <took=> ms, per step time: <each=> ms"),
        ends_epoch=True,
    ),
)
"""One pattern each for lines of one shape; bars and dictionaries follow below."""
_LR = re.compile(rf"\blr: ?\[?{VALUE}")
_SCALE = re.compile(rf"loss_scale: ?\[?{VALUE}")
_DICT_VALUE = re.compile(rf"'(loss|learning_rate|epoch)': '?{VALUE}")
_BAR = re.compile(rf"[0-9]%\|[^|]{{0,400}}\| {{0,9}}{COUNT}/{COUNT} \[")
_OPEN_BAR = re.compile(rf"(?:^|: ){COUNT}[a-z]{{2,9}} \[")
_BAR_LOSS = re.compile(rf"(?:\b|_)loss(?:_step)?[=:] {{0,3}}{VALUE}")
_BAR_EPOCH = re.compile(rf"[Ee]poch[ :]{{0,3}}\[?{COUNT}(?:/{COUNT})?")
_NOT_TRAINING = re.compile(
    r"(?i)valid|eval|test|sanity|download|load|upload|map|filter|generat|predict|infer|token|extract|prepar|[KMGkMG]i?B/s|\bB/s|examples/s"
)


def read_line(line: str) -> Sighting | None:
    """What a line of a well-known library, or of a plain loop, tells; None for any other line."""
    if ("%|" in line or "/s" in line or "s/it" in line) and (found := _bar(line)):
        return found
    if "'loss'" in line:
        return _dictionary(line)
    for form in FORMS:
        if found := form.read(line):
            return _with_rates(found, line)
    return read_plain_line(line)


def _with_rates(found: Sighting, line: str) -> Sighting | None:
    if found.ends_epoch:
        return None if "Eval epoch" in line else replace(found, steps=_steps_of(line))
    lr, scale = _LR.search(line), _SCALE.search(line)
    return replace(found, lr=found.lr or (lr[1] if lr else None), loss_scale=scale[1] if scale else None)


def _steps_of(line: str) -> int | None:
    """The steps of an epoch: its time by that of one step."""
    match = FORMS[-1].pattern.search(line)
    took, each = (number(match[name]) for name in ("took", "each")) if match else (None, None)
    steps = took / each if took and each else math.nan
    return round(steps) if 0 < steps < MOST else None


def _bar(line: str) -> Sighting | None:
    match = _BAR.search(line) or _OPEN_BAR.search(line)
    if not match:
        return None
    closed = match.re is _BAR
    before = line[: match.start()]
    rates, _, values = line[match.end() : match.end() + 400].partition("]")[0].partition("/s")
    if _NOT_TRAINING.search(before) or _NOT_TRAINING.search(f"{rates[-12:]}/s"):
        return None
    loss, epoch = _BAR_LOSS.search(values or rates), _BAR_EPOCH.search(before)
    return Sighting(
        step=int(match[1]),
        steps=int(match[2]) if closed else None,
        epoch=int(epoch[1]) if epoch else None,
        epochs=whole(epoch[2]) if epoch else None,
        loss=loss[1] if loss else None,
        in_epoch=epoch is not None,
        bar=True,
    )


def _dictionary(line: str) -> Sighting | None:
    found = dict(_DICT_VALUE.findall(line))
    if "loss" not in found:
        return None
    return Sighting(loss=found["loss"], lr=found.get("learning_rate"), epoch=number(found.get("epoch")))
