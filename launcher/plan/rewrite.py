"""A plan for another run, or for other folders: the same values, with the words that name them changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from launcher.plan.model import Plan


def as_run(plan: Plan, run_id: str) -> Plan:
    """The same plan as a run of its own, in a folder of its own."""
    parent, _, _ = plan.store.url.rpartition("/")
    folder = Path(plan.work_dir) / run_id
    renamed = with_words(plan, {plan.run_dir.root.as_posix(): folder.as_posix(), plan.run_id: run_id})
    store = plan.store.model_copy(update={"url": f"{parent}/{run_id}"})
    return renamed.model_copy(update={"run_id": run_id, "store": store})


def in_folder(plan: Plan, work_dir: Path) -> Plan:
    """The same run, with its directory below another folder."""
    return with_words(plan, {plan.work_dir: work_dir.as_posix()})


def with_words(plan: Plan, changes: Mapping[str, str]) -> Plan:
    """Change folders, environment and programs: each word that is a key of `changes`, or a path below it."""
    return plan.model_copy(
        update={
            "cache_dir": _changed(plan.cache_dir, changes),
            "work_dir": _changed(plan.work_dir, changes),
            "env": _changed_env(plan.env, changes),
            "ranks": tuple(
                rank.model_copy(update={"env": _changed_env(rank.env, changes)}) for rank in plan.ranks
            ),
            "steps": tuple(
                step.model_copy(update={"argv": tuple(_changed(word, changes) for word in step.argv)})
                for step in plan.steps
            ),
        }
    )


def _changed_env(env: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    return {name: _changed(value, changes) for name, value in env.items()}


def _changed(word: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        if word == old or word.startswith(f"{old}/"):
            return new + word[len(old) :]
    return word
