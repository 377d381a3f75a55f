"""Checks that the job's Python here can run the plan, and that the program's files are those of the submission.

Runs on every machine before anything is staged, so that a missing package is found before hours of staging.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from launcher.errors import PlanError
from launcher.plan.code import file_digest
from launcher.plan.model import Plan
from launcher.plan.packages import ask_packages, python_of

log = logging.getLogger("launcher.node")


def check_environment(plan: Plan) -> None:
    """Raises PlanError that names this machine and what is missing."""
    for path, digest in plan.sources.items():
        if (actual := file_digest(Path(path))) != digest:
            what = "has changed since the run was submitted" if actual else "is not here"
            raise PlanError(
                f"{socket.gethostname()}: {path} {what}",
                hint="submit it again, or keep programs on a path that all machines share",
            )
    if not python_of(plan):
        return
    found = ask_packages(plan)
    if found.problem:
        log.warning("%s does not tell which packages it has: %s", python_of(plan), found.problem)
    if missing := list(found.failed):
        packages = " ".join(missing) if plan.own_program else "'ascend-launcher[train]'"
        raise PlanError(
            f"{socket.gethostname()}: {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed in {python_of(plan)}",
            hint=f"install them there: {python_of(plan)} -m pip install {packages}",
        )
