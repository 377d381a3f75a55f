"""What messages about a job file call things, and where keys belong that stand in the wrong section."""

from __future__ import annotations

from launcher.jobfile.recipe import keys
from launcher.jobfile.spec import JobSpec
from vitmodels.recipe_keys import SYNONYMS
from vitmodels.suggest import listing, nearest
from vitmodels.validation.schema import schema_of
from vitmodels.validation.terms import Terms


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

    def resembles(self, key: str) -> str:
        near = SYNONYMS.get(key) or nearest(key, keys())
        return f"did you mean model.set.{near}?" if near else ""
