"""Lines that training loops written by hand print: a count of epochs or steps, and a loss. Pure: one line in, what it tells out.

`Epoch [1/10], Step [100/600], Loss: 0.24`; `Train Epoch: 1 [640/60000 (1%)] Loss: 2.3`; `step 10/50 loss=1.3 lr=0.1`;
`iter 10: loss 3.2`; `Epoch 1/3 - loss: 0.4 - val_loss: 0.5`. A line without both, or one of an evaluation, tells nothing.
"""

from __future__ import annotations

import re

from launcher.ranks.sighting import COUNT, VALUE, Sighting, whole

_OF = rf"(?: ?(?:/|of) ?{COUNT})?"
_EPOCH = re.compile(rf"(?i)\b(?:epochs?|train)[ :=\[]{{0,4}}{COUNT}\b{_OF}")
_STEP = re.compile(
    rf"(?i)\b(?:global_?step|steps?|iter(?:ation)?s?|batch(?:es)?)[ :=#\[]{{0,4}}{COUNT}\b{_OF}"
)
_BRACKET = re.compile(rf"\]? ?\[ ?{COUNT} ?/ ?{COUNT}")
"""Right behind the epoch: `[640/60000`."""
_TENSOR = r"(?:tensor\(|Tensor\(shape=\[\], dtype=[A-Za-z0-9]{1,12}, value= ?)?"
"""How torch and MindSpore print a scalar that was not turned into a number."""
_LOSS = re.compile(rf"(?i)(?:\b([a-z]{{1,20}}) )?\bloss\b[ :=]{{0,4}}(?:is )?\[?{_TENSOR}{VALUE}")
_LR = re.compile(rf"(?i)\b(?:lr|learning[ _]rate)\b[ :=]{{1,3}}\[?{VALUE}")
_OTHER = re.compile(r"(?i)\b(?:val|valid|validation|eval|evaluation|test|testing|dev|best)\b")
_BEFORE_COUNT = 60


def read_plain_line(line: str) -> Sighting | None:
    """None for a line without a count and a training loss."""
    if "oss" not in line and "OSS" not in line:
        return None
    line = " ".join(line.replace("_loss", " loss").split())
    loss = next((m[2] for m in _LOSS.finditer(line) if not _OTHER.match(m[1] or "")), None)
    epoch, step = _EPOCH.search(line), _STEP.search(line)
    first = epoch or step
    if (
        loss is None
        or first is None
        or _OTHER.search(line[max(0, first.start() - _BEFORE_COUNT) : first.start()])
    ):
        return None
    if step is None and epoch is not None:
        step = _BRACKET.match(line, epoch.end())
    lr = _LR.search(line)
    return Sighting(
        step=whole(step[1]) if step else None,
        steps=whole(step[2]) if step else None,
        epoch=whole(epoch[1]) if epoch else None,
        epochs=whole(epoch[2]) if epoch else None,
        loss=loss,
        lr=lr[1] if lr else None,
        in_epoch=bool(epoch and step),
        counts_either=bool(epoch and step),
        plain=True,
    )
