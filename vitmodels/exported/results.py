"""The answers of an exported model, its accuracy and latency, and the files that hold them."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.accuracy import is_hit
from vitmodels.errors import DataError
from vitmodels.exported.engines import Engine
from vitmodels.exported.prepare import Images, Preparation, Unreadable, preprocess
from vitmodels.progress import write_atomic, write_json


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
class Summary:
    """The whole run. An unreadable image counts as one, and as a miss if it has a label; `unlabelled` images have no score.

    Latencies are milliseconds an image, of batches after the first. `step` and `parameters` are those of export.json.
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


def infer(
    engine: Engine, images: Images, how: Preparation, batch: int
) -> tuple[list[Prediction], list[Unreadable], list[float]]:
    """Every prediction, the files that can't be read, and the seconds an image of each batch after the first."""
    predictions: list[Prediction] = []
    unreadable: list[Unreadable] = []
    seconds: list[float] = []
    warm = False
    for indices, pixels, bad in preprocess(images, how, batch):
        unreadable += bad
        if not indices:
            continue
        if not warm:
            engine(pixels)  # compiles or allocates; not timed
            warm = True
        begin = time.perf_counter()
        logits = engine(pixels)
        seconds += [(time.perf_counter() - begin) / len(indices)] * len(indices)
        predictions += postprocess(images, indices, logits)
    if len(predictions) + len(unreadable) != len(images.files):
        raise DataError(f"{len(images.files)} images were found, {len(predictions)} have a prediction")
    return predictions, unreadable, seconds


def summarise(
    model: str,
    engine: str,
    predictions: list[Prediction],
    unreadable: int,
    seconds: list[float],
    wall: float,
    *,
    step: int | None = None,
    parameters: str | None = None,
    bad: Sequence[Unreadable] = (),
    images: Images | None = None,
) -> Summary:
    """Accuracy over the labelled images, and latencies; `unreadable` images have labels, unless `bad` says otherwise.

    Raises DataError without any prediction.
    """
    if not predictions:
        raise DataError("not one image could be read")
    labelled = [one for one in predictions if one.label >= 0]
    counted = len(labelled) + (sum(one.label >= 0 for one in bad) if bad else unreadable)
    top1 = sum(one.top1 for one in labelled) / counted if labelled else None
    top5 = sum(one.top5 for one in labelled) / counted if labelled else None
    return Summary(
        model,
        engine,
        len(predictions) + unreadable,
        unreadable,
        top1,
        top5,
        *_latencies(seconds),
        round(wall, 3),
        step,
        parameters,
        images.unlabelled if images else 0,
        tuple(one.file for one in bad),
        _left_out(images) if images else {},
    )


def _left_out(images: Images) -> dict[str, Any]:
    return images.account.as_dict() if images.account else {"left_out": dict(images.left_out)}


def _latencies(seconds: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Mean, p50, p95 and p99 in ms, and images per second."""
    times = np.array(seconds) * 1000
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(times, (50, 95, 99)))
    return round(float(times.mean()), 3), p50, p95, p99, round(1000 / float(times.mean()), 1)


def write_results(
    out: Path, predictions: list[Prediction], classes: tuple[str, ...], summary: Summary
) -> None:
    """predictions.csv (one line an image) and summary.json."""

    def name(index: int) -> str:
        return classes[index] if 0 <= index < len(classes) else ("" if index < 0 else str(index))

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "predicted", "probability", "top5"])
    for one in predictions:
        five = " ".join(name(index) for index in one.classes)
        writer.writerow([one.file, name(one.label), name(one.classes[0]), one.probabilities[0], five])
    write_atomic(out / "predictions.csv", text.getvalue())
    write_json(out / "summary.json", asdict(summary))


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
