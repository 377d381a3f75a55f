"""Rules on a plan alone: arithmetic, limits of devices and programs, settings that would not do what they seem to.

Each rule is one function of the table at the end; `launcher check` and `submit --dry-run` show what they find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from launcher.findings import Finding, Severity
from launcher.plan.model import ASCEND_DEVICES, INFERENCE_DEVICES, Plan
from launcher.plan.ranks import profile_env
from launcher.units import show_bytes, show_duration
from vitmodels.secrets import mask_paths

MANY_LEFT_OUT = 0.1
HIGH_RATE = {"adamw": 0.02, "adam_weight_decay": 0.02, "momentum": 10.0}
COMPILE_S = 900
MANY_CHECKPOINT_BYTES = 200 << 30
_OURS = (
    "RANK_ID",
    "RANK_SIZE",
    "DEVICE_ID",
    "ASCEND_DEVICE_ID",
    "RANK_TABLE_FILE",
    "MS_ROLE",
    "MS_NODE_ID",
    "MS_WORKER_NUM",
    "MS_SCHED_HOST",
    "MS_SCHED_PORT",
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
    "LAUNCHER_RUN_DIR",
    "LAUNCHER_RUN_ID",
    "LAUNCHER_ATTEMPT",
    "LAUNCHER_RESUME",
    "LAUNCHER_PROFILE_STEPS",
    "LAUNCHER_PROFILE_RANKS",
)


def check_rules(plan: Plan) -> list[Finding]:
    """Everything that the rules find, in their order."""
    return [finding for rule in RULES for finding in rule(plan)]


def _one_batch(plan: Plan) -> Iterator[Finding]:
    numbers = plan.arithmetic
    if numbers and numbers.train_images is not None and not numbers.steps_per_epoch:
        yield Finding(
            "PF001",
            "error",
            f"{numbers.train_images} training images don't fill one global batch of {numbers.global_batch}",
            "model.set.batch_size",
            "use a smaller batch_size or fewer devices",
        )


def _two_folders(plan: Plan) -> Iterator[Finding]:
    """The store and the work folder must not be one: there would be no second copy, and `prune` would remove it."""
    if plan.store.url == plan.run_dir.root.as_uri():
        yield Finding(
            "PF013",
            "error",
            f"output.url and output.work_dir are the same folder, {plan.work_dir}: there would be no second copy of anything",
            "output.url",
            "name two folders",
        )


def _left_out(plan: Plan) -> Iterator[Finding]:
    """Batches are the same on all ranks, so what does not fill the last one is left out."""
    numbers = plan.arithmetic
    if numbers is None or not numbers.train_images or not numbers.steps_per_epoch:
        return
    leftover = numbers.train_images - numbers.steps_per_epoch * numbers.global_batch
    if leftover > MANY_LEFT_OUT * numbers.train_images:
        yield Finding(
            "PF002",
            "info",
            f"{leftover} of {numbers.train_images} training images are left out of each epoch, others each time, "
            "because every rank makes the same number of whole batches",
            "model.set.batch_size",
            "choose a batch_size that divides better when that matters",
        )


def _learning_rate(plan: Plan) -> Iterator[Finding]:
    numbers = plan.arithmetic
    optimizer = str(plan.recipe.get("optimizer", ""))
    limit = HIGH_RATE.get(optimizer)
    if numbers is None or limit is None or numbers.learning_rate <= limit:
        return
    scaled = "" if plan.recipe.get("lr_scale") == "none" else ", scaled to the global batch"
    yield Finding(
        "PF003",
        "warning",
        f"the peak learning rate is {numbers.learning_rate:g}{scaled}; {optimizer} seldom learns above {limit:g}",
        "model.set.base_lr",
        "lower base_lr, or set lr_scale: none when base_lr is meant as it stands",
    )


def _own_variables(plan: Plan) -> Iterator[Finding]:
    """The job's `env` overrides the variables of all ranks, and is overridden by those of each rank."""
    expected = {"LAUNCHER_RUN_ID": plan.run_id, "LAUNCHER_RUN_DIR": str(plan.run_dir.root)}
    expected |= {"RANK_SIZE": str(plan.world_size), "MS_WORKER_NUM": str(plan.world_size)}
    expected |= {"MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": "{sched_port}"}
    expected |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "{master_port}"}
    expected |= {"WORLD_SIZE": str(plan.world_size), "LOCAL_WORLD_SIZE": str(plan.devices_per_node)}
    expected |= {"RANK_TABLE_FILE": str(plan.run_dir.rank_table)} | profile_env(plan.profile)
    for name in _OURS:
        if name in plan.env and plan.env[name] != expected.get(name):
            yield Finding(
                "PF004",
                "warning",
                f"{name} is launcher's own variable: it tells each rank who it is",
                f"env.{name}",
                "leave it out; resources says how many ranks there are",
            )


