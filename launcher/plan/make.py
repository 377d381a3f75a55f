"""From a job and its recipe to the plan: ranks, environment, programs, paths and arithmetic, before anything happens.

Making a plan changes nothing. The same plan is printed by `--dry-run`, stored with the run, and executed by `launcher.node`.
What only the machine of a run can know stands as a placeholder in braces: `{data}` (staged data set),
`{sched_port}` (a free port), `{threads}` (cores per rank), `{code}` (the job's own code in a container).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.jobfile.spec import JobSpec, StoreOptions
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.code import code_digest, file_digest
from launcher.plan.model import (
    ASCEND_DEVICES,
    CONTAINER_HOME,
    HCCL_CONNECT_TIMEOUT_S,
    OUTSIDE,
    Arithmetic,
    Plan,
    Rank,
    Step,
)
from launcher.runfolder.paths import RunDir, home
from launcher.storage.address import StoreAddress, absolute_url
from vitmodels import archs
from vitmodels import config as recipes
from vitmodels.config import Recipe

"""The local disk of a container; where there is none, its entry takes another folder."""
"""Before a word of a program that names a file which does not travel to the container."""
TOPOLOGY_TIMEOUT_S = 600
_REQUIRED = ("mindspore", "numpy", "PIL", "safetensors")
COLLECTIVE_TIMEOUT_S = 1800


def make_plan(
    spec: JobSpec,
    recipe: Recipe | None,
    *,
    run_id: str,
    env: Mapping[str, str],
    cwd: Path,
    settings: Mapping[str, Any] | None = None,
    rehearsal: bool = False,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Pure, but for a look at which words of `program` name files in `cwd`. `env` and `cwd` are those of the person who submits.

    `settings` are the merged values of `model.config` and `model.set` for a program of one's own, which has no recipe.
    """
    modelarts = in_containers(spec, cwd)
    base = Path(CONTAINER_HOME) if modelarts else home(env)
    work_dir = _local(spec.output.work_dir, Path("/") if modelarts else cwd) or base / "work"
    run_dir = RunDir(work_dir / run_id)
    slurm = spec.slurm if spec.resources.backend == "slurm" else None
    python = _python(spec, cwd)
    steps = program_steps(spec, recipe, python, run_dir, cwd)
    output = _near(_address(spec.output, spec.output.url, cwd), modelarts)
    return Plan(
        run_id=run_id,
        name=spec.name,
        task=spec.task,
        backend=spec.resources.backend,
        device=spec.resources.device,
        nodes=spec.resources.nodes,
        devices_per_node=spec.resources.devices_per_node,
        python=python,
        store=output.child(run_id),
        data=_near(_address(spec.data, spec.data.url, cwd), modelarts) if spec.data.url else None,
        checkpoint=_near(_address(spec.output, spec.model.checkpoint, cwd), modelarts)
        if spec.model.checkpoint
        else None,
        unpack=spec.data.placement == "full" if spec.data.unpack is None else spec.data.unpack,
        placement=spec.data.placement,
        cache_dir=str(_local(spec.data.cache_dir, Path("/") if modelarts else cwd) or base / "cache"),
        work_dir=str(work_dir),
        stage_workers=spec.data.workers,
        stage_timeout_s=spec.data.timeout,
        upload_every_s=spec.output.upload_every or (2 if output.url.startswith("file:") else 15),
        upload_patience_s=spec.output.upload_patience,
        upload_bytes_per_s=spec.output.upload_limit,
        time_limit_s=spec.resources.time_limit,
        recipe=recipe.json_dict() if recipe else dict(spec.model.set if settings is None else settings),
        arithmetic=arithmetic(spec, recipe) if recipe else None,
        env=common_env(spec, run_id, run_dir),
        ranks=tuple(
            Rank(
                rank=r,
                node=r // spec.resources.devices_per_node,
                local_rank=r % spec.resources.devices_per_node,
                env=rank_env(spec, r, run_dir),
            )
            for r in range(spec.resources.nodes * spec.resources.devices_per_node)
        ),
        steps=steps,
        retry=spec.retry,
        watch=spec.watch,
        slurm=slurm,
        code=code_digest() if slurm else "",
        requires=_REQUIRED if slurm and recipe else (),
        sources=_sources(steps) if slurm and not recipe else {},
        modelarts=modelarts,
        rehearsal=rehearsal,
        notes=notes,
    )


