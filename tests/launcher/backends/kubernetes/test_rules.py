"""Rules on plans for Kubernetes: each is broken by a job file, and a right one has no findings."""

from pathlib import Path
from typing import Any

import pytest

from launcher.backends import get_backend
from launcher.jobfile.problems import JobFileError
from tests.launcher.backends.kubernetes.jobs import make

CPU = {"device": "cpu", "devices_per_node": 1}
CCE = {"platform": "cce", "schedule_policy": None}
CONTAINER = {"name": "ascend", "image": "x:1"}


def found(folder: Path, **sections: Any) -> list[str]:
    return [
        f"{each.rule} {each.severity} {each.where}"
        for each in get_backend("kubernetes").rules(make(folder, **sections))
    ]


def test_a_right_job_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("rule", "sections"),
    [
        ("K8001 error kubernetes.image", {"kubernetes": {"image": None}}),
        ("K8002 warning kubernetes.image", {"kubernetes": {"image": "host:5000/launcher"}}),
        (
            "K8003 error kubernetes.kind",
            {"kubernetes": {"kind": "ascendjob", "schedule_policy": None}, "resources": CPU},
        ),
        (
            "K8003 error kubernetes.queue",
            {"kubernetes": {"kind": "job", "queue": "q"}, "resources": {"nodes": 1}},
        ),
        ("K8003 error resources.nodes", {"resources": {"nodes": 1001}}),
        ("K8004 warning kubernetes.kind", {"kubernetes": {"kind": "job"}}),
        ("K8005 error resources.devices_per_node", {"kubernetes": {"schedule_policy": "chip4-node4"}}),
        ("K8005 error resources.devices_per_node", {"resources": {"devices_per_node": 4}}),
        (
            "K8005 error resources.devices_per_node",
            {
                "kubernetes": {
                    "schedule_policy": None,
                    "node_selector": {"accelerator-type": "module-910b-16"},
                }
            },
        ),
        ("K8006 warning kubernetes.schedule_policy", {"kubernetes": {"schedule_policy": None}}),
        ("K8006 warning kubernetes.platform", {"kubernetes": {"platform": "cce"}}),
        (
            "K8007 error kubernetes.patch.metadata.name",
            {"kubernetes": {"patch": {"metadata": {"name": "x"}}}},
        ),
        (
            "K8007 error kubernetes.patch.metadata.labels",
            {"kubernetes": {"patch": {"metadata": {"labels": None}}}},
        ),
        ("K8007 error kubernetes.patch.spec", {"kubernetes": {"patch": {"spec": {"tasks": []}}}}),
        (
            "K8007 error kubernetes.patch.spec",
            {"kubernetes": {"patch": {"spec": {"tasks": [{"replicas": 2, "template": {"spec": {}}}]}}}},
        ),
        (
            "K8008 error kubernetes.patch.spec",
            {
                "kubernetes": {
                    "patch": {
                        "spec": {
                            "tasks": [{"replicas": 2, "template": {"spec": {"containers": [CONTAINER]}}}]
                        }
                    }
                }
            },
        ),
        ("K8009 error output.url", {"output": {"url": "/home/me/runs"}}),
        ("K8009 error data.url", {"data": {"url": "/home/me/images"}}),
        (
            "K8010 error kubernetes.volumes[0].mount",
            {"kubernetes": {"volumes": [{"pvc": "a", "mount": "/"}]}},
        ),
        (
            "K8010 error kubernetes.volumes[0].mount",
            {"kubernetes": {"volumes": [{"pvc": "a", "mount": "/user/config"}]}},
        ),
        (
            "K8010 error kubernetes.volumes[1].mount",
            {"kubernetes": {"volumes": [{"pvc": "a", "mount": "/a"}, {"pvc": "b", "mount": "/a/"}]}},
        ),
        (
            "K8010 error kubernetes.volumes[0].mount",
            {"kubernetes": {"volumes": [{"pvc": "a", "mount": "/dev/"}]}},
        ),
        (
            "K8007 error kubernetes.patch.metadata.annotations.ascend-launcher/run-id",
            {"kubernetes": {"patch": {"metadata": {"annotations": None}}}},
        ),
        ("K8011 warning kubernetes.grace", {"kubernetes": {"grace": 60}}),
        ("K8014 error kubernetes.starter_account", {"kubernetes": {"max_parallel": 2}}),
        ("K8016 error kubernetes.fault_scheduling", {"kubernetes": {**CCE, "fault_scheduling": "force"}}),
        (
            "K8016 error retry.max_restarts",
            {"kubernetes": {"fault_scheduling": "force"}, "retry": {"max_restarts": 0}},
        ),
        ("K8017 error kubernetes.labels", {"kubernetes": {"labels": {"pod-rescheduling": "on"}}}),
        (
            "K8018 warning retry.on",
            {
                "kubernetes": {"fault_scheduling": "grace"},
                "retry": {"on": [{"match": "EI0006", "do": "restart"}]},
            },
        ),
        ("K8013 warning output.work_dir", {"output": {"work_dir": "/work"}}),
    ],
)
def test_each_rule(rule: str, sections: dict[str, Any], tmp_path: Path) -> None:
    assert rule in found(tmp_path, **sections)


