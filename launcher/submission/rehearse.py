"""A rehearsal: the same job for real, on one CPU device, for a few steps on a handful of images.

The images are the first ones of the job's own data set when it can be reached, else JPEGs made here. Results go to the
job's own store when it can be reached, so that credentials and permissions are rehearsed, too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from launcher.errors import LauncherError, PlanError, StoreError
from launcher.jobfile.load import LoadedJob
from launcher.jobfile.spec import ResourceSpec
from launcher.jobfile.spec_failures import RetrySpec
from launcher.jobfile.spec_places import DataSpec, OutputSpec
from launcher.jobfile.spec_profile import ProfileSpec
from launcher.plan.model import Plan
from launcher.runfolder import paths
from launcher.runs.index import new_run_id
from launcher.storage.address import StoreAddress
from launcher.storage.keys import check_key
from launcher.storage.registry import absolute_url
from launcher.submission.preflight import PATIENCE_S
from launcher.submission.prepare import plan_of
from vitmodels.config import Recipe

TRAIN_IMAGES, VAL_IMAGES, CLASSES = 8, 4, 2
IMAGE_SIZE = (500, 375)  # width, height: ImageNet's most frequent
BATCH = 4


def rehearsal_plan(job: LoadedJob, env: Mapping[str, str], cwd: Path) -> Plan:
    """The plan of the rehearsal; its images are written below `$LAUNCHER_HOME/rehearsal`. Raises PlanError, StoreError."""
    if job.recipe is None or job.spec.task != "train":
        raise PlanError("only jobs with task: train and a recipe can be rehearsed", where=str(job.path))
    run_id = new_run_id(f"rehearse-{job.spec.name}"[:64])
    folder = paths.home(env) / "rehearsal" / run_id
    recipe, notes = _short(job)
    notes += [
        _collect_images(_address(job.spec.data, cwd), folder / "data", min(CLASSES, recipe.num_classes))
    ]
    output, note = _output(job.spec.output, folder, cwd)
    spec = job.spec.model_copy(
        update={
            "resources": ResourceSpec(),
            "data": DataSpec(url=str(folder / "data"), cache_dir=str(folder / "cache")),
            "output": output,
            "retry": RetrySpec(),
            "profile": ProfileSpec(),
        }
    )
    return plan_of(
        spec, recipe, run_id=run_id, env=env, cwd=cwd, rehearsal=True, notes=(*job.notes, *notes, *note)
    )


def _short(job: LoadedJob) -> tuple[Recipe, list[str]]:
    """The recipe without what one CPU can't do, and a note for each change."""
    recipe = job.recipe
    assert recipe is not None
    changes = {
        "epochs": 1,
        "batch_size": min(BATCH, recipe.batch_size),
        "warmup_length": 0,
        "amp_level": "O0",
        "device_target": "CPU",
        "num_parallel_workers": min(2, recipe.num_parallel_workers),
        "is_dynamic_loss_scale": False,
    }
    changed = {key: value for key, value in changes.items() if getattr(recipe, key) != value}
    words = ", ".join(f"{key} {getattr(recipe, key)} → {value}" for key, value in changed.items())
    resources = job.spec.resources
    notes = [
        f"rehearsal on 1 CPU device in place of {resources.nodes} × {resources.devices_per_node} {resources.device}"
    ]
    if words:
        notes.append(f"rehearsal: {words}")
    return Recipe.model_validate({**recipe.json_dict(), **changed}), notes


def _collect_images(source: StoreAddress | None, folder: Path, classes: int) -> str:
    """Fill `folder` with train/ and val/ and say where the images are from."""
    if source is not None:
        try:
            count = _sample(source, folder)
            if count:
                return f"rehearsal with {count} images of {source.url}"
            reason = "it has no train/ and val/ class folders"
        except (StoreError, OSError) as error:
            reason = error.what if isinstance(error, LauncherError) else str(error)
        reason = f" because {source.url} can't be read ({reason})"
    else:
        reason = ""
    make_images(folder, classes)
    return f"rehearsal with {TRAIN_IMAGES + VAL_IMAGES} images made here{reason}"


def _sample(source: StoreAddress, folder: Path) -> int:
    store = source.open(PATIENCE_S)
    copied = 0
    for part, count in (("train/", TRAIN_IMAGES), ("val/", VAL_IMAGES)):
        infos = [info for info in islice(store.list(part), 4 * count) if info.size > 0][:count]
        if not infos:
            return 0
        for info in infos:
            check_key(info.key, store.url)
            path = folder / info.key
            path.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(info.key, path, expect=info)
            copied += 1
    return copied


def make_images(folder: Path, classes: int) -> None:
    """Write JPEGs of ImageNet's usual size in class folders; the same ones every time."""
    try:
        from PIL import Image
    except ImportError as error:
        raise PlanError(
            "a rehearsal makes its own images, which needs Pillow",
            hint="pip install 'ascend-launcher[train]'",
        ) from error
    source = random.Random(0)  # noqa: S311 - reproducible pictures, not secrets
    for part, count in (("train", TRAIN_IMAGES), ("val", VAL_IMAGES)):
        for index in range(count):
            small = Image.frombytes("RGB", (20, 15), source.randbytes(20 * 15 * 3))
            path = folder / part / f"class-{index % classes}" / f"{part}-{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small.resize(IMAGE_SIZE, Image.Resampling.BICUBIC).save(path, quality=90)


def _output(output: OutputSpec, folder: Path, cwd: Path) -> tuple[OutputSpec, list[str]]:
    address = StoreAddress(**output.model_dump(include=set(StoreAddress.model_fields)))
    try:
        address.model_copy(update={"url": absolute_url(address.url, cwd)}).open(PATIENCE_S).head(paths.STATE)
    except StoreError as error:
        local = OutputSpec(url=str(folder / "runs"))
        return local, [
            f"rehearsal keeps its results in {local.url} because {output.url} can't be reached ({error.what})"
        ]
    return output, []


def _address(data: DataSpec, cwd: Path) -> StoreAddress | None:
    if data.url is None:
        return None
    values = data.model_dump(include=set(StoreAddress.model_fields))
    return StoreAddress(**{**values, "url": absolute_url(data.url, cwd)})
