"""Manifests: literally what a person expects, and accepted by a real API server with the kinds of Volcano and MindCluster."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from launcher.backends import get_backend
from launcher.backends.kubernetes.manifests import job_manifest, manifests
from launcher.backends.kubernetes.names import base_name, job_name
from launcher.plan.model import Plan
from launcher.plan.rewrite import as_run
from launcher.submission.prepare import prepare
from tests.launcher.backends.kubernetes.jobs import make, write_job
from tests.servers.kube import KubeServer

ROOT = Path(__file__).parents[4]
GOLDEN = Path(__file__).with_name("golden")
RUN = "tnt-20261128-120000-abcd"
KINDS = {
    "vcjob": {"kubernetes": {"kind": "vcjob"}},
    "ascendjob": {"kubernetes": {"kind": "ascendjob"}},
    "cce": {"kubernetes": {"platform": "cce", "schedule_policy": None}},
    "job": {
        "kubernetes": {"kind": "job", "schedule_policy": None, "cpus": 4, "memory": "8GB"},
        "resources": {"device": "cpu", "nodes": 2, "devices_per_node": 1},
    },
}
"""Job files by the name of their golden text."""
PATHS = {
    ("v1", "ConfigMap"): "/api/v1/namespaces/vision/configmaps",
    ("batch.volcano.sh/v1alpha1", "Job"): "/apis/batch.volcano.sh/v1alpha1/namespaces/vision/jobs",
    ("mindxdl.gitee.com/v1", "AscendJob"): "/apis/mindxdl.gitee.com/v1/namespaces/vision/ascendjobs",
    ("batch/v1", "Job"): "/apis/batch/v1/namespaces/vision/jobs",
}


def shown(plan: Plan) -> str:
    """The rendered text with what differs between versions of launcher taken out: the boot program, and digests."""
    text = get_backend("kubernetes").render(plan, 1)
    documents = list(yaml.safe_load_all(text))
    assert documents == manifests(plan, 1)
    text = re.sub(r"(- -c\n\s+- )\|.*?(?=\n\s+env:)", r"\1BOOT", text, flags=re.DOTALL)
    return re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", text)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_manifests_are_these(name: str, tmp_path: Path) -> None:
    text = shown(as_run(make(tmp_path, **KINDS[name]), RUN))
    assert text == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("kind", ["vcjob", "ascendjob"])
def test_restarts_are_for_one_side_only(kind: str, tmp_path: Path, kube: KubeServer, vision: str) -> None:
    """By default launcher's; else MindCluster's, with as many restarts as the job file has."""
    own = job_manifest(make(tmp_path, kubernetes={"kind": kind}), 1)
    assert own["metadata"]["labels"]["fault-scheduling"] == "off"
    assert "fault-retry-times" not in own["metadata"]["labels"]
    theirs = job_manifest(make(tmp_path, kubernetes={"kind": kind, "fault_scheduling": "grace"}), 1)
    labels = theirs["metadata"]["labels"]
    assert (labels["fault-scheduling"], labels["fault-retry-times"]) == ("grace", "3")
    if kind == "vcjob":
        assert (own["spec"]["maxRetry"], theirs["spec"]["maxRetry"]) == (1, 4)
        assert theirs["spec"]["policies"] == [{"event": "PodEvicted", "action": "RestartJob"}]
    else:
        assert [each["spec"]["runPolicy"]["backoffLimit"] for each in (own, theirs)] == [0, 3]
    create(kube, theirs)


def create(kube: KubeServer, manifest: dict[str, Any]) -> dict[str, Any]:
    path = PATHS[manifest["apiVersion"], manifest["kind"]]
    return kube.call("POST", f"{path}?dryRun=All", manifest)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_real_server_takes_them(name: str, tmp_path: Path, kube: KubeServer, vision: str) -> None:
    for manifest in manifests(make(tmp_path, **KINDS[name]), 1):
        made = create(kube, manifest)
        assert made["metadata"]["uid"]
        for part in ("labels", "annotations"):
            assert made["metadata"].get(part) == manifest["metadata"].get(part)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_real_server_takes_all_job_files_of_this_project(
    kind: str, kube: KubeServer, vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever back end and device a job file is for."""
    monkeypatch.chdir(ROOT)
    options = {"namespace": vision, "image": "registry.example.com/launcher:1"}
    options |= {key: value for key, value in KINDS[kind]["kubernetes"].items() if isinstance(value, str)}
    overrides = [f"kubernetes.{key}={value}" for key, value in options.items()]
    device = "cpu" if kind == "job" else "ascend910b"
    for path in sorted((ROOT / "jobs").glob("*.yaml")):
        plan = prepare(path, overrides=[*overrides, f"resources.device={device}"], backend="kubernetes").plan
        made = [create(kube, each)["kind"] for each in manifests(plan, 1)]
        assert made[-1].endswith("Job"), path


