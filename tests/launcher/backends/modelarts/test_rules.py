"""Every rule for ModelArts: one job that breaks it, and none that the sample job breaks."""

from pathlib import Path
from typing import Any

import pytest

from launcher.backends.modelarts.login import OUTSIDE_SDK, Project, endpoint_of
from launcher.backends.modelarts.request import job_request
from launcher.backends.modelarts.rules import RULES, check_modelarts
from launcher.backends.modelarts.values import REGIONS
from launcher.submission.prepare import prepare
from tests.fakes.modelarts_rules import check_job
from tests.launcher.backends.modelarts.jobs import IMAGE, make, write_job

PUBLIC = {"region": "cn-north-4", "image": "org/launcher:1", "flavor": "some.flavor"}


def ma(**options: Any) -> dict[str, Any]:
    return {"modelarts": {**IMAGE, **options}}


CPU = {"resources": {"device": "cpu", "devices_per_node": 1}}
PRESET = {"region": "cn-north-4", "pool_id": "pool-x"}
CURRENT = "Ascend-Powered-Engine:mindspore_2.7.1-cann_8.3.rc1-py_3.11-hce_2.0.2509-aarch64-snt9b"
BREAKING: dict[str, dict[str, Any]] = {
    "MA001": {"name": "n" * 60},
    "MA002": {"modelarts": {"region": "cn-north-4", "pool_id": "pool-x"}},
    "MA003": {"modelarts": {"image": "org/launcher:1", "pool_id": "pool-x"}},
    "MA004": {"output": {"url": "runs"}},
    "MA005": {"output": {"profile": "mine"}},
    "MA006": {"output": {"endpoint": "https://obs.cn-east-3.myhuaweicloud.com"}},
    "MA007": ma(flavor="modelarts.pool.visual.4xlarge"),
    "MA008": {"env": {"LONG": "x" * 5000}},
    "MA009": {"env": {"PLACE": "$HOME/x"}},
    "MA010": {"env": {"MA_JOB_DIR": "/x"}},
    "MA011": ma(volumes=[{"pfs": "/b/x", "mount": "/cache"}]),
    "MA012": ma(restarts={"jobs": 129}),
    "MA013": {"modelarts": {**PUBLIC, "priority": 2}},
    "MA014": ma(affinity="hyperinstance"),
    "MA015": ma(inputs={"9lives": "obs://bucket/x"}),
    "MA016": ma(outputs={"a": "obs://bucket/x", "b": "obs://bucket/x/"}),
    "MA017": {"output": {"work_dir": "/home/ma-user/modelarts/outputs"}},
    "MA018": {"program": ["python", "train.py", "../far.bin"]},
    "MA019": ma(annotations={"fault-tolerance/job-retry-num": "3"}),
    "MA020": {
        "modelarts": {**PUBLIC, "image": None, "engine": "CPU:1"},
        "resources": {"device": "cpu", "devices_per_node": 2},
    },
    "MA021": {"resources": {"time_limit": None}},
    "MA022": ma(requirements=["boto3"]),
    "MA023": ma(notify_topic="my-topic"),
    "MA024": {"output": {"url": "obs://bucket/my runs"}},
    "MA025": ma(affinity="cabinet", affinity_group_size=3),
    "MA026": {"modelarts": {**PUBLIC, "volumes": [{"pfs": "/b/x", "mount": "/mnt/a"}]}},
    "MA027": {**ma(flavor="some.flavor"), **CPU},
    "MA028": {**ma(restarts={"on_hang": True}), **CPU},
    "MA029": ma(priority=3),
    "MA030": ma(image="docker://org/launcher:1"),
    "MA031": ma(install_moxing=True),
    "MA033": ma(extra={"spec": {"retentions": {}}}),
    "MA034": ma(part={"cpu": 24.0, "memory": 192.0, "cards": 4.0}),
    "MA035": {"modelarts": {**PUBLIC, "node_affinity": {"require": {"quiet": []}}}},
    "MA036": ma(export_logs=False, log_export={"version": "v1"}),
    "MA032": {"modelarts": {**PRESET, "engine": "Ascend-Powered-Engine:mindspore_2.3-cann_8.0-py_3.9"}},
}


@pytest.mark.parametrize("rule", BREAKING)
def test_a_job_that_breaks_a_rule_is_found_with_a_place_and_a_fix(rule: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "train.py").write_text("")
    (tmp_path / "far.bin").write_text("")
    found = check_modelarts(make(folder, **BREAKING[rule]))
    assert {finding.rule for finding in found} == {rule}
    assert found[0].where
    assert found[0].fix


MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "16 cards of one flavor that are no Snt9b23": (
        "MA027",
        {"resources": {"device": "ascend910b", "devices_per_node": 16}},
    ),
    "an image of another region": (
        "MA030",
        ma(image="swr.cn-east-3.myhuaweicloud.com/org/launcher:1"),
    ),
    "moxing with an engine alone": (
        "MA031",
        {"modelarts": {**PRESET, "engine": CURRENT, "install_moxing": True}},
    ),
    "an engine for other cards": ("MA032", {"modelarts": {**PRESET, "engine": f"{CURRENT}23"}}),
    "a field of another type": ("MA033", ma(extra={"spec": {"reserved_time": "1h"}})),
    "a list that is none": ("MA033", ma(extra={"endpoints": {"ssh": {"key_pair_names": "my-key"}}})),
    "a field that launcher sets": ("MA033", ma(extra={"spec": {"resource": {"node_count": 9}}})),
    "another variable of the platform": ("MA010", {"env": {"MA_RUN_METHODS": "x"}}),
    "a level without its affinity": ("MA014", ma(affinity="cabinet", affinity_group_level="slice")),
    "no flavor for three cards": ("MA007", {"resources": {"devices_per_node": 3}}),
    "the public pool without a flavor": (
        "MA007",
        {"modelarts": {k: v for k, v in PUBLIC.items() if k != "flavor"}},
    ),
    "too many variables": ("MA008", {"env": {f"V{n}": "1" for n in range(101)}}),
    "two volumes in one place": (
        "MA011",
        ma(volumes=[{"pfs": "/b/x", "mount": "/mnt/a"}, {"pfs": "/b/y", "mount": "/mnt/a/"}]),
    ),
    "a channel in both directions": ("MA015", ma(inputs={"a": "obs://b/x"}, outputs={"a": "obs://b/y"})),
    "a channel that is no folder in OBS": ("MA015", ma(outputs={"a": "/data"})),
    "a region that does not exist": ("MA003", ma(region="cn-noth-4")),
    "an output channel in an input": (
        "MA016",
        ma(inputs={"a": "obs://bucket/x"}, outputs={"b": "obs://bucket/x/y"}),
    ),
    "an output channel around an input": (
        "MA016",
        ma(inputs={"a": "obs://bucket/x/y"}, outputs={"b": "obs://bucket/x"}),
    ),
    "an output channel around the run": ("MA016", ma(outputs={"b": "obs://bucket/runs"})),
    "an output channel in the data": (
        "MA016",
        {"data": {"url": "obs://bucket/d"}, **ma(outputs={"b": "obs://bucket/d/o"})},
    ),
    "results in the data": ("MA016", {"data": {"url": "obs://bucket"}}),
    "data on this machine": ("MA004", {"data": {"url": "images"}}),
}


@pytest.mark.parametrize("case", MORE)
def test_more_ways_to_break_a_rule(case: str, tmp_path: Path) -> None:
    rule, sections = MORE[case]
    assert rule in {finding.rule for finding in check_modelarts(make(tmp_path, **sections))}


def test_every_rule_is_tested_here() -> None:
    assert len(RULES) == len(BREAKING)


def test_the_sample_job_breaks_none_and_data_may_lie_on_a_volume(tmp_path: Path) -> None:
    assert check_modelarts(make(tmp_path)) == []
    volume = ma(volumes=[{"sfs": "192.0.2.1:/", "mount": "/mnt/data"}])
    assert check_modelarts(make(tmp_path, data={"url": "/mnt/data/imagenet"}, **volume)) == []


GOOD: dict[str, dict[str, Any]] = {
    "both engine and image, and so moxing": ma(engine="Ascend:py_3.9-snt9b", install_moxing=True),
    "variables of the platform that a job may set": {
        "env": {"MA_RUN_METHOD": "msrun", "MA_HANG_DETECT_TIME": "60", "MA_DETECT_TRAIN_INJECT_CODE": "1"}
    },
    "a pool of CPU machines": CPU,
    "the engine of late 2025": {
        "modelarts": {**PRESET, "engine": CURRENT},
        "resources": {"device": "ascend910b"},
    },
    "its version for Snt9b23": {
        "modelarts": {**PRESET, "engine": f"{CURRENT}23"},
        "resources": {"device": "atlas-a3", "devices_per_node": 16},
    },
    "further fields of the request": ma(
        extra={
            "endpoints": {"ssh": {"key_pair_names": ["my-key"]}},
            "spec": {"log_export_config": {"version": "v1", "rotation_enabled": True}},
        }
    ),
    "whole groups": ma(affinity="hyperinstance", affinity_group_size=2),
    "the image of this region": ma(image="swr.cn-north-4.myhuaweicloud.com/org/launcher:1"),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_allowed(case: str, tmp_path: Path) -> None:
    plan = make(tmp_path, **GOOD[case])
    assert check_modelarts(plan) == []
    check_job(job_request(plan, 1).body())


def test_folders_beside_each_other_are_fine(tmp_path: Path) -> None:
    """Also those whose names begin alike, two inputs in one place, and data in the bucket of the runs."""
    channels = ma(
        inputs={"a": "obs://bucket/x", "b": "obs://bucket/x"},
        outputs={"c": "obs://bucket/xy", "d": "obs://bucket/runs/extra"},
    )
    assert check_modelarts(make(tmp_path, data={"url": "obs://bucket/run"}, **channels)) == []


def test_a_region_outside_the_table_needs_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = ma(region="xy-nowhere-1")
    assert [finding.rule for finding in check_modelarts(make(tmp_path, **far))] == ["MA003"]
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_MODELARTS_XY_NOWHERE_1", "http://127.0.0.1:1")
    assert check_modelarts(make(tmp_path, **far)) == []
    monkeypatch.delenv("HUAWEICLOUD_SDK_REGION_MODELARTS_XY_NOWHERE_1")
    assert check_modelarts(make(tmp_path, **ma(region="xy-nowhere-1", endpoint="http://127.0.0.1:1"))) == []


def test_the_table_has_all_regions_of_the_sdk_and_each_has_an_address() -> None:
    from huaweicloudsdkmodelarts.v1.region.modelarts_region import ModelArtsRegion

    assert set(ModelArtsRegion.static_fields) | set(OUTSIDE_SDK) == set(REGIONS)
    assert endpoint_of(Project("eu-west-101", None, "p")) == "https://modelarts.eu-west-101.myhuaweicloud.eu"


def test_rules_are_part_of_a_dry_run(tmp_path: Path) -> None:
    found = prepare(write_job(tmp_path, **BREAKING["MA012"]), cwd=tmp_path).findings
    assert "MA012" in {finding.rule for finding in found}


def test_the_rules_are_in_the_documentation() -> None:
    text = (Path(__file__).parents[4] / "docs" / "modelarts.md").read_text()
    assert [rule for rule in BREAKING if rule not in text] == []
