"""Variables of the environment in the addresses of a job file: `$VAR` and `${VAR}` in URLs, paths and endpoints.

Only the fields of ADDRESSES are expanded. Others may hold text for a shell or a program, which expands it where it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Env
from dataclasses import dataclass, field, replace

from launcher.jobfile.spec import backend_sections
from vitmodels.document.problem import Problem
from vitmodels.document.tree import Mapping, Node, Path, Scalar, Sequence, dotted
from vitmodels.secrets import looks_secret
from vitmodels.suggest import nearest

ADDRESSES = (
    "model.config",
    "model.checkpoint",
    "data.url",
    "data.cache_dir",
    "data.endpoint",
    "data.ca_bundle",
    "output.url",
    "output.work_dir",
    "output.endpoint",
    "output.ca_bundle",
    *(f"{name}.{each}" for name, section in backend_sections().items() for each in section.ADDRESSES),
)
"""Fields whose text is an address: `*` stands for any key, `[]` for any entry of a list."""

_FORM = re.compile(r"\$\$|\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([^}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARTS = tuple(tuple(part for part in re.split(r"\.|(\[\])", name) if part) for name in ADDRESSES)


class VariableError(ValueError):
    """A variable can't stand there. `hint` is what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(slots=True)
class Expansion:
    """Expands the addresses of one tree with the variables of the submission, and collects problems."""

    env: Env[str, str]
    problems: list[Problem] = field(default_factory=list)

    def tree(self, root: Mapping) -> Mapping:
        """The tree with its addresses expanded; one with a problem is left as written."""
        expanded = self._node(root, ())
        assert isinstance(expanded, Mapping)
        return expanded

    def _node(self, node: Node, path: Path) -> Node:
        if isinstance(node, Mapping):
            pairs = tuple(
                replace(pair, value=self._node(pair.value, (*path, pair.key)))
                if _leads_to_address((*path, pair.key))
                else pair
                for pair in node.pairs
            )
            return replace(node, pairs=pairs)
        if isinstance(node, Sequence):
            return replace(
                node, items=tuple(self._node(item, (*path, k)) for k, item in enumerate(node.items))
            )
        return self._scalar(node, path)

    def _scalar(self, node: Scalar, path: Path) -> Scalar:
        if (
            not isinstance(node.value, str)
            or "$" not in node.value
            or not _leads_to_address(path, whole=True)
        ):
            return node
        try:
            value = expanded(node.value, self.env)
        except VariableError as error:
            self.problems.append(Problem(node.place, str(error), dotted(path), error.hint))
            return node
        return replace(node, value=value, text=value)


def expanded(text: str, env: Env[str, str]) -> str:
    """The text with its variables replaced, `$$` being a dollar sign. Raises VariableError.

    >>> expanded("obs://$BUCKET/${USER}_runs", {"BUCKET": "pets", "USER": "ann"})
    'obs://pets/ann_runs'
    """
    return _FORM.sub(lambda match: _value(match, env), text)


def _value(match: re.Match[str], env: Env[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    name = match[1] or match[2] or ""
    if not _NAME.fullmatch(name):
        raise VariableError(f"'{match[0]}' names no variable", "write ${NAME}; $$ is a dollar sign")
    if looks_secret(name):
        raise VariableError(
            f"${name} looks like a secret, and addresses are stored with the run",
            "leave it out; credentials come from the environment or from a profile by themselves",
        )
    value = env.get(name)
    if not value:
        near = nearest(name, [each for each in env if not looks_secret(each)]) if value is None else ""
        hint = f"did you mean ${near}?" if near else f"export {name}=..., or write the address in full"
        state = "is not set" if value is None else "is empty"
        raise VariableError(f"the variable ${name} {state}", hint)
    return value


def _leads_to_address(path: Path, *, whole: bool = False) -> bool:
    """Whether this is the way to an address, or the beginning of one unless `whole`."""
    return any(
        (len(path) == len(parts) if whole else len(path) <= len(parts))
        and all(
            part == "[]" if isinstance(step, int) else part in ("*", step)
            for step, part in zip(path, parts, strict=False)
        )
        for parts in _PARTS
    )
