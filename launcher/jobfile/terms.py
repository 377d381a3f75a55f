"""What messages about a job file call things, and where keys belong that stand in the wrong section."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.jobfile.recipe import keys
from launcher.jobfile.spec import JobSpec
from vitmodels.document.tree import Path
from vitmodels.recipe_keys import SYNONYMS
from vitmodels.suggest import listing, nearest
from vitmodels.validation.schema import schema_of
from vitmodels.validation.terms import Terms

_OF_TARGETS = {
    **dict.fromkeys(("url", "uri", "http", "https", "address", "hook", "endpoint", "post"), "webhook"),
    **dict.fromkeys(
        ("slack", "mail", "email", "mailto", "feishu", "dingtalk", "wecom", "telegram"), "apprise"
    ),
    **dict.fromkeys(("cmd", "run", "exec", "shell", "sh", "script", "program"), "command"),
    **dict.fromkeys(("events", "event", "when"), "on"),
}
_OF_SECTIONS = {
    ("notify", "to"): _OF_TARGETS,
    ("notify",): {"targets": "to", "target": "to", "events": "on", "when": "on"},
}
"""What keys of a section are called elsewhere."""
_FEW = 3  # paths that one hint names


class JobFileTerms(Terms):
    kind = "a job file"
    synonyms = {  # noqa: RUF012 - what chips are called elsewhere
        "ascend910a": "ascend910",
        "ascend910c": "atlas-a3",
        "910": "ascend910",
        "910b": "ascend910b",
        "910c": "atlas-a3",
        "a2": "ascend910b",
        "310p": "ascend310p",
        "a3": "atlas-a3",
        "ascend": "ascend910",
        "npu": "ascend910",
    }

    def called_here(self, section: Path, key: str) -> str:
        names = tuple(part for part in section if isinstance(part, str))
        return _OF_SECTIONS.get(names, {}).get(key.lower(), "")

    def known_elsewhere(self, key: str) -> str:
        schema = schema_of(JobSpec)
        sections = [name for name in schema.keys(()) if key in schema.keys((name,))]
        if sections:
            recipe = nearest(key, keys())  # `epoch` is probably meant as the recipe's `epochs`
            other = f"; or did you mean model.set.{recipe}?" if recipe and key not in keys() else ""
            return f"it belongs under {listing(sections)}{other}"
        if key in JobSpec.model_fields:
            return "it belongs to the top level of the file"
        return "it belongs under model.set, with the other recipe keys" if key in keys() else ""

    def resembles(self, key: str, below: Sequence[str] = ()) -> str:
        if below:  # an invented section, such as `train:`
            meant = list(dict.fromkeys(path for path in map(_path_of, below) if path))
            return f"did you mean {listing(meant[:_FEW], 'and')}?" if meant else ""
        near = SYNONYMS.get(key) or nearest(key, keys())
        return f"did you mean model.set.{near}?" if near else ""


def _path_of(key: str) -> str:
    """The dotted path of the key of a section or recipe that a key is, or most resembles; '' when none does."""
    schema = schema_of(JobSpec)
    paths = {key: f"{section}.{key}" for section in schema.keys(()) for key in schema.keys((section,))}
    paths |= {key: f"model.set.{key}" for key in keys()}
    near = key if key in paths else SYNONYMS.get(key) or nearest(key, paths)
    return paths.get(near, "")
