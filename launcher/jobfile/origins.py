"""Every value of a job with its source: what `launcher check --origins` lists."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from launcher.jobfile.files import BASE
from launcher.jobfile.load import LoadedJob
from launcher.jobfile.overrides import DEFAULT, Origin
from vitmodels.secrets import mask_values


@dataclass(frozen=True, slots=True)
class Row:
    """One value. `path` is `resources.nodes` or, for the merged recipe, `recipe.epochs`."""

    path: str
    value: Any
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "value": self.value,
            "origin": self.origin.kind.name,
            "detail": self.origin.detail or None,
        }


def rows(job: LoadedJob) -> list[Row]:
    """All values in the order of the job file's sections, the recipe last, with secrets starred out. `model.set` is shown as the recipe it makes."""
    found = [
        *_walk(mask_values(job.spec.model_dump(mode="json")), ""),
        *_walk(mask_values(dict(job.recipe_values)), "recipe.", deep=False),
    ]
    return [
        Row(path, value, job.origins.get(path, DEFAULT))
        for path, value in found
        if not path.startswith("model.set") and path != BASE
    ]


def table(found: Iterable[Row], hidden: Collection[str] = ()) -> str:
    """The rows for people, without `hidden` sections: `resources.nodes = 2  ← jobs/x.yaml:14`."""
    shown = [
        (f"{row.path} = {json.dumps(row.value, ensure_ascii=False)}", row.origin)
        for row in found
        if row.path.partition(".")[0] not in hidden
    ]
    width = max(len(text) for text, _ in shown if len(text) <= 60)
    return "\n".join(f"{text:<{width}}  ← {origin}" for text, origin in shown)


def _walk(values: dict[str, Any], prefix: str, *, deep: bool = True) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if deep and isinstance(value, dict) and value:
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
