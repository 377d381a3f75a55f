"""The documentation names what exists: rooms, files, modules and links."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import tomllib

import launcher
from tests.test_architecture import ROWS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "rank_tables").glob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
FOLDERS = "launcher|vitmodels|tests|docs|jobs|rank_tables|benchmarks"
PATH = re.compile(rf"(?<![\w./:-])((?:{FOLDERS})/[\w./*-]*[\w*]|\.ci/[\w-]+)")
MODULE = re.compile(r"(?<![\w./-])((?:launcher|vitmodels|benchmarks)(?:\.[a-z_0-9]+)+)(?![\w/])")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
MADE = {"tests/launcher/ROOM"}
"""Paths on a page that stand for others."""


def missing_paths(text: str) -> set[str]:
    return {path for path in PATH.findall(text) if path not in MADE and not list(ROOT.glob(path))}


def missing_modules(text: str) -> set[str]:
    """Dotted names that are neither a module nor a name of one."""
    return {name for name in MODULE.findall(text) if not _exists(name)}


def _exists(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    if (ROOT / name.replace(".", "/")).is_dir() or (ROOT / f"{name.replace('.', '/')}.py").exists():
        return True
    source = importlib.util.find_spec(parent) if parent else None
    return source is not None and source.origin is not None and last in Path(source.origin).read_text()


def missing_links(page: Path, text: str) -> set[str]:
    return {link for link in LINK.findall(text) if not (page.parent / link).exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert missing_links(page, text) == set()
    if page.name != "CHANGELOG.md":  # it names what is gone, too
        assert missing_paths(text) | missing_modules(text) == set()


def test_a_wrong_name_on_a_page_is_found() -> None:
    text = (
        "`launcher/storage/pages.py`, launcher.storage.pages, [x](nowhere.md#y), launcher/storage/s3/pages.py"
    )
    assert missing_paths(text) == {"launcher/storage/pages.py"}
    assert missing_modules(text) == {"launcher.storage.pages"}
    assert missing_links(ROOT / "README.md", text) == {"nowhere.md"}


def test_the_map_of_the_documentation_names_every_page() -> None:
    text = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in PAGES if page.name not in text] == []


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    source = (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text()
    assert f'__version__ = "{launcher.__version__}"' in source
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {launcher.__version__} - " in changes


def test_every_room_of_the_launcher_is_described() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = [path for path in (ROOT / "launcher").glob("*.py") if not path.name.startswith("_")]
    rooms = [path.parent for path in (ROOT / "launcher").glob("*/__init__.py")]
    assert [path.stem for path in [*modules, *rooms] if f"\n| `{path.stem}` |" not in text] == []


def test_the_rows_of_the_rooms_are_those_of_the_architecture_test() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| \d+ \| (.*) \|$", text, re.MULTILINE)]
    assert [room for row in rows for room in row] == " ".join(ROWS).removesuffix(" __main__").split()


@pytest.mark.parametrize(
    "room", sorted((ROOT / "launcher").glob("*/__init__.py")), ids=lambda path: path.parent.name
)
def test_a_room_says_what_it_is_for(room: Path) -> None:
    summary = ast.get_docstring(ast.parse(room.read_text())) or ""
    assert len(summary) > 40
    assert "See docs" not in summary
