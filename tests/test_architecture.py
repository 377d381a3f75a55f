"""The direction of imports: a module imports only from its own row and the rows above it."""

import ast
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

ROWS = [
    "errors units clock threads findings printable jsontext installed portable imagecheck",
    "disk devices jobfile",
    "storage ranktable diagnosis",
    "dataset runfolder",
    "snapshot",
    "advice plan ranks results",
    "notify tracking",
    "node",
    "backends",
    "runs doctor",
    "submission",
    "api",
    "report export proof",
    "dashboard",
    "cli",
    "__main__",
]
"""Rooms of launcher/, by row. A room imports from itself and from the rooms of the rows above its own."""

VITMODELS_ROWS = [
    "secrets suggest progress digest",
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
    "proofs",
    "train evaluate export infer convert warmup",
    "prove",
]
"""Rooms and programs of vitmodels/, likewise."""

PURE_VITMODELS = {
    "vitmodels",
    "vitmodels.archs",
    "vitmodels.config",
    "vitmodels.device.kernels.library",
    "vitmodels.digest",
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


def imports_of(package: str, wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Each module of a package with each module that it imports and that is wanted."""
    return [
        (module, name)
        for module, path in sorted(modules(package).items())
        for name in sorted(imports(path))
        if wanted(name)
    ]


def against_the_rows(package: str, rows: list[str]) -> list[str]:
    """Imports of a package from a row that may not be used."""
    for module in modules(package).keys() - {package}:
        row_of(room_of(module), rows)
    pairs = imports_of(package, lambda name: name.startswith(f"{package}."))
    return [
        f"{module} imports {name}"
        for module, name in pairs
        if module != package and is_forbidden(module, name, rows)
    ]


def test_launcher_imports_go_one_way() -> None:
    found = against_the_rows("launcher", ROWS)
    assert not found, "from the own row or one below:\n" + "\n".join(found)


def test_the_rule_on_imports_can_fail() -> None:
    assert is_forbidden("launcher.storage.base", "launcher.runs.view")
    assert is_forbidden("launcher.plan.make", "launcher.ranks.gang")
    assert not is_forbidden("launcher.runs.view", "launcher.storage.base")


def test_vitmodels_imports_go_one_way() -> None:
    found = against_the_rows("vitmodels", VITMODELS_ROWS)
    assert not found, "from the own row or one below:\n" + "\n".join(found)


def test_the_rule_on_imports_of_vitmodels_can_fail() -> None:
    assert is_forbidden("vitmodels.nets.vit", "vitmodels.training.step", VITMODELS_ROWS)
    assert is_forbidden("vitmodels.device.kernels.layers", "vitmodels.nets.layers.linear", VITMODELS_ROWS)
    assert is_forbidden("vitmodels.nets.vit", "vitmodels.images.data", VITMODELS_ROWS)
    assert not is_forbidden("vitmodels.training.step", "vitmodels.nets.pixels", VITMODELS_ROWS)


def test_launcher_needs_only_the_pure_part_of_vitmodels() -> None:
    used = imports_of("launcher", lambda name: name.startswith("vitmodels"))
    assert {name for _, name in used} <= PURE_VITMODELS, used
    assert not imports_of("launcher", lambda name: name.split(".")[0] == "mindspore")


def test_vitmodels_does_not_know_launcher() -> None:
    assert not imports_of("vitmodels", lambda name: name.split(".")[0] == "launcher")


def test_the_pure_part_of_vitmodels_loads_without_mindspore() -> None:
    code = f"import sys, {', '.join(sorted(PURE_VITMODELS))}; sys.exit('mindspore' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_store_is_read_without_what_reads_job_files_or_writes_to_stores() -> None:
    """pydantic takes a tenth of a second of CPU time at every start, more than hundreds of small files do."""
    unused = {"pydantic", "botocore", "boto3", "ssl", "email", "tempfile", "launcher.storage.s3.upload"}
    code = f"import sys, launcher.dataset.plain, launcher.storage.s3.store; print(*{unused!r} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


def _too_long(name: str, text: str) -> list[str]:
    """A module of more than 300 lines, and functions of more than 40."""
    found = [name] if len(text.splitlines()) > 300 else []
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return found + [
        f"{name}:{each.lineno} {each.name}"
        for each in ast.walk(ast.parse(text))
        if isinstance(each, functions) and (each.end_lineno or 0) - each.lineno >= 40
    ]


def test_modules_and_functions_are_short() -> None:
    paths = [
        path for folder in ("launcher", "vitmodels", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    ]
    found = [_too_long(str(path.relative_to(ROOT)), path.read_text()) for path in paths]
    assert [each for one in found for each in one] == []


def test_the_rule_on_length_can_fail() -> None:
    body = "def f() -> None:\n" + "    pass\n" * 40
    assert _too_long("a", body) == ["a:1 f"]
    assert _too_long("a", "\n" * 301) == ["a"]
