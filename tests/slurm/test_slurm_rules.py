"""Rules that need no cluster."""

from pathlib import Path

import pytest

from launcher.backends.slurm.backend import SlurmBackend
from launcher.errors import BackendError
from launcher.submission.preflight import check_plan
from launcher.submission.prepare import prepare
from launcher.submission.refuse import refuse_errors

ROOT = Path(__file__).parents[2]
NPUS = ["resources.device=ascend910", "resources.devices_per_node=8", "retry.max_restarts=1"]

BREAKING = {
    "SL010": ["slurm.time=5min"],
    "SL011": ["slurm.time=10min"],
    "SL012": NPUS,
    "SL013": ["output.url=/tmp/runs"],
}


def rules(*overrides: str) -> list[str]:
    job = ROOT / "jobs" / "digits_tnt_1p.yaml"
    plan = prepare(
        job, overrides=overrides, backend="slurm", env={"HOME": "/nowhere"}, cwd=Path("/shared")
    ).plan
    return [finding.rule for finding in check_plan(plan) if finding.rule.startswith("SL")]


@pytest.mark.parametrize("rule", BREAKING)
def test_a_plan_that_breaks_a_rule(rule: str) -> None:
    assert rules(*BREAKING[rule]) == [rule]


def test_a_plan_that_breaks_none() -> None:
    assert rules("slurm.time=24:00:00") == []
    assert rules(*NPUS, "slurm.cpus=96") == []


def test_the_rules_are_in_the_documentation() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [rule for rule in BREAKING if rule not in text] == []


def test_a_cluster_that_can_not_be_asked_is_the_platform_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    plan = prepare(ROOT / "jobs" / "digits_tnt_1p.yaml", backend="slurm").plan
    found = SlurmBackend().check(plan)
    assert [(finding.rule, finding.source) for finding in found] == [("SL001", "platform")]
    with pytest.raises(BackendError, match="SL001"):
        refuse_errors(found)
