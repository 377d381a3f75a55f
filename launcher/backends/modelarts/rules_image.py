"""Rules on what a container starts from: the image's address, the preset engine, and moxing; and on what the job file adds by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from launcher.backends.modelarts.boot import PYTHON
from launcher.backends.modelarts.login import sdk_missing
from launcher.backends.modelarts.request import job_request
from launcher.backends.modelarts.sdkfields import clashes, wrong_fields
from launcher.findings import Finding
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import Plan

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")
_REGISTRY = re.compile(r"^swr\.([a-z0-9-]+)\.")
_PYTHON = re.compile(r"py(?:thon)?[_-]?(\d+)\.(\d+)")
_CHIPS = {"snt9b23": "atlas-a3", "snt9b": "ascend910b"}
"""Kind of machine by the word in a version of an engine; the longer word first."""


def _address(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    image = options.image or ""
    found = _REGISTRY.match(image)
    if _SCHEME.match(image) or image != image.strip("/ "):
        message, fix = f"'{image}' is no address of an image in SWR", "write organisation/name:tag"
    elif found and options.region and found[1] != options.region:
        message = (
            f"the image is in {found[1]}, the job in {options.region}; a container pulls from its own region"
        )
        fix = f"push it to swr.{options.region}.…, and name that"
    else:
        return
    yield Finding("MA030", "error", message, "modelarts.image", fix)


def _moxing(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    if options.install_moxing is not None and (options.image is None or options.engine is None):
        yield Finding(
            "MA031",
            "error",
            "the platform installs its moxing only where both a preset engine and an image of your own are named",
            "modelarts.install_moxing",
            "leave it out, or name modelarts.engine beside modelarts.image",
        )


def _engine(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    version = (options.engine or "").partition(":")[2].lower()
    python = _PYTHON.search(version)
    needed = ".".join(map(str, PYTHON))
    own_python = options.image is not None or options.python != "python"
    if python and (int(python[1]), int(python[2])) < PYTHON and not own_python:
        yield Finding(
            "MA032",
            "error",
            f"this engine has Python {python[1]}.{python[2]}; launcher needs {needed} or newer",
            "modelarts.engine",
            f"choose one with py_{needed}, or an image of your own (docs/modelarts.md)",
        )
    word = next((word for word in _CHIPS if word in version.split("-")), None)
    if word is not None and plan.device != _CHIPS[word] and options.image is None:
        yield Finding(
            "MA032",
            "error",
            f"this engine is for {word}, which is {_CHIPS[word]}; the job asks for {plan.device}",
            "modelarts.engine",
            "choose the version for the cards of the pool",
        )


def _extra(plan: Plan, options: ModelArtsOptions) -> Iterator[Finding]:
    """Without the SDK its classes can't be asked; then MA050 stops the submission anyway."""
    if not options.extra:
        return
    ours = job_request(
        plan.model_copy(update={"options": options.model_copy(update={"extra": {}})}), 1
    ).body()
    for place in clashes(ours, options.extra):
        message = f"{place} is set by launcher, and what stands here would not count"
        fix = "use the field of the job file that says it, or leave it out"
        yield Finding("MA033", "error", message, "modelarts.extra", fix)
    for place, mistake in () if sdk_missing() else wrong_fields("Job", options.extra):
        fix = "look at the spelling; `launcher submit --dry-run` shows the request"
        yield Finding("MA033", "error", f"{place} {mistake}", "modelarts.extra", fix)


IMAGE_RULES: tuple[Callable[[Plan, ModelArtsOptions], Iterator[Finding]], ...] = (
    _address,
    _moxing,
    _engine,
    _extra,
)