def _hang(plan: Plan) -> Iterator[Finding]:
    limit = plan.watch.hang_after
    if plan.device in ASCEND_DEVICES and 0 < limit < COMPILE_S:
        yield Finding(
            "PF006",
            "warning",
            f"silence for {show_duration(limit)} counts as a hang, but the first step compiles the graph without a word, for many minutes",
            "watch.hang_after",
            f"set it to {show_duration(COMPILE_S)} or more",
        )


def _air(plan: Plan) -> Iterator[Finding]:
    formats = [step.argv[-1] for step in plan.steps if step.name == "export"]
    if plan.device == "cpu" and any("AIR" in each.split(",") for each in formats):
        yield Finding(
            "PF007",
            "error",
            "AIR can be exported only where an Ascend NPU is",
            "after.export",
            "use MINDIR, which converts to every device, or run the job on NPUs",
        )


def _inference_only(plan: Plan) -> Iterator[Finding]:
    """MindSpore itself has had no 310P since 2.2, so that the programs of vitmodels need another device."""
    if plan.device in INFERENCE_DEVICES and (plan.task == "train" or not plan.own_program):
        why = "can't train" if plan.task == "train" else "does not run MindSpore, which vitmodels needs"
        yield Finding(
            "PF014",
            "error",
            f"{plan.device} is for inference: it {why}",
            "resources.device",
            "name another device; on a 310P a program of your own with task: infer runs an exported model by MindSpore Lite",
        )


def _bfloat16_missing(plan: Plan) -> Iterator[Finding]:
    if plan.device == "ascend910" and plan.recipe.get("amp_level") == "bf16":
        yield Finding(
            "PF015",
            "error",
            "the Ascend 910 can't compute in bfloat16: CANN fails with EE1006",
            "model.set.amp_level",
            "use amp_level O2, or a 910B or later chip",
        )


def _bfloat16_rounded(plan: Plan) -> Iterator[Finding]:
    if plan.device == "cpu" and plan.recipe.get("amp_level") == "bf16":
        yield Finding(
            "PF016",
            "info",
            "on CPU bf16 rounds the matrix products to bfloat16 and computes in float32: it shows the accuracy, and is slower than O0",
            "model.set.amp_level",
            "use amp_level O0 unless the accuracy of bfloat16 is the question",
        )


def _pretrained(plan: Plan) -> Iterator[Finding]:
    """A relative path is left in a plan only where the machines have no files of this one."""
    weights = "" if plan.own_program else str(plan.recipe.get("pretrained", ""))
    if "://" in weights:
        shown = mask_paths(weights)
        message = f"{shown} is a URL, and weights are read from a path"
        fix = f"copy them with `launcher cp {shown} FOLDER`, and name the file there"
    elif weights and not weights.startswith("/"):
        message = f"{weights} is relative, and the containers of the run have no files of this machine"
        fix = "name the whole path in the container, where a volume or the image brings the file"
    else:
        return
    yield Finding("PF018", "error", message, "model.set.pretrained", fix)


def _checkpoints(plan: Plan) -> Iterator[Finding]:
    numbers = plan.arithmetic
    if numbers is None:
        return
    size = numbers.keep_checkpoints * numbers.checkpoint_bytes
    if size > MANY_CHECKPOINT_BYTES:
        yield Finding(
            "PF008",
            "info",
            f"{numbers.keep_checkpoints} checkpoints of {show_bytes(numbers.checkpoint_bytes)} are {show_bytes(size)}, on the disk and in the store",
            "model.set.keep_checkpoint_max",
            "a lower keep_checkpoint_max keeps the newest ones and the best one",
        )


def _profiled_steps(plan: Plan) -> Iterator[Finding]:
    numbers, last = plan.arithmetic, plan.profile.last
    if last is not None and numbers and numbers.steps is not None and last > numbers.steps:
        yield Finding(
            "PF017",
            "error",
            f"step {last} is never reached: {numbers.epochs} epochs have {numbers.steps} steps",
            "profile.steps",
            "name steps of this training",
        )


def _restarts(plan: Plan) -> Iterator[Finding]:
    severity: Severity = "info"
    if (
        plan.task == "train"
        and plan.retry.max_restarts == 0
        and plan.world_size >= 8
        and plan.device != "cpu"
    ):
        yield Finding(
            "PF009",
            severity,
            f"{plan.world_size} NPUs and no restart: the first fault of any of them ends the run",
            "retry.max_restarts",
            "set it to 3; a restart goes on from the newest complete checkpoint",
        )


RULES: tuple[Callable[[Plan], Iterator[Finding]], ...] = (
    _one_batch,
    _two_folders,
    _left_out,
    _learning_rate,
    _own_variables,
    _hang,
    _air,
    _inference_only,
    _bfloat16_missing,
    _bfloat16_rounded,
    _pretrained,
    _checkpoints,
    _profiled_steps,
    _restarts,
)
