"""Hints for a command line that can't be taken: the verbs of other tools, and values of the job file that were typed as options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

VERBS = {
    "run": "submit",
    "start": "submit",
    "launch": "submit",
    "sbatch": "submit",
    "ps": "status",
    "queue": "status",
    "squeue": "status",
    "jobs": "status",
    "show": "status",
    "describe": "status",
    "stop": "cancel",
    "kill": "cancel",
    "down": "cancel",
    "scancel": "cancel",
    "tail": "logs -f",
    "log": "logs",
    "follow": "attach",
    "watch": "attach",
    "download": "fetch-results",
    "fetch": "fetch-results",
    "pull": "fetch-results",
    "validate": "check",
    "lint": "check",
    "dry-run": "submit --dry-run",
    "why": "explain",
    "continue": "resume",
    "restart": "resume",
    "compare": "report",
    "copy": "cp",
    "sync": "cp",
    "train": "submit",
    "srun": "submit",
    "fit": "submit",
    "eval": "submit FILE --set task=eval",
    "evaluate": "submit FILE --set task=eval",
    "infer": "submit FILE --set task=infer",
    "predict": "submit FILE --set task=infer",
    "sweep": "submit FILE --sweep KEY=V1,V2",
    "rerun": "retry",
    "abort": "cancel",
    "terminate": "cancel",
    "runs": "status",
    "history": "status",
    "sacct": "status",
    "info": "status",
    "inspect": "status",
    "results": "fetch-results",
    "diff": "report RUN RUN",
    "plot": "report",
    "curves": "report",
    "metrics": "report",
    "tb": "export --to tensorboard",
    "tensorboard": "export --to tensorboard",
    "mlflow": "export --to mlflow",
    "swanlab": "export --to swanlab",
    "csv": "export --to csv",
    "ui": "dashboard",
    "gui": "dashboard",
    "web": "dashboard",
    "serve": "dashboard",
    "new": "init",
    "create": "init",
    "template": "init",
    "config": "explain FILE",
    "env": "doctor",
    "devices": "doctor",
}
"""What other tools call a command, and what it is called here."""

_REMOVES = "'launcher cancel RUN' stops a run; 'launcher --help' lists the commands, also those that remove something"
ANSWERS = {
    "version": "that is 'launcher --version' here",
    **dict.fromkeys(("rm", "remove", "del", "clean", "clear", "destroy", "gc"), _REMOVES),
    **dict.fromkeys(
        ("notify", "alert", "webhook"), "messages are set in the job file, under notify: (docs/notify.md)"
    ),
    **dict.fromkeys(
        ("login", "auth", "configure"),
        "there is no login: stores take credentials from the environment (docs/storage.md)",
    ),
}
"""What is said to words of other tools that no command here answers to."""

OPTIONS = {
    "epoch": "epochs",
    "bs": "batch_size",
    "batch": "batch_size",
    "wd": "weight_decay",
    "warmup": "warmup_length",
    "data": "data.url",
    "data_dir": "data.url",
    "dataset": "data.url",
    "output": "output.url",
    "output_dir": "output.url",
    "out": "output.url",
    "nodes": "resources.nodes",
    "nnodes": "resources.nodes",
    "devices": "resources.devices_per_node",
    "gpus": "resources.devices_per_node",
    "npus": "resources.devices_per_node",
    "nproc_per_node": "resources.devices_per_node",
    "device": "resources.device",
    "walltime": "resources.time_limit",
    "time": "resources.time_limit",
}
"""Options of other tools, and the keys that mean the same in a job file."""

DESTRUCTIVE = ("prune", "delete")
"""Commands that remove something: a slip of the finger is never answered with one of them."""


def unknown_command(name: str, commands: Iterable[str]) -> str:
    """The hint for a command that does not exist."""
    from vitmodels.suggest import nearest

    if name in VERBS:
        return f"that is 'launcher {VERBS[name]}' here"
    if name in ANSWERS:
        return ANSWERS[name]
    names = list(commands)
    close = nearest(name, [each for each in names if each not in DESTRUCTIVE])
    return f"did you mean '{close}'?" if close else f"commands: {', '.join(names)}"


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments; words that are left over end the program with code 2 and what to type. Raises SystemExit."""
    args, left_over = parser.parse_known_args(words)
    if left_over:
        hint = _values_typed_as_options(left_over) if hasattr(args, "set") else ""
        parser.error(f"unrecognized arguments: {' '.join(left_over)}" + (f"\n  hint: {hint}" if hint else ""))
    return args


def _values_typed_as_options(words: Sequence[str]) -> str:
    """`--epochs 3`, `--epochs=3` and `epochs=3` are values of the job file; empty for anything else."""
    pairs = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        key, equals, value = word.lstrip("-").partition("=")
        if not equals and word.startswith("--") and remaining and not remaining[0].startswith("--"):
            value = remaining.pop(0)
        elif not equals:
            return ""
        ours = _key_of(key)
        if not ours:
            return f"no key of a job file is called '{key}': launcher explain FILE shows all; --set KEY=VALUE changes one"
        pairs.append(f"--set {ours}={value}")
    return f"a value of the job file or recipe is changed with {' '.join(pairs)}"


def _key_of(option: str) -> str:
    """The key that an option was meant for, as --set takes it; '' when none is known."""
    from launcher.jobfile.recipe import keys
    from launcher.jobfile.spec import JobSpec
    from vitmodels.recipe_keys import SYNONYMS
    from vitmodels.suggest import nearest
    from vitmodels.validation.schema import schema_of

    name = option.replace("-", "_").lower()
    if "." in name:
        return option.replace("-", "_")
    known = OPTIONS.get(name) or SYNONYMS.get(name)
    if known:
        return known
    schema = schema_of(JobSpec)
    if name in keys() or (name in JobSpec.model_fields and not schema.keys((name,))):
        return name
    sections = [each for each in JobSpec.model_fields if name in schema.keys((each,))]
    if sections:
        return f"{sections[0]}.{name}" if len(sections) == 1 else ""
    return nearest(name, keys())
