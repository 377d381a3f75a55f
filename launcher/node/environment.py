"""Checks that this machine's Python can run the plan, and that the program's files are those of the submission.

Runs on every machine before anything is staged, so that a missing package is found before hours of staging.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

from launcher.errors import PlanError
from launcher.plan.code import file_digest
from launcher.plan.model import Plan


def check_environment(plan: Plan) -> None:
    """Raises PlanError that names this machine and what is missing. Packages of another Python are not checked."""
    for path, digest in plan.sources.items():
        if (actual := file_digest(Path(path))) != digest:
            what = "has changed since the run was submitted" if actual else "is not here"
            raise PlanError(
                f"{socket.gethostname()}: {path} {what}",
                hint="submit it again, or keep programs on a path that all machines share",
            )
    missing = [name for name in plan.requires if not _is_installed(name)]
    runs_here = all(step.argv[0] == plan.python for step in plan.steps)  # not a Python of the program's own
    if missing and runs_here and plan.python == sys.executable:
        raise PlanError(
            f"{socket.gethostname()}: {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed in {plan.python}",
            hint="install them there: pip install 'ascend-launcher[train]'",
        )


def _is_installed(name: str) -> bool:
    """Whether a package with code is installed; a failed installation may leave an empty folder."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None