def _python(spec: JobSpec, cwd: Path) -> str:
    if modelarts := in_containers(spec, cwd):
        return modelarts.python
    own = spec.slurm.python if spec.resources.backend == "slurm" else spec.local.python
    return own or sys.executable


def in_containers(spec: JobSpec, cwd: Path) -> ModelArtsOptions | None:
    """The options of ModelArts, with whole paths, when the job goes there."""
    if spec.resources.backend != "modelarts":
        return None
    code = tuple(str((cwd / Path(folder).expanduser()).resolve()) for folder in spec.modelarts.code)
    return spec.modelarts.model_copy(update={"code": code})


def _near(address: StoreAddress, modelarts: ModelArtsOptions | None) -> StoreAddress:
    """A bucket of a ModelArts job is in the region of its machines unless the job file says otherwise."""
    if modelarts is None or address.region or address.endpoint or not address.url.startswith("obs://"):
        return address
    return address.model_copy(update={"region": modelarts.region})


def common_env(spec: JobSpec, run_id: str, run_dir: RunDir) -> dict[str, str]:
    """Environment that all ranks share; the user's `env` wins over ours."""
    env = {
        "LAUNCHER_RUN_DIR": str(run_dir.root),
        "LAUNCHER_RUN_ID": run_id,
        "RANK_SIZE": str(spec.resources.nodes * spec.resources.devices_per_node),
        "OMP_NUM_THREADS": "{threads}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "GLOG_v": "3",
    }
    if spec.resources.device in ASCEND_DEVICES:
        env |= {
            "RANK_TABLE_FILE": str(run_dir.rank_table),
            "HCCL_CONNECT_TIMEOUT": str(HCCL_CONNECT_TIMEOUT_S),
            "JOB_ID": run_id,
        }
    elif spec.resources.nodes * spec.resources.devices_per_node > 1:
        env |= {
            "MS_WORKER_NUM": env["RANK_SIZE"],
            "MS_SCHED_HOST": "127.0.0.1",
            "MS_SCHED_PORT": "{sched_port}",
            "MS_TOPO_TIMEOUT": str(TOPOLOGY_TIMEOUT_S),
            "MS_NODE_TIMEOUT": str(COLLECTIVE_TIMEOUT_S),
            "MS_CPU_COMM_OP_TIMEOUT": str(COLLECTIVE_TIMEOUT_S),
        }
    return env | dict(spec.env)


