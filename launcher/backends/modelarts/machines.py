"""The containers of a training job as a plan sees them, and the section `modelarts` that made it so."""

from __future__ import annotations

from pathlib import Path

from launcher.jobfile.spec import JobSpec
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.machines import Machines
from launcher.plan.model import Plan

CONTAINER_HOME = "/cache/ascend-launcher"
"""The local disk of a container. Where there is none, the container's entry takes another folder (`container.placed`)."""
KEEP_FREE = 0.1
"""The platform empties /cache when it is 90 % full."""


def containers_of(spec: JobSpec, cwd: Path) -> Machines:
    """Folders of the user's code are those of the machine that submits; all other folders are those of containers."""
    folders = tuple((cwd / Path(folder).expanduser()).resolve().as_posix() for folder in spec.modelarts.code)
    options = spec.modelarts.model_copy(update={"code": folders})
    return Machines(
        python=options.python,
        options=options,
        home=Path(CONTAINER_HOME),
        base=Path("/"),
        region=options.region,
        code_folders=folders,
        keep_free=KEEP_FREE,
        elsewhere=True,
    )


def options_of(plan: Plan) -> ModelArtsOptions:
    """The section `modelarts` of a plan for this back end."""
    assert isinstance(plan.options, ModelArtsOptions), "made for plans of this back end"
    return plan.options
