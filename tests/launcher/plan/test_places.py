"""Which places outside of the working folder a program names, and which of them it seems to write to."""

from pathlib import Path

import pytest

from launcher.plan.places import NamedPlace, Naming

SCRIPT = """
import argparse, os
p = argparse.ArgumentParser()
p.add_argument('--save-dir', default='/disk/saved')
p.add_argument('--data-dir', default='/disk/images')
CKPT = '/disk/ckpt'
ModelCheckpoint(directory='/disk/monitored')
name = f'/disk/nets/net-{CKPT}.ckpt'
other = CKPT + '/no/place'
above = '../weights'
home = os.path.expanduser('~/ckpt')
os.environ['PLACE']
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def named(folder: Path, *words: str, around: dict[str, str] | None = None, **env: str) -> dict[str, bool]:
    """The places, and whether the program seems to write there."""
    found = {}
    naming = Naming(("python", *words), folder, env, {"HOME": "/disk/me", **(around or {})})
    for each in naming.places():
        if (path := each.path(folder, naming.variables)) and path != folder:
            found[str(path)] = found.get(str(path), False) or each.is_written(path, here=True)
    return found


@pytest.mark.parametrize(
    ("words", "place", "written"),
    [
        (["--output-dir", "/disk/ckpt"], "/disk/ckpt", True),
        (["--out=/disk/x"], "/disk/x", True),
        (["hydra.run_dir=/disk/x", "trainer.outputDir=/disk/y"], "/disk/y", True),
        (["-c", "train --ckpt-dir /disk/ckpt && date"], "/disk/ckpt", True),
        (["--data_dir", "/disk/images"], "/disk/images", False),
        (["--resume", "/disk/ckpt/last.ckpt"], "/disk/ckpt/last.ckpt", False),
        (["--pretrained-weights", "/disk/vit"], "/disk/vit", False),
        (["/output/net.ckpt"], "/output/net.ckpt", True),
    ],
)
def test_words(folder: Path, words: list[str], place: str, written: bool) -> None:
    assert named(folder, *words)[place] is written


def test_what_is_no_place(folder: Path) -> None:
    assert (
        named(folder, "--out", "./ckpt", "--log=/dev/null", "ckpt", "{run_dir}/x", "http://host/out/x") == {}
    )


def test_relative_words_and_variables(folder: Path) -> None:
    (folder.parent / "conf").mkdir()
    found = named(
        folder, "--out", "../weights", "--config", "../conf", CKPT_DIR="/disk/a", PYTHONPATH="/disk/lib"
    )
    above = folder.parent
    assert found == {
        str(above / "weights"): True,
        str(above / "conf"): False,
        "/disk/a": True,
        "/disk/lib": False,
    }
    assert str(NamedPlace("$PLACE/x", "train.py")) == "$PLACE/x (train.py)"
    assert NamedPlace("/disk/hub", "env.TORCH_HOME", "TORCH_HOME").is_of_tools


def test_a_script_and_what_it_imports(folder: Path) -> None:
    (folder / "train.py").write_text("import helper\n")
    (folder / "helper.py").write_text(SCRIPT)
    found = named(folder, "train.py", around={"PLACE": "/disk/place", "OTHER": "/disk/other"})
    assert found == {
        "/disk/saved": True,
        "/disk/images": False,
        "/disk/ckpt": True,
        "/disk/monitored": True,
        "/disk/nets/net-": False,
        str(folder.parent / "weights"): True,
        "/disk/me/ckpt": False,
        "/disk/place": False,
    }


def test_settings_files_and_shell_scripts(folder: Path) -> None:
    (folder / "run.sh").write_text(
        "OUT=/disk/a\npython train.py --save_dir /disk/b --data $X/c # http://host/d\n"
    )
    (folder / "conf.yaml").write_text("output_dir: /disk/e\ndata: {path: '/disk/f'}\n")
    (folder / "conf.json").write_text('{"ckpt": "/disk/g", "lr": 1}')
    found = named(folder, "run.sh", "--config=conf.yaml", "conf.json")
    assert found == {"/disk/a": True, "/disk/b": True, "/disk/e": True, "/disk/f": False, "/disk/g": True}


def test_variables_and_what_a_shell_script_starts(folder: Path) -> None:
    (folder / "deep.py").write_text("import os\nOUT = os.path.expandvars('${DISK}/a')\n")
    (folder / "run.sh").write_text("python deep.py --out $DISK/b --log $UNKNOWN/c\n")
    found = {}
    for words in (("bash", "run.sh"), ("sh", "-c", "python deep.py && cp x $DISK/d")):
        for each in Naming(words, folder, {"DISK": "/disk"}, {}).places():
            if path := each.path(folder, {"DISK": "/disk"}):
                found[str(path)] = each.where
    assert found == {"/disk": "env.DISK", "/disk/a": "deep.py", "/disk/b": "run.sh", "/disk/d": "program"}


def test_a_long_line_is_read_in_linear_time(folder: Path) -> None:
    for text in ("a" * 300_000, " " * 300_000, "/" * 300_000, "a=" * 150_000):
        (folder / "conf.yaml").write_text(text)
        assert named(folder, "conf.yaml") == {}
