"""The direction of imports: a module imports only from its own row and the rows above it."""

import ast
import fnmatch
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROWS = [
    "errors units snapshot suggest secretnames findings paths filelock _exec orphans ranklogs logtimes cores guard nodelog",
    "yaml* problems spec_slurm spec_modelarts spec jobschema hints origins recipefile overrides complaints specfile jobtemplate",
    "progress states run causes diagnose restarts watchdog peers record files devices* ranktable* storage storage.* address shards*",
    "plan plan_rules modelarts_rules slurm_rules preflight",
    "stage* ledger manifest collect* restore fetch transfer verify courier heartbeat gangs preset runtable statefile stopping rendezvous environment",
    "rounds",
    "node finalupload container container_env container_start",
    "backends backends.*",
    "runs runfolder adopt view loglines logs consoles submission rehearse dryrun",
    "retry explain runlist report* doctor* prune completion api sweeps",
    "cli cli.* __main__",
]

PURE_VITMODELS = {
    "vitmodels",
    "vitmodels.archs",
    "vitmodels.config",
    "vitmodels.errors",
    "vitmodels.images.imagenames",
    "vitmodels.device.kernels.library",
    "vitmodels.yamlfile",
}


def modules(package: str) -> dict[str, Path]:
    paths = (ROOT / package).rglob("*.py")
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def imports(path: Path, *, inside_functions: bool = True) -> set[str]:
    """Modules that a file imports, as far as they are files of this project."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if inside_functions else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                as_module = ROOT / (f"{node.module}.{alias.name}".replace(".", "/") + ".py")
                found.add(f"{node.module}.{alias.name}" if as_module.exists() else node.module)
    return found


def row_of(module: str) -> int:
    name = module.removeprefix("launcher.")
    rows = [
        i for i, row in enumerate(ROWS) if any(fnmatch.fnmatchcase(name, pattern) for pattern in row.split())
    ]
    assert len(rows) == 1, f"{module} stands in {len(rows)} rows of this test; give it exactly one"
    return rows[0]


@pytest.mark.parametrize("module", sorted(modules("launcher").keys() - {"launcher"}))
def test_launcher_imports_go_one_way(module: str) -> None:
    below = {
        imported
        for imported in imports(modules("launcher")[module])
        if imported.startswith("launcher.") and row_of(imported) > row_of(module)
    }
    assert not below, f"{module} imports from rows below its own: {sorted(below)}"


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
