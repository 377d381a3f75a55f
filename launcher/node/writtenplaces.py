"""Where a program of the user's own may have written outside of its working folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.plan.model import Plan
from launcher.plan.options import whole_paths
from launcher.plan.script import modules_of, script_of, value_of
from launcher.results.elsewhere import Elsewhere, places_in


@dataclass(frozen=True, slots=True)
class WrittenPlaces:
    """Of the ranks of one node. `since`: when its node program began, in unix seconds."""

    plan: Plan
    ranks: Sequence[int]
    since: float

    def elsewhere(self) -> Elsewhere:
        """By the words of the program and the whole paths in its script, as it lies in the working folder now."""
        plan = self.plan
        known = [Path(plan.cache_dir), Path(plan.work_dir)]
        names = [value_of(word) for step in plan.steps for word in step.argv]
        with suppress(OSError):
            names += self._in_script()
        return Elsewhere(places_in(names, known), self.since)

    def _in_script(self) -> Iterator[str]:
        script = script_of(self.plan.steps[0].argv)
        folder = self.plan.run_dir.work / f"rank-{min(self.ranks, default=0)}"
        path = script.path(folder) if script else None
        if script and path:
            yield from whole_paths(modules_of(path, folder if script.is_module else path.parent))
