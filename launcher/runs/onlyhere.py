"""What is lost when the folder of a run on this machine goes: read from the disk and from the store."""

from __future__ import annotations

from launcher.plan.model import Plan
from launcher.results.ondisk import not_in_store
from launcher.results.outputfiles import LeftOut
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small
from launcher.runs.index import RunEntry


def only_here(entry: RunEntry) -> list[LeftOut]:
    """Results that only this disk has, and those that somebody took from the store or changed there.

    For a run that has ended and has a folder here. Reads files that have changed since their upload. Raises LauncherError
    and OSError when that can't be told.
    """
    root = entry.run_dir.root
    plan = Plan.read(read_small(root / paths.PLAN), str(root))
    return not_in_store(root, entry.store.open(), plan.outputs if plan.own_program else None)
