"""From a job and its machines to the plan: addresses, folders, ranks, programs and arithmetic, before anything happens.

The same plan is printed by `--dry-run`, stored with the run, and executed by `launcher.node`. Values that only a machine
of the run knows are placeholders in braces: `{data}` (staged data set), `{sched_port}` and `{master_port}` (free ports), `{threads}`
(cores per rank), `{code}` (copies of the job's own folders).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.jobfile.spec import JobSpec, ResourceSpec
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.jobfile.spec_places import DataSpec, OutputSpec, StoreOptions
from launcher.jobfile.spec_progress import ProgressSpec
from launcher.plan.arithmetic import arithmetic
from launcher.plan.code import code_digest
from launcher.plan.machines import Machines
from launcher.plan.model import Plan, Step, SubmittedFolder
from launcher.plan.ranks import common_env, ranks_of
from launcher.plan.script import frameworks_of
from launcher.plan.steps import sources_of, steps_of
from launcher.runfolder.paths import RunDir
from launcher.snapshot.select import Selection
from launcher.storage.address import StoreAddress
from launcher.storage.registry import absolute_url
from vitmodels.config import Recipe

LOCAL_UPLOAD_S, NETWORK_UPLOAD_S = 2, 15
_REQUIRED = ("mindspore", "numpy", "PIL", "safetensors")


def make_plan(
    spec: JobSpec,
    recipe: Recipe | None,
    machines: Machines,
    *,
    run_id: str,
    cwd: Path,
    settings: Mapping[str, Any] | None = None,
    train_images: int | None = None,
    rehearsal: bool = False,
    notes: tuple[str, ...] = (),
    selection: Selection | None = None,
) -> Plan:
    """Pure, but for reading the files that the words of `program` name, relative to `cwd`. `settings`: in place of a recipe.

    `selection`: what the snapshot of a program's folder will hold.
    """
    spec, seen = _with_packages(spec, cwd)
    recipe = _with_whole_paths(recipe, machines, cwd)
    run_dir = RunDir(machines.folder(spec.output.work_dir, "work") / run_id)
    steps = steps_of(spec, recipe, machines, run_dir, cwd, selection)
    return Plan(
        run_id=run_id,
        work_dir=run_dir.root.parent.as_posix(),
        env=common_env(spec, run_id, run_dir),
        ranks=ranks_of(spec, run_dir),
        steps=steps,
        rehearsal=rehearsal,
        notes=(*notes, *_unused(spec), *seen),
        **_as_written(spec),
        **_training(spec, recipe, settings, train_images),
        **_submission(spec, cwd, selection),
        **_machines(machines),
        **_resources(spec.resources),
        **_code(spec, machines, steps),
        **_stores(spec, machines, run_id, cwd),
        **_staging(spec.data, machines),
        **_uploads(spec.output),
        **_supervision(spec),
    )


def _as_written(spec: JobSpec) -> dict[str, Any]:
    return {"name": spec.name, "task": spec.task, "env_from": tuple(spec.env_from)}


def _machines(machines: Machines) -> dict[str, Any]:
    return {
        "options": machines.options,
        "python": machines.python,
        "after_runs": machines.after_runs,
        "keep_free": machines.keep_free,
    }


def _training(
    spec: JobSpec, recipe: Recipe | None, settings: Mapping[str, Any] | None, train_images: int | None
) -> dict[str, Any]:
    if recipe is None:
        return {"recipe": dict(spec.model.set if settings is None else settings), "arithmetic": None}
    return {"recipe": recipe.json_dict(), "arithmetic": arithmetic(spec, recipe, train_images)}


def _submission(spec: JobSpec, cwd: Path, selection: Selection | None) -> dict[str, Any]:
    """`submitted_in`: where commands of notifications run."""
    commands = any(each.command for each in spec.notify.to)
    return {
        "snapshot": _submitted(selection) if selection else None,
        "submitted_in": str(cwd.absolute()) if commands else "",
    }


def _submitted(selection: Selection) -> SubmittedFolder:
    return SubmittedFolder(
        folder=str(selection.folder),
        files=len(selection.files),
        bytes=selection.bytes,
        links=len(selection.links),
    )


def _supervision(spec: JobSpec) -> dict[str, Any]:
    return {
        "retry": spec.retry.with_backoff(spec.resources.device),
        "watch": spec.watch,
        "progress": _progress(spec),
        "outputs": spec.outputs,
        "profile": spec.profile,
        "notify": spec.notify,
        "track": spec.track,
    }


def _resources(resources: ResourceSpec) -> dict[str, Any]:
    return {
        "backend": resources.backend,
        "device": resources.device,
        "nodes": resources.nodes,
        "devices_per_node": resources.devices_per_node,
        "time_limit_s": resources.time_limit,
    }


def _progress(spec: JobSpec) -> ProgressSpec | None:
    """The programs of vitmodels report their progress themselves."""
    return spec.progress if spec.program is not None and spec.progress.from_lines else None


def _unused(spec: JobSpec) -> tuple[str, ...]:
    if spec.program is not None:
        return ()
    found = []
    if spec.progress != ProgressSpec():
        found.append("progress: is not used, since vitmodels reports its progress itself")
    if spec.outputs != OutputsSpec():
        found.append("outputs: is not used, since the results of vitmodels are known")
    if spec.requires is not None:
        found.append("requires: is not used, since the packages of vitmodels are known")
    if spec.args:
        found.append("args: is not used, since the settings of vitmodels are in model.set")
    if spec.per != "rank":
        found.append("per: is not used, since the programs of vitmodels are started once per rank")
    if spec.resume_args is not None:
        found.append("resume_args: is not used, since vitmodels finds its newest checkpoint itself")
    return tuple(found)


def _with_packages(spec: JobSpec, cwd: Path) -> tuple[JobSpec, tuple[str, ...]]:
    """The job with `requires` as the program's script shows it, where the job file has none; and a note on that."""
    if spec.program is None or spec.requires is not None:
        return spec, ()
    if not (packages := frameworks_of(spec.program, cwd)):
        return spec, ()
    note = f"requires: [{', '.join(packages)}], since the program imports {'them' if len(packages) > 1 else 'it'}"
    return spec.model_copy(update={"requires": packages}), (note,)


