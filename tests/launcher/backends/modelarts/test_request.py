"""Requests to ModelArts: literally what a person expects, and legal by the SDK's own classes."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from launcher.backends import get_backend
from launcher.backends.modelarts.code import make_archive
from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.request import job_request
from launcher.jobfile.problems import JobFileError
from launcher.jobfile.spec_modelarts import ModelArtsOptions, NotifyEvent
from launcher.jobfile.spec_modelarts_parts import ModelArtsRestarts
from launcher.submission.dryrun import dry_run_json
from launcher.submission.prepare import prepare
from tests.fakes.modelarts_rules import check_job
from tests.fakes.modelarts_wire import round_trip
from tests.launcher.backends.modelarts.jobs import IMAGE, MORE, make, write_job

JOBS = Path(__file__).parents[4] / "jobs"
FLAVOR = "modelarts.pool.visual.xlarge"
EVERYTHING: dict[str, Any] = {
    **IMAGE,
    "image_repo_id": "repo-1",
    "install_moxing": True,
    "obs_client": "moxing",
    "workspace": "ws-1",
    "volumes": [
        {"sfs": "192.0.2.10:/data", "mount": "/mnt/data", "read_only": True},
        {"pfs": "/pfs-bucket/data", "mount": "/mnt/pfs"},
        {"obs": "obs://bucket/more", "mount": "/mnt/obs"},
    ],
    "inputs": {"weights": "obs://bucket/weights"},
    "outputs": {"extra": "obs://bucket/extra"},
    "restarts": {"jobs": 3, "pods": 2, "unconditional": True, "on_hang": True, "hccl_operators": True},
    "priority": 2,
    "preemptible": False,
    "affinity": "hyperinstance",
    "affinity_group_size": 2,
    "notify_topic": "urn:smn:cn-north-4:p:t",
    "notify_events": list(get_args(NotifyEvent)),
    "annotations": {"tensorboard/enable": "true"},
    "description": "a try",
    "extra": {
        "endpoints": {"ssh": {"key_pair_names": ["my-key"]}},
        "metadata": {"training_experiment_reference": {"id": "experiment-1"}},
        "spec": {"resource": {"main_container_customized_flavor": {"cpu_core_num": 8.0}}},
    },
    "log_export": {"version": "v1", "rotation": True},
    "affinity_job_level": "cluster",
    "affinity_group_level": "slice",
    "node_affinity": {
        "require": {"pool": ["a"]},
        "exclude": {"kubernetes.io/hostname": ["192.0.2.7"]},
        "prefer": {"quiet": []},
    },
    "tags": {"team": "vision"},
    "export_logs": False,
    "code": ["src"],
    "requirements": ["boto3"],
    "python": "python3.11",
    "endpoint": "https://modelarts.example.com",
    "project_id": "project-1",
}
PRESET = {"region": "cn-north-4", "engine": "Ascend:mindspore_2.3", "pool_id": "pool-x"}


def test_the_body_of_a_job_of_two_machines(tmp_path: Path) -> None:
    plan = make(tmp_path, env={"HCCL_BUFFSIZE": "200"})
    body = job_request(plan, 2, digest="d" * 64, plan_digest="p" * 64).body()
    run = plan.run_id
    assert body == {
        "kind": "job",
        "metadata": {"name": f"{run}-a2", "workspace_id": "0", "description": f"obs://bucket/runs/{run}"},
        "algorithm": {
            "engine": {"image_url": "org/launcher:1"},
            "code_dir": f"/bucket/runs/.code/{'d' * 32}/",
            "command": f"python ${{MA_JOB_DIR}}/{'d' * 32}/boot.py --run=obs://bucket/runs/{run} --attempt=2 --code={'d' * 64} --plan={'p' * 64} --region=cn-north-4",
            "environments": {
                "PYTHONUNBUFFERED": "1",
                "PYTHONFAULTHANDLER": "1",
                "GLOG_v": "3",
                "HCCL_CONNECT_TIMEOUT": "1800",
                "HCCL_BUFFSIZE": "200",
            },
        },
        "spec": {
            "resource": {"pool_id": "pool-x", "flavor_id": "modelarts.pool.visual.8xlarge", "node_count": 2},
            "log_export_path": {"obs_url": f"/bucket/runs/{run}/platform-logs/"},
            "auto_stop": {"time_unit": "HOURS", "duration": 24},
        },
    }


def test_a_preset_engine_has_a_boot_file_and_parameters_in_place_of_a_command(tmp_path: Path) -> None:
    algorithm = job_request(make(tmp_path, modelarts=PRESET), 1, digest="d" * 64).body()["algorithm"]
    assert algorithm["engine"] == {"engine_name": "Ascend", "engine_version": "mindspore_2.3"}
    assert algorithm["boot_file"] == f"/bucket/runs/.code/{'d' * 32}/boot.py"
    assert {each["name"] for each in algorithm["parameters"]} == {"run", "attempt", "code", "region"}
    assert "command" not in algorithm


def test_volumes_of_each_kind(tmp_path: Path) -> None:
    assert job_request(make(tmp_path, modelarts=EVERYTHING), 1).body()["spec"]["volumes"] == [
        {"nfs": {"nfs_server_path": "192.0.2.10:/data", "local_path": "/mnt/data", "read_only": True}},
        {"pfs": {"pfs_path": "/pfs-bucket/data", "local_path": "/mnt/pfs"}},
        {"obs": {"obs_path": "/bucket/more/", "local_path": "/mnt/obs"}},
    ]


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({}, "exactly one of sfs, pfs and obs"),
        ({"pfs": "/b/x", "obs": "obs://b/x"}, "pfs and obs"),
        ({"obs": "/b/x"}, "obs://bucket/data"),
        ({"obs": "obs://b/x", "read_only": True}, "read_only exists for sfs only"),
    ],
)
def test_a_volume_is_of_one_kind(tmp_path: Path, volume: dict[str, Any], words: str) -> None:
    options = {**IMAGE, "volumes": [{**volume, "mount": "/mnt/a"}]}
    with pytest.raises(JobFileError, match=words):
        make(tmp_path, modelarts=options)


def test_fault_tolerance_is_asked_for_by_annotations(tmp_path: Path) -> None:
    annotations = job_request(make(tmp_path, modelarts=EVERYTHING), 1).body()["metadata"]["annotations"]
    assert annotations == {
        "tensorboard/enable": "true",
        "fault-tolerance/job-retry-num": "3",
        "fault-tolerance/pod-retry-num": "2",
        "fault-tolerance/job-unconditional-retry": "true",
        "fault-tolerance/hang-retry": "true",
        "fault-tolerance/hccl_op_retry": "true",
    }


def test_a_preset_engine_with_an_image_of_ones_own_takes_both_and_moxing(tmp_path: Path) -> None:
    options = {**EVERYTHING, "engine": PRESET["engine"]}
    algorithm = job_request(make(tmp_path, modelarts=options), 1).body()["algorithm"]
    assert algorithm["engine"] == {
        "engine_name": "Ascend",
        "engine_version": "mindspore_2.3",
        "image_url": "org/launcher:1",
        "image_repo_id": "repo-1",
        "install_sys_packages": True,
    }
    assert algorithm["boot_file"].endswith("/boot.py")
    assert "command" not in algorithm
    alone = job_request(make(tmp_path, modelarts=EVERYTHING), 1).body()["algorithm"]
    assert "install_sys_packages" not in alone["engine"]


def test_what_a_job_file_adds_is_merged_into_the_request(tmp_path: Path) -> None:
    body = job_request(make(tmp_path, modelarts=EVERYTHING), 1).body()
    assert body["endpoints"] == {"ssh": {"key_pair_names": ["my-key"]}}
    assert body["spec"]["resource"]["main_container_customized_flavor"] == {"cpu_core_num": 8.0}
    assert body["spec"]["resource"]["node_count"] == 2
    assert body["metadata"]["training_experiment_reference"] == {"id": "experiment-1"}


@pytest.mark.parametrize("left_out", [None, *sorted(EVERYTHING.keys() - {"region", "image"})])
@pytest.mark.parametrize("start", ["image", "engine"])
def test_every_body_is_one_of_the_sdk_with_no_unknown_and_no_dropped_field(
    tmp_path: Path, start: str, left_out: str | None
) -> None:
    options = {key: value for key, value in EVERYTHING.items() if key != left_out}
    if start == "engine":
        options = {key: value for key, value in options.items() if not key.startswith("image")}
        options["engine"] = PRESET["engine"]
    body = job_request(make(tmp_path, modelarts=options), 1).body()
    assert round_trip("Job", body) == body


def test_every_option_that_there_is_was_in_these_bodies() -> None:
    assert {*EVERYTHING, *MORE, "engine", "flavor"} == set(ModelArtsOptions.model_fields)
    assert {*EVERYTHING["restarts"]} == set(ModelArtsRestarts.model_fields)


@pytest.mark.parametrize(
    "affinity", get_args(get_args(ModelArtsOptions.model_fields["affinity"].annotation)[0])
)
def test_every_affinity_is_one_of_the_sdk(tmp_path: Path, affinity: str) -> None:
    options = {**EVERYTHING, "affinity": affinity, "flavor": "modelarts.pool.visual.8xlarge"}
    body = job_request(make(tmp_path, modelarts=options), 1).body()
    assert round_trip("Job", body) == body


@pytest.mark.parametrize("how", ["image", "engine"])
@pytest.mark.parametrize("file", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_body_of_every_job_file_is_one_of_the_sdk(file: Path, how: str) -> None:
    """Those for other back ends with what ModelArts needs besides; with time limit, restarts and volumes."""
    sets = {
        "data.url": "obs://bucket/data",
        "output.url": "obs://bucket/runs",
        "modelarts.region": "cn-north-4",
    }
    sets |= {f"modelarts.{how}": {"image": "org/launcher:1", "engine": "Ascend:mindspore_2.3"}[how]}
    sets |= {} if how == "image" else {"modelarts.image": "null"}
    sets |= {
        "modelarts.flavor": "some.flavor",
        "modelarts.pool_id": "pool-x",
        "resources.time_limit": "3d",
        "modelarts.restarts": "{jobs: 1}",
    }
    sets |= {"modelarts.volumes": "[{sfs: '192.0.2.1:/', mount: /mnt/a}, {pfs: /b/x, mount: /mnt/b}]"}
    sets |= {"modelarts.notify_topic": "'urn:smn:cn-north-4:p:t'"}
    overrides = [f"{key}={value}" for key, value in sets.items()]
    plan = prepare(file, overrides=overrides, backend="modelarts").plan
    for attempt, serial in ((1, 1), (12, 3)):
        body = job_request(plan, attempt, "d" * 64, "p" * 64, serial).body()
        assert round_trip("Job", body) == body
        check_job(
            body | {"spec": {**body["spec"], "resource": {**body["spec"]["resource"], "flavor_id": FLAVOR}}}
        )
    sent = body["spec"]
    assert {"auto_stop", "volumes", "notification", "log_export_path"} <= set(sent)
    assert (sent["auto_stop"], len(sent["volumes"])) == ({"time_unit": "HOURS", "duration": 73}, 2)


def test_the_sdk_check_of_these_tests_finds_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="has no"):
        round_trip("Job", {"kind": "job", "metadata": {"names": "x"}})
    with pytest.raises(ValueError, match="int"):
        round_trip("Job", {"spec": {"resource": {"node_count": "2"}}})


def test_a_dry_run_prints_the_literal_request(tmp_path: Path) -> None:
    """With the digests of the code and the plan as they would be sent."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("")
    for options in (IMAGE, {**IMAGE, "code": ["src"]}):
        prepared = prepare(write_job(tmp_path, modelarts=options), cwd=tmp_path)
        request = json.loads(dry_run_json(prepared)["request"])
        digest = make_archive(prepared.plan, tmp_path).digest
        text = prepared.plan.model_dump_json(indent=1) + "\n"
        plan_digest = hashlib.sha256(text.encode()).hexdigest()
        assert request == job_request(prepared.plan, 1, digest, plan_digest).body()
        assert json.loads(get_backend("modelarts").render(prepared.plan, 1)) == request
        assert round_trip("Job", request) == request


def test_what_tells_a_rank_who_it_is_never_reaches_the_container_itself(tmp_path: Path) -> None:
    keys = job_request(make(tmp_path), 1).body()["algorithm"]["environments"].keys()
    assert not keys & {
        "RANK_TABLE_FILE",
        "RANK_SIZE",
        "RANK_ID",
        "JOB_ID",
        "LAUNCHER_RUN_DIR",
        "OMP_NUM_THREADS",
    }


def test_a_program_and_its_files_are_found_in_the_snapshot(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "train.py").write_text("")
    plan = make(
        tmp_path, program=["python", "src/train.py", "--lr", "1"], modelarts={**IMAGE, "code": ["src"]}
    )
    assert plan.steps[0].argv == ("python", "src/train.py", "--lr", "1")
    assert list(itertools.chain(options_of(plan).code)) == [str(source)]
