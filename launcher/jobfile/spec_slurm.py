"""The section `slurm:` of a job file."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from launcher.jobfile.quantities import Duration, Size
from launcher.jobfile.section import Section, as_tuple
from vitmodels.validation.rule import RuleError


def _one_word(text: str) -> str:
    if not text or any(letter.isspace() or letter in "'\"`$;#" for letter in text):
        raise RuleError(expected="one word without quotes or blanks")
    return text


Word = Annotated[str, AfterValidator(_one_word)]

OURS = {
    "--job-name": "name",
    "--comment": "",
    "--nodes": "resources.nodes",
    "--ntasks": "resources.nodes",
    "--ntasks-per-node": "",
    "--tasks-per-node": "",
    "--gres": "slurm.gres",
    "--partition": "slurm.partition",
    "--account": "slurm.account",
    "--qos": "slurm.qos",
    "--time": "slurm.time",
    "--cpus-per-task": "slurm.cpus",
    "--mem": "slurm.memory",
    "--exclusive": "slurm.exclusive",
    "--constraint": "slurm.constraint",
    "--nodelist": "slurm.nodelist",
    "--exclude": "slurm.exclude",
    "--dependency": "slurm.after",
    "--kill-on-invalid-dep": "slurm.after",
    "--array": "slurm.max_parallel",
    "--requeue": "slurm.requeue",
    "--no-requeue": "slurm.requeue",
    "--signal": "slurm.stop_before",
    "--output": "slurm.log",
    "--error": "slurm.log",
    "--open-mode": "",
    "--export": "",
    "--chdir": "",
    "--wrap": "",
    "--parsable": "",
    "--wait": "",
    "--test-only": "",
    "--clusters": "",
    "--help": "",
    "--usage": "",
    "--version": "",
}
"""Flags of sbatch that launcher sets or that would leave it without a job, and the field that stands for each."""

_INSTEAD_OF = {"--mem-per-cpu": "memory", "--mem-per-gpu": "memory", "--tres-per-node": "gres"}
"""Flags that say the same as a field in another way: one of both."""

_SHORT = {
    "J": "--job-name",
    "N": "--nodes",
    "n": "--ntasks",
    "p": "--partition",
    "A": "--account",
    "q": "--qos",
    "t": "--time",
    "c": "--cpus-per-task",
    "C": "--constraint",
    "w": "--nodelist",
    "x": "--exclude",
    "d": "--dependency",
    "a": "--array",
    "o": "--output",
    "e": "--error",
    "D": "--chdir",
    "W": "--wait",
    "M": "--clusters",
    "h": "--help",
    "V": "--version",
}

_LONGEST_WARNING_S = 65535


class SlurmOptions(Section):
    """Options of the back end `slurm`. What is not given is left to the cluster's own defaults."""

    ADDRESSES: ClassVar[tuple[str, ...]] = ("python", "log")

    partition: Word | None = Field(None, description="Partition.", examples=["npu"])
    account: Word | None = Field(None, description="Account that is charged.")
    qos: Word | None = Field(None, description="Quality of service.")
    time: Duration | None = Field(
        None,
        description="Time limit of one allocation; default: the partition's. Before it ends the run saves a checkpoint and is queued again.",
        examples=["72:00:00"],
    )
    stop_before: Duration = Field(
        300, description="So long before the time limit the run is stopped, with a checkpoint."
    )
    requeue: bool = Field(
        True,
        description="Go on by itself after the time limit, a lost node or a preemption: the same job is queued again.",
    )
    max_requeues: int = Field(
        20,
        ge=0,
        le=1000,
        description="It queues itself again as long as it was started anew less often than this, for whatever reason.",
    )
    gres: str = Field(
        "npu",
        pattern=r"^[A-Za-z0-9_.:-]*$",
        description="Name of the NPUs as a generic resource, with a type where the cluster has one; empty: don't ask for any, use whole nodes.",
        examples=["npu:910b"],
    )
    cpus: int | None = Field(None, ge=1, le=4096, description="CPUs per node.")
    memory: Size | None = Field(None, ge=1 << 20, description="Memory per node.", examples=["200GB"])
    exclusive: bool = Field(False, description="Whole nodes, with all their CPUs.")
    constraint: Word | None = Field(None, description="Features a node must have.")
    nodelist: Word | None = Field(None, description="Nodes that must be among those of the run.")
    exclude: Word | None = Field(None, description="Nodes that must not be.", examples=["node[3-4]"])
    after: tuple[str, ...] = Field(
        (), description="Runs of this back end that must have SUCCEEDED before this one starts."
    )
    max_parallel: int | None = Field(
        None, ge=1, description="So many runs of a sweep at a time; a sweep is one job array."
    )
    extra: tuple[str, ...] = Field(
        (),
        description="Further flags of sbatch, passed on as they are.",
        examples=[["--reservation=maintenance", "--mail-type=END"]],
    )
    setup: tuple[str, ...] = Field(
        (),
        description="Shell lines for the first node, before anything starts; what they export reaches all nodes.",
        examples=[["module load cann", "source /usr/local/Ascend/ascend-toolkit/set_env.sh"]],
    )
    python: str | None = Field(
        None,
        description="Python on the nodes, with everything that the run needs; default: the one that runs launcher.",
        examples=["/opt/venv/bin/python"],
    )
    log: str | None = Field(
        None,
        description="File on the first node for what Slurm itself says; a whole path whose folder exists there; default: in /tmp.",
        examples=["/home/me/%x-%j.log"],
    )

    @field_validator("time", mode="before")
    @classmethod
    def _with_unit(cls, value: Any) -> Any:
        if isinstance(value, int):
            raise RuleError(
                "a bare number is minutes for Slurm and seconds elsewhere: write 90min or 12:30:00"
            )
        return value

    @field_validator("time", "stop_before", mode="before")
    @classmethod
    def _one_meaning(cls, value: Any) -> Any:
        if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+):([0-5]\d)\s*", value)):
            first, second = match.groups()
            short = f"{first}min" + (f"{second}s" if int(second) else "")
            raise RuleError(
                "Slurm reads two numbers as minutes and seconds, others read hours and minutes",
                hint=f"write {short} or {first}:{second}:00",
            )
        return value

    @field_serializer("time", when_used="json")
    def _as_written(self, value: int | None) -> str | None:
        return None if value is None else f"{value}s"

    @field_validator("stop_before")
    @classmethod
    def _what_slurm_can(cls, value: int) -> int:
        if value > _LONGEST_WARNING_S:
            raise RuleError(f"Slurm warns at most {_LONGEST_WARNING_S} s before the end")
        return value

    @field_validator("log")
    @classmethod
    def _whole_path(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or not path.isprintable()):
            raise RuleError(expected="a whole path, such as /var/tmp/%x-%j.log")
        return path

    @field_validator("python")
    @classmethod
    def _from_anywhere(cls, path: str | None) -> str | None:
        if path is not None and (not path or not path.isprintable() or ("/" in path and path[0] != "/")):
            raise RuleError(expected="a whole path, or the name of a program that every node finds")
        return path

    _sequence = field_validator("after", "extra", "setup", mode="before")(as_tuple)

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, flags: tuple[str, ...]) -> tuple[str, ...]:
        for flag in flags:
            if len(flag) < 2 or flag[0] != "-" or not flag.isprintable():
                raise RuleError(expected="flags of sbatch, such as --reservation=NAME", found=f"'{flag}'")
            if (name := long_name(flag)) in OURS:
                field = OURS[name]
                way_out = f"use {field}" if field else "it can't be changed"
                raise RuleError(f"'{flag}' contradicts what launcher sets itself; {way_out}")
        return flags

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for flag in self.extra:
            field = _INSTEAD_OF.get(long_name(flag))
            if field and getattr(self, field) and field in self.model_fields_set:
                raise RuleError(
                    f"'{flag}' contradicts slurm.{field}; leave one of both away",
                    at=("extra",),
                    others=((field,),),
                )
        return self


def long_name(flag: str) -> str:
    """The long name of a flag of sbatch: `-pnpu`, `-p npu`, `--partition=npu`, `--part=npu` are all `--partition`."""
    if flag.startswith("--"):
        name = flag.partition("=")[0].partition(" ")[0]
        return name if name in OURS else next((each for each in OURS if each.startswith(name)), name)
    return _SHORT.get(flag[1:2], flag)
