"""Run an exported model over a folder of images: preprocess, infer, postprocess.

    python -m vitmodels.infer --model export/tnt_s_patch16_224.mindir --data DIR

DIR holds class folders (or val/ with them; the label is the position of the folder's name in sorted order), or
images without labels. How images are prepared comes from the export.json beside the model, or from a recipe.
Each stage checks the counts of the one before. Results: predictions.csv and summary.json in --out.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.engines import ENGINES, Predict, load_exported
from vitmodels.errors import DataError, UsageError


@dataclass(frozen=True)
class Preparation:
    """How an image file becomes the model's input."""

    side: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    crop_pct: float = 0.875
    interpolation: str = "bicubic"


@dataclass(frozen=True)
class Images:
    """Files to run, and the label of each (-1: unknown)."""

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    """What the model said of one image; `classes` are its first five, `probabilities` theirs."""

    file: str
    label: int
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """The whole run. Latencies are milliseconds an image, of batches after the first."""

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


def find_images(data: Path) -> Images:
    """Class folders under `data` or `data/val`, else the images in `data` itself. Raises DataError."""
    from vitmodels.images.data import scan_folder
    from vitmodels.images.imagenames import EXTENSIONS

    if not data.is_dir():
        raise DataError(f"{data} is not a folder")
    root = data / "val" if (data / "val").is_dir() else data
    flat = sorted(path.name for path in root.iterdir() if path.suffix.lower() in EXTENSIONS)
    if flat:
        return Images(root, tuple(flat), (-1,) * len(flat), ())
    found = scan_folder(root)
    return Images(root, found.files, tuple(int(label) for label in found.labels), found.classes)


def preparation_of(model: Path, recipe_path: Path | None, image_size: int | None) -> Preparation:
    """From the recipe if one is named, else from the export.json beside the model. Raises UsageError."""
    from vitmodels.export import read_index

    if recipe_path is not None:
        from vitmodels.recipe_file import load_recipe

        recipe = load_recipe(recipe_path)
        return Preparation(
            image_size or recipe.side, recipe.mean, recipe.std, recipe.crop_pct, recipe.interpolation
        )
    entry = next((one for one in read_index(model.parent) if one.get("name") == model.name), None)
    if entry is None or "preprocess" not in entry:
        raise UsageError(f"nothing says how images are prepared for {model.name}", hint="add --config RECIPE")
    known = entry["preprocess"]
    side = image_size or int(entry["input_shape"][2])
    return Preparation(
        side, tuple(known["mean"]), tuple(known["std"]), known["crop_pct"], known["interpolation"]
    )


def preprocess(
    images: Images, how: Preparation, batch: int
) -> Iterator[tuple[list[int], np.ndarray, list[str]]]:
    """Batches of (indices of readable images, float32 (B, 3, H, W), files that can't be read)."""
    from vitmodels.images.data import decode, eval_transform

    mean = np.array(how.mean, np.float32).reshape(3, 1, 1)
    std = np.array(how.std, np.float32).reshape(3, 1, 1)
    for begin in range(0, len(images.files), batch):
        indices, pixels, unreadable = [], [], []
        for index in range(begin, min(begin + batch, len(images.files))):
            try:
                image = decode(images.root / images.files[index])
                array = eval_transform(image, how.side, how.crop_pct, how.interpolation)
            except (OSError, ValueError, SyntaxError):
                unreadable.append(images.files[index])
                continue
            indices.append(index)
            pixels.append((array.transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std)
        if len(indices) + len(unreadable) != min(batch, len(images.files) - begin):
            raise DataError("preprocessing lost images")
        yield indices, np.stack(pixels) if pixels else np.empty((0,)), unreadable


def postprocess(images: Images, indices: list[int], logits: np.ndarray) -> list[Prediction]:
    """The five largest classes of each image. Raises DataError when counts or labels don't fit the logits."""
    if len(logits) != len(indices):
        raise DataError(f"{len(indices)} images went into the model and {len(logits)} answers came out")
    if images.classes and len(images.classes) > logits.shape[1]:
        raise DataError(f"{len(images.classes)} class folders, but the model knows {logits.shape[1]} classes")
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    return [
        Prediction(
            images.files[index],
            images.labels[index],
            tuple(int(one) for one in first),
            tuple(round(float(share[one]), 6) for one in first),
        )
        for index, share, first in zip(indices, shares, order, strict=True)
    ]


def infer(
    predict: Predict, images: Images, how: Preparation, batch: int
) -> tuple[list[Prediction], list[str], list[float]]:
    """Every prediction, the files that can't be read, and the seconds an image of each batch after the first."""
    predictions: list[Prediction] = []
    unreadable: list[str] = []
    seconds: list[float] = []
    warm = False
    for indices, pixels, bad in preprocess(images, how, batch):
        unreadable += bad
        if not indices:
            continue
        if not warm:
            predict(pixels)  # compiles or allocates; not timed
            warm = True
        begin = time.perf_counter()
        logits = predict(pixels)
        seconds += [(time.perf_counter() - begin) / len(indices)] * len(indices)
        predictions += postprocess(images, indices, logits)
    if len(predictions) + len(unreadable) != len(images.files):
        raise DataError(f"{len(images.files)} images were found, {len(predictions)} have a prediction")
    return predictions, unreadable, seconds


def summarise(
    model: str, engine: str, predictions: list[Prediction], unreadable: int, seconds: list[float], wall: float
) -> Summary:
    """Accuracy over the labelled images, and latencies. Raises DataError without any prediction."""
    if not predictions:
        raise DataError("not one image could be read")
    labelled = [one for one in predictions if one.label >= 0]
    top1 = sum(one.classes[0] == one.label for one in labelled) / len(labelled) if labelled else None
    top5 = sum(one.label in one.classes for one in labelled) / len(labelled) if labelled else None
    times = np.array(seconds) * 1000
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(times, (50, 95, 99)))
    return Summary(
        model,
        engine,
        len(predictions),
        unreadable,
        top1,
        top5,
        round(float(times.mean()), 3),
        p50,
        p95,
        p99,
        round(1000 / float(times.mean()), 1),
        round(wall, 3),
    )


