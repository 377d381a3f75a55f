"""The pods that the manifest of a job asks for, whatever its kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """Pods of one template. `name`: of the task or replica type; empty for a plain Job."""

    name: str
    replicas: int
    template: Mapping[str, Any]

    def container(self, name: str) -> dict[str, Any] | None:
        """The container of this name."""
        spec = self.template.get("spec")
        containers = spec.get("containers") if isinstance(spec, dict) else None
        found = containers if isinstance(containers, list) else []
        return next((each for each in found if isinstance(each, dict) and each.get("name") == name), None)


def templates_of(job: Mapping[str, Any]) -> list[PodTemplate]:
    """In the order of the manifest. A manifest that a patch has broken gives what is left."""
    spec = job.get("spec")
    if not isinstance(spec, dict):
        return []
    if isinstance(tasks := spec.get("tasks"), list):
        return [_template(str(task.get("name", "")), task) for task in tasks if isinstance(task, dict)]
    if isinstance(replicas := spec.get("replicaSpecs"), dict):
        return [_template(name, each) for name, each in replicas.items() if isinstance(each, dict)]
    return [_template("", {**spec, "replicas": spec.get("completions")})]


def _template(name: str, values: Mapping[str, Any]) -> PodTemplate:
    count, template = values.get("replicas"), values.get("template")
    return PodTemplate(
        name,
        count if isinstance(count, int) else 0,
        template if isinstance(template, dict) else {},
    )
