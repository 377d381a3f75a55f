"""The table and the plot of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vitmodels.training.curves import write_csv, write_plot

ROWS = [
    {
        "epoch": 1,
        "step": 5,
        "loss": 2.0,
        "lr": 0.1,
        "top1": None,
        "top5": None,
        "images_per_s": 3.0,
        "seconds": 1.0,
    },
    {
        "epoch": 2,
        "step": 10,
        "loss": "nan",
        "lr": 0.05,
        "top1": 0.5,
        "top5": 0.9,
        "images_per_s": 3.0,
        "seconds": 1.0,
    },
]


def test_the_table_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    write_csv(ROWS, tmp_path / "metrics.csv")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,step,loss,lr,top1,top5,images_per_s,seconds"
    assert lines[1] == "1,5,2.0,0.1,,,3.0,1.0"
    assert lines[2] == "2,10,nan,0.05,0.5,0.9,3.0,1.0"


@pytest.mark.system
def test_the_plot_is_a_picture_of_any_history(tmp_path: Path) -> None:
    for rows in (ROWS, [], ROWS[:1], [{**ROWS[0], "epoch": n} for n in range(200)]):
        write_plot(rows, tmp_path / "curves.png", "a run")
        with Image.open(tmp_path / "curves.png") as image:
            assert image.format == "PNG"
            assert image.size[0] > 800
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
