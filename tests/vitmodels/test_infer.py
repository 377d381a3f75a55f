import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.vitmodels.nets.golden_nets import make_net
from vitmodels.device.runtime import Rank
from vitmodels.errors import DataError, UsageError
from vitmodels.exported.engines import Engine, is_installed, load_exported
from vitmodels.exported.index import entry_of
from vitmodels.exported.prepare import Images, Preparation, find_images, preparation_of, preprocess
from vitmodels.exported.results import Answers, Summary, Tally, describe, infer, postprocess
from vitmodels.exported.write import export_model
from vitmodels.images.classes import Classes
from vitmodels.images.data import MemoryImages, scan_folder
from vitmodels.infer import main
from vitmodels.recipe_file import make_recipe
from vitmodels.training.scoring import score

pytestmark = pytest.mark.system

pytest.importorskip("mindspore")

PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.25], "crop_pct": 1.0, "interpolation": "bicubic"}
CLASSES = ("ant", "bee", "cat")


def fill(root: Path, per_class: int = 3) -> None:
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_model(make_net("vit"), "vit", folder, ("MINDIR", "ONNX"), preprocess=PREPROCESS)
    return folder / "vit.mindir"


def run_program(model: Path, data: Path, out: Path, engine: str = "auto") -> str:
    """What a user sees; a process of its own, because MindSpore sets its device once."""
    command = [sys.executable, "-m", "vitmodels.infer", "--model", str(model), "--data", str(data)]
    command += ["--batch", "4", "--out", str(out), "--engine", engine, "--threads", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def summary_of(engine: Engine, images: Images, how: Preparation, batch: int) -> Summary:
    tally = Tally()
    for answers in infer(engine, images, how, batch):
        tally.add(answers)
    return tally.summary("m", "e", images, 1.0)


def test_whole_program_with_every_engine(model: Path, tmp_path: Path) -> None:
    fill(tmp_path / "data" / "val")
    (tmp_path / "data" / "val" / "bee" / "broken.jpg").write_bytes(b"no image")
    tables = []
    runs = [("auto", model, "mindspore"), ("auto", model.with_suffix(".onnx"), "onnxruntime")]
    if is_installed("openvino"):
        runs.append(("openvino", model.with_suffix(".onnx"), "openvino"))
    for engine, path, used in runs:
        out = tmp_path / used
        printed = run_program(path, tmp_path / "data", out, engine)
        assert f"images/s with {used}" in printed
        assert "Top1 acc: 0." in printed and "images: 10" in printed
        assert "can't read bee/broken.jpg" in printed
        with (out / "predictions.csv").open() as file:
            tables.append([row[:3] for row in csv.reader(file)])
        summary = json.loads((out / "summary.json").read_text())
        assert (summary["images"], summary["unreadable"]) == (10, 1)
        right = sum(row[1] == row[2] for row in tables[-1][1:])
        assert summary["top1"] == pytest.approx(right / 10), "an unreadable image is a miss"
        assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"]
    assert all(table == tables[0] for table in tables)
    assert tables[0][1][:2] == ["ant/0.png", "ant"]


def test_preprocess_formula(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = find_images(tmp_path)
    assert images.labels == (-1,)
    how = Preparation(8, (0.5, 0.4, 0.3), (0.5, 0.5, 0.25), 1.0)
    [(indices, batch, bad)] = list(preprocess(images, how, 4))
    assert (indices, bad, batch.dtype) == ([0], [], np.float32)
    wanted = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.5, 0.25]
    assert np.allclose(batch[0], wanted.transpose(2, 0, 1), atol=1e-6)


def test_top_five_and_probabilities() -> None:
    images = Images(Path(), ("a", "b"), (3, 0), tuple("abcdef"))
    logits = np.array([[0, 1, 2, 3, 4, 5], [9, 0, 0, 0, 0, 0]], np.float32)
    first, second = postprocess(images, [0, 1], logits)
    assert first.classes == (5, 4, 3, 2, 1)
    assert sum(first.probabilities) == pytest.approx(1 - 1 / np.exp(np.arange(6)).sum(), abs=1e-5)
    tally = Tally()
    tally.add(Answers((first,), (), 0.001))
    tally.add(Answers((second,), (), 0.003))
    summary = tally.summary("m", "e", images, 1.0)
    assert (summary.top1, summary.top5) == (0.5, 1.0)
    assert (summary.latency_mean_ms, summary.images_per_s) == (2.0, 500.0)
    assert "Top1 acc: 0.50000" in describe(summary)


def test_counts_must_agree_between_stages(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    images, how = find_images(tmp_path), Preparation(8)
    with pytest.raises(DataError, match="the model got 2 images and returned 1 answers"):
        list(infer(lambda x: np.zeros((1, 3)), images, how, 2))
    with pytest.raises(DataError, match="3 class folders, but the model has 2 classes"):
        list(infer(lambda x: np.zeros((len(x), 2)), images, how, 2))
    with pytest.raises(DataError, match="not one image"):
        Tally().summary("m", "e", images, 1.0)


def test_images_without_labels_have_no_accuracy(model: Path, tmp_path: Path) -> None:
    Image.new("L", (20, 30)).save(tmp_path / "grey.png")
    how = preparation_of(model, None, None)
    summary = summary_of(load_exported(model.with_suffix(".onnx")), find_images(tmp_path), how, 1)
    assert summary.top1 is None and "acc" not in describe(summary)


def test_preparation_from_index_or_recipe(model: Path, tmp_path: Path) -> None:
    assert preparation_of(model, None, None) == Preparation(32, (0.5, 0.4, 0.3), (0.5, 0.5, 0.25), 1.0)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("arch: vit_digits\ncrop_pct: 0.9\ninterpolation: bilinear\n")
    how = preparation_of(model, recipe, None)
    assert (how.side, how.crop_pct, how.interpolation) == (32, 0.9, "bilinear")
    with pytest.raises(UsageError, match="add --config"):
        preparation_of(tmp_path / "other.mindir", None, None)
    assert main(["--model", str(model), "--data", str(tmp_path / "none")]) == 1


@pytest.mark.parametrize("broken", [0, 2])
def test_accuracy_is_counted_as_evaluation_counts(tmp_path: Path, broken: int) -> None:
    """The same answers, with ties and NaN, through both ways of counting."""
    fill(tmp_path, 12)
    for number in range(broken):
        (tmp_path / "bee" / f"{number}.png").write_bytes(b"no image")
    rng = np.random.default_rng(0)
    table = rng.integers(0, 6, (256, 7)).astype(np.float32)
    table[::17, 0] = np.nan

    def answer(sums: np.ndarray) -> np.ndarray:
        return table[sums.astype(np.int64) % 256]

    images = find_images(tmp_path)
    how = Preparation(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)
    engine = lambda x: answer(np.rint(x * 255).sum(axis=(1, 2, 3)))  # noqa: E731
    summary = summary_of(engine, images, how, 5)
    recipe = make_recipe({"arch": "vit_digits", "num_classes": 7, "crop_pct": 1.0})
    source = MemoryImages(scan_folder(tmp_path), recipe, 8, train=False)
    one_rank: Any = SimpleNamespace(rank=Rank(), size=1, sum=lambda counts: counts, settle=lambda: None)
    scored = score(lambda x: answer(x.astype(np.int64).sum(axis=(1, 2, 3))), source, 5, one_rank)
    assert (summary.images, summary.unreadable) == (scored.images, scored.unreadable) == (36, broken)
    assert (summary.top1, summary.top5) == (scored.top1, scored.top5)
    assert 0 < scored.top1 < scored.top5 < 1


def test_labelled_and_unlabelled_images_together(model: Path, tmp_path: Path) -> None:
    fill(tmp_path / "data", 2)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "data" / "alone.png")
    (tmp_path / "data" / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "data" / "ant" / "sub").mkdir()
    (tmp_path / "data" / "ant" / "0.png").rename(tmp_path / "data" / "ant" / "sub" / "0.jfif")
    (tmp_path / "data" / "readme.txt").write_text("words")
    printed = run_program(model, tmp_path / "data", tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = {row[0]: row[1] for row in list(csv.reader(file))[1:]}
    assert rows == {
        "alone.png": "",
        "ant/1.png": "ant",
        "ant/sub/0.jfif": "ant",
        **{f"{name}/{number}.png": name for name in ("bee", "cat") for number in (0, 1)},
    }
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["unlabelled"], summary["unreadable"]) == (8, 2, 1)
    assert summary["unreadable_files"] == ["bad.jpg"]
    assert summary["top1"] * 6 == pytest.approx(round(summary["top1"] * 6)), "of the six labelled images"
    assert summary["data"]["left_out"] == {"outside of class folders": 1}
    assert (
        "data: 6 images of 3 classes, 1 of them in sub-folders; left out: 1 outside of class folders"
        in printed
    )
    assert "can't read bad.jpg: no image format that Pillow knows" in printed


def test_the_classes_of_the_model_label_the_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["cat", "ant", "dog", *(f"x{number}" for number in range(7))]
    about = {"num_classes": 10, "classes": names, "class_order": "text"}
    net = make_net("vit", num_classes=10)
    [onnx] = export_model(net, "vit", tmp_path / "export", ("ONNX",), preprocess=PREPROCESS, about=about)
    alone = tmp_path / "alone.onnx"  # without export.json: the file itself knows them
    alone.write_bytes((tmp_path / "export" / onnx.name).read_bytes())
    fill(tmp_path / "data", 1)
    for path in (tmp_path / "export" / onnx.name, alone):
        known = Classes.from_dict(entry_of(path))
        assert known.names == tuple(names)
        images = find_images(tmp_path / "data", known, 10)
        assert dict(zip(images.files, images.labels, strict=True)) == {
            "ant/0.png": 1,
            "bee/0.png": -1,
            "cat/0.png": 0,
        }
        assert images.account is not None
        assert images.account.matching.unknown == ("bee",)
        assert preparation_of(path, None, None).side == 32
        with pytest.raises(UsageError, match="takes images of 32 x 32 pixels, not 48 x 48"):
            preparation_of(path, None, 48)
    words = ["--model", str(alone), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main([*words, "--image-size", "48"]) == 2
    assert main([*words, "--strict"]) == 1
    assert not (tmp_path / "out").exists()
    assert "that the net does not know: bee; their images have no label" in capsys.readouterr().err


def test_folders_named_like_images_are_no_images(tmp_path: Path) -> None:
    fill(tmp_path / "data", 1)
    (tmp_path / "data" / "ant" / "more.jpg").mkdir()
    assert len(find_images(tmp_path / "data").files) == 3
    flat = tmp_path / "flat"
    (flat / "x.jpg").mkdir(parents=True)
    Image.new("L", (20, 30)).save(flat / "y.png")
    assert find_images(flat).files == ("y.png",)


def test_a_folder_for_results_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    fill(tmp_path / "data", 1)
    (tmp_path / "file").write_text("in the way")
    arguments = ["--model", str(model), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "file")]
    assert main(arguments) == 2
