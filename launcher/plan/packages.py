"""Whether this machine has the packages that a plan needs, in the Python that will use them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from launcher.installed import Imports, try_imports
from launcher.plan.model import Plan
from launcher.plan.script import is_python, script_of
from launcher.threads import environment

IMPORT_S = 60.0
"""A framework that is read from a cold disk takes that long."""


def python_of(plan: Plan) -> str:
    """The Python that must have the packages; empty for a program that chooses one itself, such as a shell script."""
    if not plan.own_program:
        return plan.python
    first = plan.steps[0].argv[0]
    return first if is_python(first) else ""


def ask_packages(plan: Plan, *, load: bool = False) -> Imports:
    """Which of `plan.requires` this machine lacks. Blocks; `load` imports those of the user's program, which takes seconds."""
    python, argv = python_of(plan), plan.steps[0].argv
    if not python or not plan.requires:
        return Imports({})
    if not plan.own_program:
        if python == sys.executable:
            return Imports({name: "not installed" for name in plan.requires if not _is_installed(name)})
        return try_imports(python, plan.requires, folder=Path("/"))
    script = script_of(argv)
    folder = Path(script.word).parent if script and not script.is_module else Path()
    env = {**environment(), **plan.env_before_ranks}
    limit_s = {"timeout_s": IMPORT_S} if load else {}
    return try_imports(
        python, plan.requires, folder=folder if folder.is_dir() else Path("/"), env=env, load=load, **limit_s
    )


def _is_installed(name: str) -> bool:
    """Whether a package with code is installed; a failed installation may leave an empty folder."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None