def _with_whole_paths(recipe: Recipe | None, machines: Machines, cwd: Path) -> Recipe | None:
    """Ranks start in folders of their own, so that weights beside the job need their whole path.

    Other machines' paths stay as they are written; rule PF018 refuses a relative one.
    """
    if recipe is None or not recipe.pretrained or "://" in recipe.pretrained:
        return recipe
    if machines.elsewhere:
        return recipe
    whole = cwd / Path(recipe.pretrained).expanduser()
    return recipe.model_copy(update={"pretrained": whole.as_posix()})


def _code(spec: JobSpec, machines: Machines, steps: tuple[Step, ...]) -> dict[str, Any]:
    """What the machines verify before a program starts, and what they fetch where they are not prepared otherwise."""
    requires = spec.requires or ()
    if spec.program is None:
        requires = (*_REQUIRED, "onnx") if "ONNX" in spec.after.export else _REQUIRED
    if not machines.fetch_code:
        return {"requires": requires}
    sources = sources_of(steps) if spec.program is not None else {}
    return {"code": code_digest(), "sources": sources, "requires": requires}


def _stores(spec: JobSpec, machines: Machines, run_id: str, cwd: Path) -> dict[str, StoreAddress | None]:
    output = _address(spec.output, spec.output.url, machines, cwd)
    checkpoint, data = spec.model.checkpoint, spec.data.url
    return {
        "store": output.child(run_id),
        "data": _address(spec.data, data, machines, cwd) if data else None,
        "checkpoint": _address(spec.output, checkpoint, machines, cwd) if checkpoint else None,
    }


def _address(options: StoreOptions, url: str, machines: Machines, cwd: Path) -> StoreAddress:
    shared = options.model_dump(include=StoreOptions.model_fields.keys() & StoreAddress.model_fields.keys())
    return machines.address(StoreAddress(**{**shared, "url": absolute_url(url, cwd)}))


def _staging(data: DataSpec, machines: Machines) -> dict[str, Any]:
    return {
        "unpack": data.placement == "full" if data.unpack is None else data.unpack,
        "placement": data.placement,
        "cache_dir": machines.folder(data.cache_dir, "cache").as_posix(),
        "stage_workers": data.workers,
        "stage_timeout_s": data.timeout,
    }


def _uploads(output: OutputSpec) -> dict[str, Any]:
    local = "://" not in output.url or output.url.startswith("file:")
    pause_s = LOCAL_UPLOAD_S if local else NETWORK_UPLOAD_S
    return {
        "upload_every_s": output.upload_every or pause_s,
        "upload_patience_s": output.upload_patience,
        "upload_bytes_per_s": output.upload_limit,
    }
