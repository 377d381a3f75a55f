"""The direction of imports: a module imports only from its own row and the rows above it."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROWS = [
    "errors units findings printable installed",
    "disk devices jobfile",
    "storage ranktable diagnosis",
    "dataset runfolder",
    "plan ranks results",
    "node",
    "backends",
    "runs doctor",
    "submission",
    "api",
    "report",
    "cli",
    "__main__",
]
"""Rooms of launcher/, by row. A room imports from itself and from the rooms of the rows above its own."""

VITMODELS_ROWS = [
    "secrets suggest progress",
    "document",
    "errors",
    "archs policy",
    "validation",
    "config",
    "recipe_keys",
    "recipe_file",
    "program accuracy",
    "digits",
    "device",
    "images nets",
    "exported",
    "training",
    "train evaluate export infer convert",
]
"""Rooms and programs of vitmodels/, likewise."""

PURE_VITMODELS = {
    "vitmodels",
    "vitmodels.archs",
    "vitmodels.config",
    "vitmodels.device.kernels.library",
    "vitmodels.document.problem",
    "vitmodels.document.reader",
    "vitmodels.document.scalars",
    "vitmodels.document.scanner",
    "vitmodels.document.source",
    "vitmodels.document.syntax",
    "vitmodels.document.tree",
    "vitmodels.errors",
    "vitmodels.images.imagenames",
    "vitmodels.policy",
    "vitmodels.recipe_file",
    "vitmodels.recipe_keys",
    "vitmodels.secrets",
    "vitmodels.suggest",
    "vitmodels.validation.check",
    "vitmodels.validation.mistakes",
    "vitmodels.validation.report",
    "vitmodels.validation.rule",
    "vitmodels.validation.schema",
    "vitmodels.validation.terms",
    "vitmodels.validation.wording",
}


@cache
def modules(package: str) -> dict[str, Path]:
    paths = (ROOT / package).rglob("*.py")
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules that a file imports, at its top or inside of functions, as far as they are files of this project."""
    nodes = ast.walk(ast.parse(path.read_text()))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                as_module = ROOT / (f"{node.module}.{alias.name}".replace(".", "/") + ".py")
                found.add(f"{node.module}.{alias.name}" if as_module.exists() else node.module)
    return frozenset(found)


def room_of(module: str) -> str:
    """`launcher.storage.s3.pages` lies in the room `storage`."""
    return module.split(".")[1]


def row_of(room: str, rows: list[str]) -> int:
    found = [i for i, row in enumerate(rows) if room in row.split()]
    assert len(found) == 1, f"{room} stands in {len(found)} rows of this test; give it exactly one"
    return found[0]


def is_forbidden(module: str, imported: str, rows: list[str] = ROWS) -> bool:
    """Whether `module` may not import `imported`: another room of its own row, or a row below."""
    here, there = room_of(module), room_of(imported)
    return here != there and row_of(there, rows) >= row_of(here, rows)


@pytest.mark.parametrize("module", sorted(modules("launcher").keys() - {"launcher"}))
def test_launcher_imports_go_one_way(module: str) -> None:
    found = imports(modules("launcher")[module])
    forbidden = {name for name in found if name.startswith("launcher.") and is_forbidden(module, name)}
    assert not forbidden, f"{module} imports from its own row or one below: {sorted(forbidden)}"


def test_the_rule_on_imports_can_fail() -> None:
    assert is_forbidden("launcher.storage.base", "launcher.runs.view")
    assert is_forbidden("launcher.plan.make", "launcher.ranks.gang")
    assert not is_forbidden("launcher.runs.view", "launcher.storage.base")


@pytest.mark.parametrize("module", sorted(modules("vitmodels").keys() - {"vitmodels"}))
def test_vitmodels_imports_go_one_way(module: str) -> None:
    found = {name for name in imports(modules("vitmodels")[module]) if name.startswith("vitmodels.")}
    forbidden = {name for name in found if is_forbidden(module, name, VITMODELS_ROWS)}
    assert not forbidden, f"{module} imports from its own row or one below: {sorted(forbidden)}"


def test_the_rule_on_imports_of_vitmodels_can_fail() -> None:
    assert is_forbidden("vitmodels.nets.vit", "vitmodels.training.step", VITMODELS_ROWS)
    assert is_forbidden("vitmodels.device.kernels.layers", "vitmodels.nets.layers.linear", VITMODELS_ROWS)
    assert is_forbidden("vitmodels.nets.vit", "vitmodels.images.data", VITMODELS_ROWS)
    assert not is_forbidden("vitmodels.training.step", "vitmodels.nets.pixels", VITMODELS_ROWS)


@pytest.mark.parametrize("module", sorted(modules("launcher")))
def test_launcher_needs_only_the_pure_part_of_vitmodels(module: str) -> None:
    foreign = imports(modules("launcher")[module])
    assert not {name for name in foreign if name.startswith("vitmodels")} - PURE_VITMODELS
    assert not {name for name in foreign if name.split(".")[0] == "mindspore"}


@pytest.mark.parametrize("module", sorted(modules("vitmodels")))
def test_vitmodels_does_not_know_launcher(module: str) -> None:
    assert not {name for name in imports(modules("vitmodels")[module]) if name.split(".")[0] == "launcher"}


def test_the_pure_part_of_vitmodels_loads_without_mindspore() -> None:
    code = f"import sys, {', '.join(sorted(PURE_VITMODELS))}; sys.exit('mindspore' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
