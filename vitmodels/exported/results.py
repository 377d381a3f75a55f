"""The answers of an exported model, batch by batch, its accuracy and its latency."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitmodels.accuracy import is_hit
from vitmodels.errors import DataError
from vitmodels.exported.engines import Engine
from vitmodels.exported.latency import Latencies
from vitmodels.exported.prepare import Images, Preparation, Unreadable, preprocess

NAMED = 100  # unreadable files in a summary


@dataclass(frozen=True)
class Prediction:
    """The answer for one image: the five most probable classes and their probabilities."""

    file: str
    label: int
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]
    top1: bool = False  # the label is the first one, by the rule of `accuracy`
    top5: bool = False


@dataclass(frozen=True)
class Answers:
    """One batch: `seconds` is what each image took that has a prediction."""

    predictions: tuple[Prediction, ...]
    unreadable: tuple[Unreadable, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Summary:
    """The whole run. An unreadable image counts as one, and as a miss if it has a label; `unlabelled` images have no score.

    Latencies are milliseconds an image; percentiles are right to a thousandth. `step` and `parameters` are those of
    export.json. `unreadable_files` are the first hundred.
    """

    model: str
    engine: str
    images: int
    unreadable: int
    top1: float | None
    top5: float | None
    latency_mean_ms: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    images_per_s: float
    seconds: float
    step: int | None = None
    parameters: str | None = None
    unlabelled: int = 0
    unreadable_files: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def postprocess(images: Images, indices: list[int], logits: np.ndarray) -> list[Prediction]:
    """The five largest classes of each image. Raises DataError when counts or labels don't fit the logits."""
    if len(logits) != len(indices):
        raise DataError(f"the model got {len(indices)} images and returned {len(logits)} answers")
    if len(images.classes) > logits.shape[1]:
        raise DataError(f"{len(images.classes)} class folders, but the model has {logits.shape[1]} classes")
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    labels = np.array([images.labels[index] for index in indices])
    first_hits, five_hits = (is_hit(logits, labels, k) & (labels >= 0) for k in (1, 5))
    return [
        Prediction(
            images.files[index],
            images.labels[index],
            tuple(int(one) for one in first),
            tuple(round(float(share[one]), 6) for one in first),
            bool(top1),
            bool(top5),
        )
        for index, share, first, top1, top5 in zip(indices, shares, order, first_hits, five_hits, strict=True)
    ]


def infer(engine: Engine, images: Images, how: Preparation, batch: int) -> Iterator[Answers]:
    """The answers, batch by batch; nothing of a batch is kept. Raises DataError when an image gets lost."""
    answered, warm = 0, False
    for indices, pixels, unreadable in preprocess(images, how, batch):
        answered += len(indices) + len(unreadable)
        if not indices:
            yield Answers((), tuple(unreadable))
            continue
        if not warm:
            engine(pixels)  # compiles or allocates; not timed
            warm = True
        begin = time.perf_counter()
        logits = engine(pixels)
        seconds = (time.perf_counter() - begin) / len(indices)
        yield Answers(tuple(postprocess(images, indices, logits)), tuple(unreadable), seconds)
    if answered != len(images.files):
        raise DataError(f"{len(images.files)} images were found, {answered} have an answer")


class Tally:
    """Counts over batches: what a summary needs, in memory that does not grow with the number of images."""

    def __init__(self) -> None:
        self.predictions = self.unreadable = 0
        self.first_unreadable: list[Unreadable] = []
        self._labelled = self._unreadable_labelled = self._top1 = self._top5 = 0
        self._latencies = Latencies()

    def add(self, answers: Answers) -> None:
        """One batch."""
        self.predictions += len(answers.predictions)
        self.unreadable += len(answers.unreadable)
        self.first_unreadable += answers.unreadable[: NAMED - len(self.first_unreadable)]
        self._labelled += sum(one.label >= 0 for one in answers.predictions)
        self._unreadable_labelled += sum(one.label >= 0 for one in answers.unreadable)
        self._top1 += sum(one.top1 for one in answers.predictions)
        self._top5 += sum(one.top5 for one in answers.predictions)
        if answers.predictions:
            self._latencies.add(answers.seconds, len(answers.predictions))

    def summary(
        self,
        model: str,
        engine: str,
        images: Images,
        wall: float,
        *,
        step: int | None = None,
        parameters: str | None = None,
    ) -> Summary:
        """Accuracy over the labelled images, and latencies. Raises DataError without any prediction."""
        if not self.predictions:
            raise DataError("not one image could be read")
        counted = self._labelled + self._unreadable_labelled
        p50, p95, p99 = (round(1000 * self._latencies.percentile(share), 3) for share in (50, 95, 99))
        return Summary(
            model=model,
            engine=engine,
            images=self.predictions + self.unreadable,
            unreadable=self.unreadable,
            top1=self._top1 / counted if self._labelled else None,
            top5=self._top5 / counted if self._labelled else None,
            latency_mean_ms=round(1000 * self._latencies.mean, 3),
            latency_p50_ms=p50,
            latency_p95_ms=p95,
            latency_p99_ms=p99,
            images_per_s=round(1 / self._latencies.mean, 1),
            seconds=round(wall, 3),
            step=step,
            parameters=parameters,
            unlabelled=images.unlabelled,
            unreadable_files=tuple(one.file for one in self.first_unreadable),
            data=images.account.as_dict() if images.account else {"left_out": dict(images.left_out)},
        )


def describe(summary: Summary) -> str:
    """The summary for people."""
    facts = {"images": summary.images, "unreadable": summary.unreadable}
    if summary.unlabelled:
        facts["without label"] = summary.unlabelled
    lines = [f"{key}: {value}" for key, value in facts.items()]
    if summary.top1 is not None and summary.top5 is not None:
        lines.append(f"Top1 acc: {summary.top1:.5f}")
        lines.append(f"Top5 acc: {summary.top5:.5f}")
    lines.append(
        f"latency an image: mean {summary.latency_mean_ms:.3f} ms, p50 {summary.latency_p50_ms:.3f}, "
        f"p95 {summary.latency_p95_ms:.3f}, p99 {summary.latency_p99_ms:.3f}; "
        f"{summary.images_per_s:.1f} images/s with {summary.engine}"
    )
    return "\n".join(lines)
