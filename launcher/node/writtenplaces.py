"""Where a program of the user's own may have written outside of its working folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.clock import Begin
from launcher.errors import LauncherError
from launcher.plan.model import Plan
from launcher.plan.places import Naming
from launcher.results.elsewhere import Elsewhere
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small_object
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.runfolder.states import RunState
from launcher.storage import ObjectStore
from launcher.storage.address import local_folder
from launcher.threads import environment


@dataclass(frozen=True, slots=True)
class WrittenPlaces:
    """Of the ranks of one node. `begun`: when its node program began."""

    plan: Plan
    ranks: Sequence[int]
    store: ObjectStore
    begun: Begin

    def elsewhere(self) -> Elsewhere:
        """By what the program and its files name, as they lie in the working folder now, and by the links of the snapshot."""
        plan = self.plan
        places: list[Path] = []
        with suppress(OSError):
            places += self._named()
        snapshot = SnapshotIndex.of_run(plan.run_dir.root)
        return Elsewhere(tuple(places), self._ours(), self._since(), snapshot)

    def _ours(self) -> frozenset[Path]:
        """Staged data, and the run directories and run's folders of this and all other runs."""
        stored = local_folder(self.plan.store.url)
        parents = [Path(self.plan.work_dir), *([stored.parent] if stored else [])]
        runs = {plan.parent for parent in parents for plan in parent.glob(f"*/{paths.PLAN}")}
        return frozenset({Path(self.plan.cache_dir), self.plan.run_dir.root, *runs})

    def _named(self) -> Iterator[Path]:
        folder = self.plan.run_dir.work / f"rank-{min(self.ranks, default=0)}"
        env = {**self.plan.env, **(self.plan.ranks[0].env if self.plan.ranks else {})}
        for step in self.plan.steps:
            naming = Naming(step.argv, folder, env, environment())
            for named in naming.places():
                path = named.path(folder, naming.variables)
                if path and not named.is_of_tools:
                    yield path

    def _since(self) -> float:
        """When the first attempt began: what a program wrote before it was resumed is a result, too."""
        try:
            attempts = RunState.model_validate_json(read_small_object(self.store, paths.STATE)).attempts
        except (LauncherError, ValueError):
            return self.begun.oldest_file()
        return min([self.begun.oldest_file(), *(each.started_at for each in attempts)])
