"""The whole text of `submit --dry-run`, compared with golden files; LAUNCHER_GOLDEN=write renews them."""

import os
import re
import sys
from pathlib import Path

import pytest

from launcher.submission.dryrun import dry_run_json, dry_run_text
from launcher.submission.prepare import Prepared, prepare

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The folder where the commands are typed; it has a Python and the script of two_ranks.yaml."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "my_train.py").touch()
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "python").symlink_to(sys.executable)
    return tmp_path / "repo"


def prepared(repo: Path, name: str, *overrides: str) -> Prepared:
    python = repo.parent / "opt" / "python"
    fixed = [f"local.python={python}", "output.work_dir=/work", "output.url=obs://bucket/runs"]
    env = {"HOME": "/home/someone", "LAUNCHER_HOME": "/home/someone/launcher"}
    own = GOLDEN / f"{name}.yaml"
    job = own if own.exists() else ROOT / "jobs" / f"{name}.yaml"
    return prepare(job, overrides=[*fixed, *overrides], env=env, cwd=repo)


def normal(text: str, repo: Path) -> str:
    """Without what differs between machines and moments: the run id, the Python of launcher itself, folders."""
    text = re.sub(r"-\d{8}-\d{6}-[0-9a-f]{4}", "-YYYYMMDD-HHMMSS-XXXX", text)
    text = re.sub(r"\S+ -m launcher\.node", "PYTHON -m launcher.node", text)
    return text.replace(f"{repo.parent}/", "/").replace(f"{ROOT}/", "")


@pytest.mark.parametrize("name", ["tnt_s_8p", "vit_base_1p", "two_ranks"])
def test_the_text_is_the_golden_one(name: str, repo: Path) -> None:
    text = normal(dry_run_text(prepared(repo, name)), repo) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("LAUNCHER_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_notes_are_shown_once(repo: Path) -> None:
    text = dry_run_text(prepared(repo, "vit_base_8p"))
    notes = text.partition("\nnotes\n")[2].partition("\n\n")[0].splitlines()
    assert notes
    assert len(set(notes)) == len(notes)


def test_findings_have_their_rule_and_fix(repo: Path) -> None:
    text = dry_run_text(prepared(repo, "tnt_s_8p", "watch.hang_after=2min"))
    assert "warning PF006 watch.hang_after: silence for 2 min 00 s counts as a hang" in text
    assert "fix: set it to 15 min 00 s or more" in text


def test_an_own_program_keeps_its_whole_recipe(tmp_path: Path, launcher_home: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("epochs: 9\nbatch_size: 2\n")
    job = tmp_path / "job.yaml"
    job.write_text("name: own\nprogram: [a]\nmodel: {config: recipe.yaml, set: {batch_size: 4}}\n")
    assert dry_run_json(prepare(job))["plan"]["recipe"] == {"epochs": 9, "batch_size": 4}