def write_results(
    out: Path, predictions: list[Prediction], classes: tuple[str, ...], summary: Summary
) -> None:
    """predictions.csv (one line an image) and summary.json."""
    from vitmodels.progress import write_atomic, write_json

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


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.infer", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", required=True, type=Path, help="a .mindir or .onnx file")
    parser.add_argument("--data", required=True, type=Path, help="folder of class folders, or of images")
    parser.add_argument(
        "--config", type=Path, metavar="RECIPE", help="recipe that says how images are prepared"
    )
    parser.add_argument("--image-size", type=int, help="side of the input (default: the model's)")
    parser.add_argument("--engine", choices=ENGINES, default="", help="default: by the file's suffix")
    parser.add_argument(
        "--device", choices=("cpu", "ascend"), help="default: Ascend when there is one, else CPU"
    )
    parser.add_argument("--batch", type=int, default=1, help="images a call (default: 1, for latency)")
    parser.add_argument("--out", type=Path, default=Path("infer"), help="folder for results (default: infer)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    from vitmodels.device.runtime import quiet
    from vitmodels.program import finish

    quiet()
    args = make_parser().parse_args(argv)
    return finish(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from vitmodels.program import say

    if args.batch < 1:
        raise UsageError(f"--batch {args.batch} is not a positive number")
    how = preparation_of(args.model, args.config, args.image_size)
    images = find_images(args.data)
    predict, engine = _open_model(args)
    begin = time.monotonic()
    predictions, unreadable, seconds = infer(predict, images, how, args.batch)
    wall = time.monotonic() - begin
    summary = summarise(args.model.name, engine, predictions, len(unreadable), seconds, wall)
    args.out.mkdir(parents=True, exist_ok=True)
    write_results(args.out, predictions, images.classes, summary)
    for file in unreadable[:5]:
        say(f"can't read {file}")
    say(describe(summary))
    say(f"predictions in {args.out / 'predictions.csv'}")
    return 0


def _open_model(args: argparse.Namespace) -> tuple[Predict, str]:
    engine = args.engine or ("onnxruntime" if args.model.suffix == ".onnx" else "mindspore")
    device = args.device or "cpu"
    if engine == "mindspore":
        from vitmodels.device.runtime import Group, Rank, pick_device

        target = pick_device(args.device, None)
        Group(Rank(device_id=int(os.environ.get("DEVICE_ID") or 0)), target)
    return load_exported(args.model, engine, device), engine


def describe(summary: Summary) -> str:
    """The summary for people."""
    facts: dict[str, Any] = {"images": summary.images, "unreadable": summary.unreadable}
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


if __name__ == "__main__":
    sys.exit(main())
