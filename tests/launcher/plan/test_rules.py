"""Every rule on a plan: one that breaks it, and none on the jobs of this project."""

from pathlib import Path

import pytest

from launcher.plan.model import Plan
from launcher.plan.rules import RULES, check_rules
from launcher.submission.prepare import prepare

ROOT = Path(__file__).parents[3]
NPUS = ["resources.device=ascend910", "resources.devices_per_node=8"]

BREAKING = {
    "PF001": ["data.train_images=20", "batch_size=32"],
    "PF002": ["data.train_images=59", "batch_size=32"],
    "PF003": ["base_lr=0.5"],
    "PF004": ["env.RANK_SIZE='4'"],
    "PF006": [*NPUS, "watch.hang_after=2min", "retry.max_restarts=1"],
    "PF007": ["after.export=[MINDIR, AIR]"],
    "PF008": ["keep_checkpoint_max=1000000"],
    "PF009": [*NPUS, "retry.max_restarts=0"],
    "PF013": ["output.url=work", "output.work_dir=work"],
    "PF014": ["resources.device=ascend310p"],
    "PF015": [*NPUS, "amp_level=bf16", "retry.max_restarts=1"],
    "PF016": ["amp_level=bf16"],
    "PF017": ["data.train_images=3200", "profile.steps=9999990-9999999"],
    "PF018": ["pretrained=s3://bucket/vit.ckpt"],
}


def plan(*overrides: str) -> Plan:
    """Without images of this machine, whose number is a rule's matter, too: `make demo` leaves some where the job looks."""
    overrides = ("data.url=/nowhere/digits", *overrides)
    return prepare(ROOT / "jobs" / "digits_tnt_1p.yaml", overrides=overrides, env={"HOME": "/nowhere"}).plan


@pytest.mark.parametrize("rule", BREAKING)
def test_a_plan_that_breaks_a_rule_is_found_with_a_place_and_a_fix(rule: str) -> None:
    found = check_rules(plan(*BREAKING[rule]))
    assert [finding.rule for finding in found] == [rule]
    assert found[0].where
    assert found[0].fix


def test_every_rule_is_tested_here() -> None:
    assert len(RULES) == len(BREAKING)


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_jobs_of_this_project_break_none(path: Path) -> None:
    found = check_rules(prepare(path, env={"HOME": "/nowhere"}).plan)
    assert [finding for finding in found if finding.severity != "info"] == []


def test_the_rules_are_in_the_documentation() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [rule for rule in BREAKING if rule not in text] == []
