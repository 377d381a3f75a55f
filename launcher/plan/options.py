"""What a training script takes and does, read from its text: options for data and checkpoints, epochs, groups of ranks."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.plan.syntax import parse

_DATA = ("data", "dataset", "data_dir", "data_path", "data_url", "dataset_dir", "dataset_path", "train_dir")
_RESUME = (
    *("resume", "resume_from", "resume_path", "resume_ckpt", "resume_checkpoint", "resume_from_checkpoint"),
    *("ckpt", "ckpt_path", "checkpoint", "checkpoint_path", "load_checkpoint"),
)
_EPOCHS = ("epochs", "num_epochs", "max_epochs", "epoch_size", "total_epochs")
_DISTRIBUTED = ("distributed", "distribute", "run_distribute", "is_distributed")
_GROUPS = ("init", "init_process_group")


@dataclass(frozen=True, slots=True)
class Option:
    """One option or positional argument of argparse. `is_flag`: it takes no value."""

    word: str
    default: Any = None
    is_flag: bool = False

    @property
    def name(self) -> str:
        return self.word.lstrip("-").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found; None where there is no such option. `forms_group`: it calls MindSpore's init or torch's."""

    data: Option | None
    resume: Option | None
    epochs: Option | None
    distributed: Option | None
    forms_group: bool
    has_loss_monitor: bool


def seen_in(script: Path) -> Seen:
    """Read a script, never run it. A script that this Python can't read shows nothing. Raises OSError."""
    text = script.read_bytes()
    tree = parse(text)
    nodes = list(ast.walk(tree)) if tree else []
    options = list(_options(nodes))
    return Seen(
        data=_first(options, _DATA, is_flag=False),
        resume=_first(options, _RESUME, is_flag=False),
        epochs=_first(options, _EPOCHS, is_flag=False),
        distributed=_first(options, _DISTRIBUTED),
        forms_group=any(isinstance(node, ast.Call) and _name_of(node.func) in _GROUPS for node in nodes),
        has_loss_monitor=b"LossMonitor" in text,
    )


def names_above(files: Sequence[Path], words: Sequence[str], cwd: Path) -> list[str]:
    """Constants of modules that lead out of `cwd` (`../configs/base.yaml`) to what exists; not the defaults of options in `words`."""
    given = {word.partition("=")[0] for word in words}
    names: dict[str, None] = {}
    for file in files:
        tree = parse(file.read_bytes())
        nodes = list(ast.walk(tree)) if tree else []
        unused = {
            each.default for each in _options(nodes) if each.word in given and isinstance(each.default, str)
        }
        for node in nodes:
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and value.startswith("../") and value not in unused:
                names[value] = None
    return [name for name in names if _exists(cwd / name)]


def constants_of(file: Path) -> Iterator[tuple[str, str]]:
    """Texts of one line in a module, each with what it is for: the name of its option, argument or variable, or ''. Raises OSError."""
    tree = parse(file.read_bytes())
    nodes = list(ast.walk(tree)) if tree else []
    labels = {id(value): label for node in nodes for label, value in _labelled(node)}
    parts = {id(part) for node in nodes for part in _later_parts(node)}
    for node in nodes:
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and "\n" not in value and id(node) not in parts:
            yield labels.get(id(node), ""), value


def _labelled(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Expressions that a node gives a name. An option names its default."""
    if isinstance(node, ast.Call):
        option = next(_options([node]), None)
        for each in node.keywords:
            yield (option.name if option and each.arg == "default" else each.arg or ""), each.value
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        yield _name_of(target), node.value
    elif isinstance(node, ast.Dict):
        for key, item in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), item


def _later_parts(node: ast.AST) -> Sequence[ast.expr]:
    """What follows another text: `"/net.ckpt"` in `folder + "/net.ckpt"` is no whole path."""
    if isinstance(node, ast.JoinedStr):
        return node.values[1:]
    return (node.right,) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) else ()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or no name at all
        return False


def _first(options: list[Option], names: tuple[str, ...], is_flag: bool | None = None) -> Option | None:
    """The option with the name that stands first in `names`."""
    fitting = [each for each in options if each.name in names and is_flag in (None, each.is_flag)]
    return min(fitting, key=lambda each: names.index(each.name), default=None)


def _options(nodes: list[ast.AST]) -> Iterator[Option]:
    for node in nodes:
        if not isinstance(node, ast.Call) or _name_of(node.func) != "add_argument":
            continue
        words = [each.value for each in node.args if isinstance(each, ast.Constant)]
        long = [
            word for word in words if isinstance(word, str) and (word.startswith("--") or word[:1] != "-")
        ]
        if not long:
            continue
        given = {each.arg: each.value for each in node.keywords if each.arg}
        action = getattr(given.get("action"), "value", "")
        yield Option(long[0], getattr(given.get("default"), "value", None), str(action).startswith("store_"))


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