@pytest.mark.parametrize(
    "image", ["host:5000/a/b:1", "localhost/x_y:v1.0-rc.1", f"r.example.com:443/x:1@sha256:{'0a' * 32}"]
)
def test_images_with_ports_tags_and_digests(image: str, tmp_path: Path) -> None:
    assert found(tmp_path, kubernetes={"image": image}) == []


@pytest.mark.parametrize(
    "template",
    ["x", {"spec": "x"}, {"spec": {"containers": "x"}}, {"spec": {"containers": ["x"]}}]
    + [
        {"spec": {"containers": [{**CONTAINER, "resources": each}]}}
        for each in ("x", [], {"limits": "x"}, {"limits": [], "requests": None})
    ],
)
def test_a_patch_of_any_shape_is_a_finding(template: object, tmp_path: Path) -> None:
    for patch in (
        {"spec": {"tasks": [{"name": "worker", "replicas": 2, "template": template}]}},
        {"spec": {"tasks": {"worker": template}}},
    ):
        rules = {each.partition(" ")[0] for each in found(tmp_path, kubernetes={"patch": patch})}
        assert rules & {"K8007", "K8008"}


def test_files_of_the_own_program_must_be_in_the_pods(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    assert found(tmp_path, program=["python", "train.py"]) == []  # in the snapshot
    (tmp_path / "words.bin").write_text("")
    program = ["python", "train.py", str(tmp_path / "words.bin")]
    assert found(tmp_path, program=program) == ["K8012 warning program"]
    volume = {"host_path": str(tmp_path), "mount": str(tmp_path)}
    assert found(tmp_path, program=program, kubernetes={"volumes": [volume]}) == []


def test_a_folder_of_a_volume_can_hold_the_run(tmp_path: Path) -> None:
    volumes = [{"pvc": "runs", "mount": "/mnt/runs"}]
    assert found(tmp_path, output={"url": "/mnt/runs/here"}, kubernetes={"volumes": volumes}) == []
    assert found(tmp_path, output={"url": "/mnt/runs-2"}, kubernetes={"volumes": volumes}) == [
        "K8009 error output.url"
    ]


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"namespace": "Vision"}, "kubernetes.namespace"),
        ({"namespace": "x" * 64}, "kubernetes.namespace"),
        ({"queue": "a b"}, "kubernetes.queue"),
        ({"image": "https://registry.example.com/x:1"}, "kubernetes.image"),
        *(
            ({"image": each}, "kubernetes.image")
            for each in ("Registry/Name:1", "a:b:c", "x:", "x@sha256:abc", "a//b:1", f"r/x:{'t' * 129}")
        ),
        ({"volumes": [{"pvc": "a", "mount": "/m//n"}]}, "kubernetes.volumes"),
        ({"volumes": [{"host_path": "/data/../etc", "mount": "/m"}]}, "kubernetes.volumes"),
        ({"volumes": [{"pvc": "a", "nfs": "h:/x", "mount": "/m"}]}, "kubernetes.volumes"),
        ({"volumes": [{"nfs": "/x", "mount": "/m"}]}, "kubernetes.volumes"),
        ({"volumes": [{"pvc": "a", "mount": "m"}]}, "kubernetes.volumes"),
        ({"labels": {"team": "no spaces here"}}, "kubernetes.labels"),
        ({"annotations": {"db_password": "x"}}, "kubernetes.annotations"),
        ({"tolerations": [{"value": "x"}]}, "kubernetes.tolerations"),
        ({"tolerations": [{"key": "x", "after": 5}]}, "kubernetes.tolerations"),
        ({"kind": "pod"}, "kubernetes.kind"),
        ({"replicas": 2}, "kubernetes.replicas"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(section: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(JobFileError) as refusal:
        make(tmp_path, kubernetes=section)
    assert field in str(refusal.value)
    assert "job.yaml:" in str(refusal.value)


def test_a_run_of_another_namespace_can_not_be_followed(tmp_path: Path) -> None:
    plan = make(tmp_path, kubernetes={"starter_account": "starter"})
    for namespace, rules in (("vision", []), ("speech", ["K8015"])):
        following = plan.model_copy(
            update={"after_runs": ("tnt-1",), "after_jobs": (f"vcjob/{namespace}/tnt-1-a1",)}
        )
        assert [each.rule for each in get_backend("kubernetes").rules(following)] == rules