def rank_env(spec: JobSpec, rank: int, run_dir: RunDir) -> dict[str, str]:
    """Environment of one rank. DEVICE_ID is the logical index on its machine, never the physical id of the rank table."""
    local_rank = str(rank % spec.resources.devices_per_node)
    env = {"RANK_ID": str(rank), "DEVICE_ID": local_rank}
    if spec.resources.device in ASCEND_DEVICES:
        env |= {
            "ASCEND_DEVICE_ID": local_rank,
            "ASCEND_PROCESS_LOG_PATH": str(run_dir.root / "ascend" / f"rank-{rank}"),
        }
    elif spec.resources.nodes * spec.resources.devices_per_node > 1:
        env |= {"MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(rank)}
    return env


def program_steps(
    spec: JobSpec, recipe: Recipe | None, python: str, run_dir: RunDir, cwd: Path
) -> tuple[Step, ...]:
    """The programs of the task, in order."""
    if spec.program is not None:
        modelarts = in_containers(spec, cwd)
        words = (
            _in_snapshot(spec.program, cwd, modelarts.code)
            if modelarts
            else _from_anywhere(spec.program, cwd)
        )
        return (Step(name=spec.task, argv=words),)
    assert recipe is not None, "specfile gives a recipe to every job without a program"

    def program(name: str, *extra: str) -> tuple[str, ...]:
        device = "cpu" if spec.resources.device == "cpu" else "ascend"
        return (
            python,
            "-m",
            f"vitmodels.{name}",
            "--config",
            str(run_dir.recipe),
            "--run-dir",
            str(run_dir.root),
            "--device",
            device,
            *extra,
        )

    evaluate = Step(name="eval", argv=program("evaluate", "--data", "{data}", "--checkpoint", "latest"))
    formats = spec.after.export or (("MINDIR",) if spec.task in ("export", "infer") else ())
    export = Step(
        name="export",
        argv=program("export", "--checkpoint", "latest", "--format", ",".join(formats)),
        ranks="first",
    )
    exported = [
        Step(
            name=f"eval-{name.lower()}",
            argv=program(
                "evaluate",
                "--data",
                "{data}",
                "--exported",
                str(run_dir.root / "export" / f"{recipe.arch}.{name.lower()}"),
            ),
            ranks="first",
        )
        for name in formats
        if name == "MINDIR" and spec.data.url
    ]
    exports = [export, *exported] if formats else []
    if spec.task == "train":
        after = [evaluate] if spec.after.eval else []
        return (Step(name="train", argv=program("train", "--data", "{data}")), *after, *exports)
    if spec.task == "eval":
        return (evaluate,)
    return tuple(exports)


def arithmetic(spec: JobSpec, recipe: Recipe) -> Arithmetic:
    """Batches, steps, learning rate and bytes of a recipe on the job's ranks."""
    world_size = spec.resources.nodes * spec.resources.devices_per_node
    images = spec.data.train_images
    per_epoch = recipes.steps_per_epoch(images, recipe.batch_size, world_size) if images else None
    parameters = archs.parameter_count(archs.ARCHS[archs.resolve_arch(recipe.arch)], recipe.num_classes)
    copies = 1 + {"momentum": 1}.get(recipe.optimizer, 2) + (1 if recipe.ema else 0)
    return Arithmetic(
        world_size=world_size,
        batch_per_rank=recipe.batch_size,
        global_batch=recipe.batch_size * world_size,
        epochs=recipe.epochs,
        learning_rate=recipes.scaled_lr(recipe, world_size),
        parameters=parameters,
        checkpoint_bytes=parameters * 4 * copies,
        keep_checkpoints=recipe.keep_checkpoint_max,
        train_images=images,
        steps_per_epoch=per_epoch,
        steps=per_epoch * recipe.epochs if per_epoch else None,
    )


def _from_anywhere(program: tuple[str, ...], cwd: Path) -> tuple[str, ...]:
    """Ranks run in a folder of their own: a word that names a file where the job was submitted becomes absolute.

    The first word without a slash is looked for in PATH, as in a shell.
    """
    return tuple(
        str((cwd / word).absolute())
        if ("/" in word or place > 0) and word and not word.startswith(("-", "/")) and _is_file(cwd / word)
        else word
        for place, word in enumerate(program)
    )


def _in_snapshot(program: tuple[str, ...], cwd: Path, folders: tuple[str, ...]) -> tuple[str, ...]:
    """A word that names a file here is found in the container's copy of its folder; one in no such folder is marked."""

    def place(word: str) -> str:
        path = (cwd / word).resolve()
        for folder in map(Path, folders):
            if path.is_relative_to(folder):
                return f"{{code}}/{folder.name}/{path.relative_to(folder).as_posix()}"
        return f"{OUTSIDE}{word}"

    return tuple(
        place(word)
        if ("/" in word or index > 0) and word and not word.startswith("-") and _is_file(cwd / word)
        else word
        for index, word in enumerate(program)
    )


def _sources(steps: tuple[Step, ...]) -> dict[str, str]:
    """The files that stand in a program's words, but for what is executed: a Python may differ between machines."""
    words = {
        word for step in steps for word in step.argv[1:] if word.startswith("/") and _is_file(Path(word))
    }
    return {word: file_digest(Path(word)) for word in sorted(words)}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a word too long to be a name, or with a NUL
        return False


def _address(options: StoreOptions, url: str, cwd: Path) -> StoreAddress:
    return StoreAddress(
        url=absolute_url(url, cwd),
        endpoint=options.endpoint,
        region=options.region,
        profile=options.profile,
        ca_bundle=options.ca_bundle,
        addressing=options.addressing,
    )


def _local(path: str | None, cwd: Path) -> Path | None:
    return (cwd / Path(path).expanduser()).resolve() if path else None
