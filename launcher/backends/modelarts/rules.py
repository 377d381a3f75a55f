"""Rules on a plan for ModelArts: limits of the service, and settings that would fail or mislead there.

One rule, one id, one function in one of four tables. They need neither the service nor its SDK.
"""

from __future__ import annotations

from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.rules_image import IMAGE_RULES
from launcher.backends.modelarts.rules_job import JOB_RULES
from launcher.backends.modelarts.rules_places import PLACE_RULES
from launcher.backends.modelarts.rules_pool import POOL_RULES
from launcher.findings import Finding
from launcher.plan.model import Plan

RULES = (*JOB_RULES, *PLACE_RULES, *POOL_RULES, *IMAGE_RULES)


def check_modelarts(plan: Plan) -> list[Finding]:
    """Everything that the rules find, in their order."""
    return [finding for rule in RULES for finding in rule(plan, options_of(plan))]