def test_a_real_server_refuses_a_wrong_type(tmp_path: Path, kube: KubeServer, vision: str) -> None:
    if not kube.published:
        pytest.skip("NOT TESTED: the structure of the published kinds is not here")
    plan = make(tmp_path, kubernetes={"patch": {"spec": {"minAvailable": "two"}}})
    with pytest.raises(HTTPError) as refusal:
        create(kube, job_manifest(plan, 1))
    assert "spec.minAvailable" in json.loads(refusal.value.read())["message"]


@pytest.mark.parametrize(
    "run_id",
    [
        "tnt-1",
        "8p",
        "Big_Name",
        "x" * 128,
        "a" * 42,
        "a" * 43,
        "-",
        "_",
        "a-",
        f"{'n' * 64}-20261128-120000-abcd",
    ],
)
def test_every_run_gets_legal_names(run_id: str, tmp_path: Path) -> None:
    name = job_name(run_id, 999)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name), (
        "a DNS-1035 label: Volcano makes a Service of that name"
    )
    assert len(f"{name}-scheduler-1023") <= 63
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", base_name(run_id))


def test_runs_that_differ_get_names_that_differ() -> None:
    ids = ["A-b", "a-b", "a_b", "a-b-", f"{'x' * 60}1", f"{'x' * 60}2", "r-a"]
    assert len({base_name(each) for each in ids}) == len(ids)


def test_no_credentials_in_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    plan = make(tmp_path, kubernetes={"secret": None})
    text = get_backend("kubernetes").render(plan, 1)
    assert "AKIDEXAMPLE" not in text
    assert "wJalrXUtnFEMI" not in text
    assert f"needs the Secret {job_name(plan.run_id, 1)}-store in vision" in text.splitlines()[0]


def test_volumes_of_the_job_file_replace_ours(tmp_path: Path) -> None:
    volumes = [
        {"pvc": "scratch", "mount": "/cache"},
        {"nfs": "192.0.2.1:/data", "mount": "/mnt/data", "read_only": True},
        {"host_path": "/fast", "mount": "/mnt/fast"},
    ]
    task = job_manifest(make(tmp_path, kubernetes={"volumes": volumes}), 1)["spec"]["tasks"][0]
    pod = task["template"]["spec"]
    sources = {each["name"]: each for each in pod["volumes"]}
    mounts = {each["mountPath"]: each for each in pod["containers"][0]["volumeMounts"]}
    assert sources[mounts["/cache"]["name"]]["persistentVolumeClaim"] == {"claimName": "scratch"}
    nfs = sources[mounts["/mnt/data"]["name"]]["nfs"]
    assert nfs == {"server": "192.0.2.1", "path": "/data", "readOnly": True}
    assert mounts["/mnt/data"]["readOnly"] is True
    assert sources[mounts["/mnt/fast"]["name"]]["hostPath"] == {"path": "/fast", "type": "Directory"}


def test_a_patch_merges_maps_replaces_lists_and_removes(tmp_path: Path) -> None:
    patch = {
        "spec": {"ttlSecondsAfterFinished": 60, "plugins": {"hcclrank": None}},
        "metadata": {"labels": {"team": "a"}},
    }
    plan = make(tmp_path, kubernetes={"patch": patch})
    job = job_manifest(plan, 1)
    assert job["spec"]["ttlSecondsAfterFinished"] == 60
    assert job["spec"]["plugins"] == {"env": [], "svc": []}
    assert job["metadata"]["labels"]["team"] == "a"
    assert job["metadata"]["labels"]["ascend-launcher/attempt"] == "1"


def test_an_ascendjob_of_one_npu_has_no_leader(tmp_path: Path) -> None:
    plan = make(tmp_path, kubernetes={"kind": "ascendjob"}, resources={"nodes": 1, "devices_per_node": 1})
    assert list(job_manifest(plan, 1)["spec"]["replicaSpecs"]) == ["Worker"]


def test_an_ascendjob_of_torch_has_a_master(tmp_path: Path) -> None:
    job = job_manifest(make(tmp_path, kubernetes={"kind": "ascendjob"}, requires=["torch"]), 1)
    assert job["metadata"]["labels"]["framework"] == "pytorch"
    counts = {name: each["replicas"] for name, each in job["spec"]["replicaSpecs"].items()}
    assert counts == {"Master": 1, "Worker": 1}


def test_rendering_needs_no_file_of_the_job(tmp_path: Path) -> None:
    """Pure: the same plan gives the same bytes."""
    plan = prepare(write_job(tmp_path), cwd=tmp_path).plan
    backend = get_backend("kubernetes")
    assert backend.render(plan, 2) == backend.render(plan, 2)
    assert backend.render(plan, 1) != backend.render(plan, 2)
