"""`args:` of a job file: values that fill `{args.NAME}` in `program`, `resume_args` and `env`, so that `--set` and `--sweep` reach them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from launcher.jobfile.spec import JobSpec
from vitmodels.document.problem import Problem
from vitmodels.document.tree import Mapping as Tree
from vitmodels.document.tree import Node, Scalar, leaves
from vitmodels.suggest import listing, nearest

_PLACE = re.compile(r"\{args\.([^{}]*)\}")


def filled(spec: JobSpec) -> JobSpec:
    """The job with its `args` in their places."""
    if not spec.args:
        return spec
    words = {name: tuple(_fill(word, spec.args) for word in getattr(spec, name) or ()) for name in _LISTS}
    changes = {name: words[name] for name in _LISTS if getattr(spec, name) is not None}
    return spec.model_copy(
        update={**changes, "env": {key: _fill(value, spec.args) for key, value in spec.env.items()}}
    )


def problems_of(spec: JobSpec, tree: Tree) -> Iterator[Problem]:
    """A place without a value, and a value without a place, which would change nothing."""
    if spec.program is None:
        return
    places: dict[str, tuple[str, Node]] = {}
    for path, node in leaves(tree):
        if path[0] in (*_LISTS, "env"):
            for text in _texts(node):
                places |= {name: (".".join(map(str, path)), node) for name in _PLACE.findall(text)}
    for name, (field, node) in places.items():
        if name not in spec.args:
            near = nearest(name, spec.args)
            hint = f"did you mean {{args.{near}}}?" if near else f"add args: {{{name}: VALUE}}"
            yield Problem(node.place, f"{{args.{name}}} has no value", field, hint)
    section = tree.get("args")
    for pair in section.pairs if isinstance(section, Tree) else ():
        if pair.key not in places:
            hint = f"write {{args.{pair.key}}} where the program takes it"
            if places:
                hint += f"; there are places for {listing(sorted(places), 'and')}"
            message = f"'{pair.key}' fills no place of program, resume_args or env"
            yield Problem(pair.key_place, message, f"args.{pair.key}", hint)


_LISTS = ("program", "resume_args")


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield node.text
    else:
        for item in getattr(node, "items", ()):
            yield from _texts(item)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), text)
