"""Whether a run's plan is ours, or data from a stranger: what it would run is then shown, and runs only when somebody says so."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from dataclasses import dataclass

from launcher.backends import get_backend
from launcher.errors import IntegrityError, LauncherError, NotFound, PlanError
from launcher.plan.model import Plan
from launcher.plan.rewrite import in_folder
from launcher.printable import printable
from launcher.runfolder import paths
from launcher.runfolder.signature import is_ours
from launcher.runs.folder import RunFolder
from launcher.runs.index import RunEntry
from launcher.storage.address import StoreAddress
from vitmodels.secrets import mask, mask_paths


class Untrusted(PlanError):
    """The plan was not made with a key of ours, and nobody has said that it may run."""


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """The plan of a run. `ours`: it lies in this machine's own run directory, or has a signature by a key of ours.

    `folder` is where it was found.
    """

    plan: Plan
    ours: bool
    folder: RunFolder

    def trusted(self, *, trust: bool, command: str) -> Plan:
        """The plan, if it may run. Raises Untrusted with what it would run; `command` is what to type after reading that."""
        if self.ours or trust:
            return self.plan
        where = f"{self.folder.url}/{paths.PLAN}"
        raise Untrusted(
            "this plan has no signature by a key of yours, so somebody else may have written what it runs:\n"
            + "\n".join(f"    {line}" for line in what_runs(self.plan)),
            where=where,
            hint=f"read it; then: {command} --trust",
        )


def find_plan(entry: RunEntry) -> FoundPlan:
    """Raises StoreError, PlanError, UsageError for a key that is none."""
    folder = RunFolder.of(entry)
    if folder.stored is None:
        return _stored_plan(entry, folder)
    try:
        return FoundPlan(_read_plan(folder, folder.small(paths.PLAN)), True, folder)
    except (NotFound, IntegrityError, PlanError):  # the copy in the store is as good, if it is ours
        with suppress(LauncherError):
            if copy := folder.copy():
                return _stored_plan(entry, copy)
        raise


def _stored_plan(entry: RunEntry, folder: RunFolder) -> FoundPlan:
    """The text that is verified is the one that is used: somebody may replace the object at any moment."""
    text = folder.small(paths.PLAN)
    plan = _read_plan(folder, text)
    try:
        ours = is_ours(text, folder.small(paths.SIGNATURE))
    except NotFound:
        ours = False
    return FoundPlan(plan, ours and (entry.named_by_url or plan.run_id == entry.run_id), folder)


def _read_plan(folder: RunFolder, text: bytes) -> Plan:
    return Plan.read(text, f"{folder.url}/{paths.PLAN}")


def placed_here(plan: Plan, entry: RunEntry) -> Plan:
    """The plan as this machine runs it. One that is named by its URL gets its store from the command line and the environment,
    and where it runs on this machine, a run directory in our own home."""
    if not entry.named_by_url:
        return plan
    if not get_backend(plan.backend).runs_elsewhere:
        plan = in_folder(plan, paths.home() / "work")
    return plan.model_copy(update={"store": entry.store})


def what_runs(plan: Plan) -> list[str]:
    """Everything in a plan that decides what is executed and where data go, as lines that can't drive a terminal."""
    lines = [f"{step.name}: {shlex.join(step.argv)}" for step in plan.steps]
    lines += [f"environment: {shlex.quote(f'{name}={value}')}" for name, value in sorted(plan.env.items())]
    lines += [f"python: {plan.python}"]
    if plan.snapshot:
        lines += [f"files: {plan.snapshot.files} of {paths.SNAPSHOT}, sha256 {plan.snapshot.digest}"]
    addresses = {"results": plan.store, "data": plan.data, "checkpoint": plan.checkpoint}
    lines += [f"{name}: {_address(each)}" for name, each in addresses.items() if each is not None]
    lines += [f"notify.to[{k}].{each.kind}: {mask_paths(each.text)}" for k, each in enumerate(plan.notify.to)]
    options = plan.options.model_dump(mode="json", exclude_defaults=True)
    lines += [f"{plan.backend}.{name}: {json.dumps(value)}" for name, value in options.items()]
    return [printable(mask(line)) for line in lines]


def _address(address: StoreAddress) -> str:
    settings = address.model_dump(exclude={"url"}, exclude_defaults=True)
    return " ".join([address.url, *(f"{name}={value}" for name, value in settings.items())])
