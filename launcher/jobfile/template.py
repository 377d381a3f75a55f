"""A commented job file for a task and an architecture, made from the descriptions of the fields.

Keys that the task needs are written with a value. On request every other key stands in a comment with its default or an
example, so that removing the `#` is all it takes to use it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.jobfile import trainings
from launcher.jobfile.spec import JobSpec
from vitmodels import archs
from vitmodels.document.scalars import resolve
from vitmodels.suggest import listing
from vitmodels.validation.schema import TEXT_FORM, ModelSchema, Schema, schema_of

_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z0-9./][A-Za-z0-9_./-]*(://[A-Za-z0-9_./-]*)?")  # needs no quotes in any YAML
DIGITS = "data/digits"
Values = dict[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job file is written for. `arch` is any spelling that vitmodels knows; empty and 0: what fits the rest.

    `schema_file` is where editors find the JSON Schema. `full`: every key, those without a value in comments.
    """

    name: str
    arch: str
    backend: str = "local"
    task: str = "train"
    devices: int = 0
    data: str = ""
    schema_file: str = ""
    full: bool = False


def render(wish: Wish) -> str:
    """The text of a job file that `launcher check` accepts. Raises UnknownArch."""
    usage = (
        ["# A job of ascend-launcher. To use a key, remove the # before it and before its section."]
        if wish.full
        else ["# A job of ascend-launcher; `launcher init --full` shows every key."]
    )
    lines = [
        *([f"# yaml-language-server: $schema={wish.schema_file}"] if wish.schema_file else []),
        *usage,
        "# `launcher check FILE` says whether all is well.",
        "",
        *_section(schema_of(JobSpec), (), _values(wish, archs.resolve_arch(wish.arch)), full=wish.full),
    ]
    return "\n".join(lines) + "\n"


def _values(wish: Wish, arch: str) -> Values:
    """What is written without a comment sign."""
    small, task, backend = is_small(arch), wish.task, wish.backend
    devices = wish.devices or (1 if small or task != "train" else 8)
    values: Values = {
        ("name",): wish.name,
        ("task",): task,
        ("model", "arch"): arch,
        ("data", "url"): wish.data or (DIGITS if small else "obs://bucket/imagenet"),
        ("resources", "backend"): backend,
        ("resources", "device"): "cpu" if small else "ascend910",
        ("resources", "nodes"): 1,
        ("resources", "devices_per_node"): devices,
        ("output", "url"): "runs" if small or is_folder(wish.data) else "obs://bucket/runs",
    }
    if backend == "modelarts":
        values |= _in_the_cloud(small, wish.data)
    if backend == "kubernetes":
        values |= _in_pods(small, wish.data)
    if task == "train":
        values["model", "set"] = trainings.settings(arch, devices)
        values["after", "eval"] = True
        values["after", "export"] = ["MINDIR"]
        if not small:
            if not wish.data:
                values["data", "train_images"] = 1281167
            values["retry", "max_restarts"] = 3
    else:
        run = f"{values['output', 'url']}/RUN_ID"
        values["model", "checkpoint"] = run
    if task == "export":
        del values["data", "url"]
    return values


def _in_the_cloud(small: bool, data: str) -> Values:
    """What a training job of ModelArts can't do without; names and ids are to be replaced."""
    machine = {"flavor": "modelarts.vm.cpu.8u"} if small else {"pool_id": "pool-00000000"}
    return {
        ("data", "url"): data or ("obs://bucket/digits" if small else "obs://bucket/imagenet"),
        ("output", "url"): "obs://bucket/runs",
        ("resources", "time_limit"): "2h" if small else "10d",
        ("modelarts", "region"): "cn-north-4",
        ("modelarts", "image"): "my-org/ascend-launcher:0.1",
        **{("modelarts", key): value for key, value in machine.items()},
    }


def _in_pods(small: bool, data: str) -> Values:
    """What a job of Kubernetes can't do without; names are to be replaced."""
    board: Values = (
        {("kubernetes", "kind"): "job"} if small else {("kubernetes", "schedule_policy"): "chip8-node8"}
    )
    return {
        ("data", "url"): data or ("obs://bucket/digits" if small else "obs://bucket/imagenet"),
        ("output", "url"): "obs://bucket/runs",
        ("kubernetes", "namespace"): "default",
        ("kubernetes", "image"): "registry.example.com/ascend-launcher:0.1",
        **board,
    }


def is_folder(url: str) -> bool:
    return bool(url) and "://" not in url


def is_small(arch: str) -> bool:
    """Whether a CPU trains it."""
    return arch.endswith("_digits")


def _section(schema: ModelSchema, path: tuple[str, ...], values: Values, *, full: bool) -> Iterator[str]:
    indent = "  " * len(path)
    for key in schema.keys(path):
        here = (*path, key)
        field = schema.at(here) or {}
        live = any(known[: len(here)] == here for known in values)
        if not live and (not full or (here == ("profile",) and values["task",] != "train")):
            continue
        mark = "" if live else "#"
        if not path and key != "name":
            yield ""
        yield from _comment(field, indent)
        if schema.keys(here):
            yield f"{indent}{mark}{key}:"
            yield from _section(schema, here, values, full=full)
            continue
        yield f"{indent}{mark}{key}: {flow(values[here] if here in values else _sample(field))}"


def _comment(field: Schema, indent: str) -> Iterator[str]:
    """The description, and the words a value is chosen from, wrapped."""
    text = str(field.get("description", ""))
    if "enum" in field and not all(str(value) in text for value in field["enum"]):
        text = f"{text} One of {listing(map(str, field['enum']))}."
    text = " ".join(text.split())
    line = f"{indent}#"
    for word in text.split(" "):
        if len(line) + len(word) > _WIDTH:
            yield line
            line = f"{indent}#"
        line += f" {word}"
    yield line


def _sample(field: Schema) -> Any:
    """The default, or an example where there is none."""
    default = field.get("default")
    if default is not None and default != {}:
        return _as_duration(default) if field.get(TEXT_FORM) == "duration" else default
    examples = field.get("examples")
    if examples:
        return examples[0]
    if field.get(TEXT_FORM) == "duration":
        return "30s"
    if words := [value for value in field.get("enum", ()) if value is not None]:
        return words[0]
    return {"object": {}, "array": [], "integer": 1, "boolean": False}.get(str(field.get("type")), "VALUE")


def _as_duration(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and resolve(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
