"""Submissions to a real API server: objects and their owners, repeated and lost requests, refusals, and what the checks find."""

import base64
import threading
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from launcher.backends import get_backend
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.errors import ClusterError
from launcher.backends.kubernetes.names import job_name
from launcher.errors import BackendError
from launcher.plan.model import Plan
from tests.launcher.backends.kubernetes.jobs import make
from tests.servers.kube import KubeServer
from tests.waiting import wait_until

PARTS = {
    "configmaps": "/api/v1/namespaces/vision/configmaps/rings-config-{}",
    "secrets": "/api/v1/namespaces/vision/secrets/{}-store",
    "jobs": "/apis/batch.volcano.sh/v1alpha1/namespaces/vision/jobs/{}",
}


def plan_of(folder: Path, **kubernetes: Any) -> Plan:
    """A run in a folder of a volume, of a store that asks for credentials where `secret` is None."""
    volume = {"host_path": str(folder), "mount": str(folder)}
    return make(folder, output={"url": str(folder / "runs")}, kubernetes={"volumes": [volume], **kubernetes})


def part(kube: KubeServer, kind: str, name: str) -> dict[str, Any] | None:
    try:
        return kube.call("GET", PARTS[kind].format(name))
    except HTTPError as error:
        assert error.code == 404
        return None


def in_bucket(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan as one of a bucket, whose store is a folder all the same: no bucket is asked."""
    from launcher.storage.address import StoreAddress

    folder = plan.store
    bucket = plan.store.model_copy(update={"url": f"obs://bucket/runs/{plan.run_id}"})
    monkeypatch.setattr(StoreAddress, "open", lambda self, *a, **k: open_folder(folder.url))
    return plan.model_copy(update={"store": bucket})


def open_folder(url: str) -> Any:
    from launcher.storage import open_store

    return open_store(url)


def test_the_objects_of_a_job_belong_to_it(
    here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = in_bucket(plan_of(tmp_path, secret=None), monkeypatch)
    handle = get_backend("kubernetes").submit(plan, 1)
    name = job_name(plan.run_id, 1)
    job, table, secret = (part(here, kind, name) for kind in ("jobs", "configmaps", "secrets"))
    assert job and table and secret
    assert handle.data["uid"] == job["metadata"]["uid"]
    for each in (table, secret):
        assert [owner["uid"] for owner in each["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]
        assert (
            each["metadata"]["labels"]["ascend-launcher/run"]
            == job["metadata"]["labels"]["ascend-launcher/run"]
        )
    assert base64.b64decode(secret["data"]["AWS_SECRET_ACCESS_KEY"]).decode() == "wJalrXUtnFEMI"
    assert "wJalrXUtnFEMI" not in yaml.safe_dump([job, table])
    get_backend("kubernetes").terminate(handle)  # type: ignore[attr-defined]
    wait_until(lambda: not any(part(here, kind, name) for kind in PARTS), "the job and what it owns are gone")


def test_a_repeated_submission_finds_its_job(here: KubeServer, tmp_path: Path) -> None:
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    assert backend.submit(plan, 1).data["uid"] == backend.submit(plan, 1).data["uid"]
    assert backend.find(plan, trusted=True).data["name"] == job_name(plan.run_id, 1)  # type: ignore[attr-defined]


def test_two_submitters_make_one_job(here: KubeServer, tmp_path: Path) -> None:
    plan, backend, found = plan_of(tmp_path), get_backend("kubernetes"), []
    threads = [
        threading.Thread(target=lambda: found.append(backend.submit(plan, 1).data["uid"])) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_a_lost_answer_makes_no_second_job(
    here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, lost = Cluster._once, []

    def losing(self: Cluster, method: str, path: str, body: Any, query: Any) -> bytes:
        answer = once(self, method, path, body, query)
        if method == "POST" and not query and path not in lost:
            lost.append(path)
            raise ClusterError("no answer: the connection broke")
        return answer

    monkeypatch.setattr(Cluster, "_once", losing)
    plan = plan_of(tmp_path)
    handle = get_backend("kubernetes").submit(plan, 1)
    assert len(lost) == 2
    job = part(here, "jobs", job_name(plan.run_id, 1))
    assert job and job["metadata"]["uid"] == handle.data["uid"]


def test_another_run_with_the_name_is_left_alone(here: KubeServer, tmp_path: Path) -> None:
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    uid = backend.submit(plan, 1).data["uid"]
    other = plan.store.model_copy(update={"url": f"{(tmp_path / 'other').as_uri()}/{plan.run_id}"})
    with pytest.raises(BackendError, match="is not of this run"):
        backend.submit(plan.model_copy(update={"store": other}), 1)
    job = part(here, "jobs", job_name(plan.run_id, 1))
    assert job and job["metadata"]["uid"] == uid
    assert part(here, "configmaps", job_name(plan.run_id, 1))


def test_a_refused_job_leaves_nothing(here: KubeServer, tmp_path: Path) -> None:
    if not here.published:
        pytest.skip("NOT TESTED: the structure of the published kinds is not here")
    plan = plan_of(tmp_path, patch={"spec": {"minAvailable": "two"}})
    with pytest.raises(BackendError, match="minAvailable"):
        get_backend("kubernetes").submit(plan, 1)
    assert not any(part(here, kind, job_name(plan.run_id, 1)) for kind in PARTS)
    assert [each.key for each in plan.store.open().list()] == []


def test_a_new_attempt_ends_the_job_of_the_last_one(here: KubeServer, tmp_path: Path) -> None:
    plan, backend = plan_of(tmp_path), get_backend("kubernetes")
    backend.submit(plan, 1)
    assert backend.submit(plan, 2).data["name"] == job_name(plan.run_id, 2)
    wait_until(lambda: part(here, "jobs", job_name(plan.run_id, 1)) is None, "the job of attempt 1 is gone")


def test_checks_name_what_the_cluster_lacks(here: KubeServer, tmp_path: Path) -> None:
    found = {each.rule: each for each in get_backend("kubernetes").check(plan_of(tmp_path, queue="no-such"))}
    assert set(found) == {"K8053", "K8054", "K8056"}
    assert "no-such" in found["K8053"].message
    assert found["K8054"].severity == "warning"
    assert "obs-keys" in found["K8056"].message


def test_a_starter_whose_account_lacks_a_right_is_found_before(here: KubeServer, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, max_parallel=2, starter_account="default")
    (found,) = (each for each in get_backend("kubernetes").check(plan) if each.rule == "K8058")
    assert "the account default may not create jobs in vision" in found.message
    assert "docs/kubernetes-starter.yaml" in found.fix


def test_an_account_without_rights_is_told_which(
    here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(here.kubeconfig_of("guest", tmp_path)))
    found = [each for each in get_backend("kubernetes").check(plan_of(tmp_path)) if each.rule == "K8052"]
    assert [each.message.partition(" in ")[0] for each in found] == [
        "your account may not create jobs",
        "your account may not delete jobs",
        "your account may not create configmaps",
        "your account may not list pods",
    ]
    with pytest.raises(BackendError, match="forbidden"):
        get_backend("kubernetes").submit(plan_of(tmp_path), 1)


def test_a_server_that_is_away_or_refuses_the_token_proves_nothing(
    here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launcher.backends.kubernetes import backend as module

    backend = get_backend("kubernetes")
    handle = backend.submit(plan_of(tmp_path), 1)
    monkeypatch.setattr(module, "GLANCE_S", 0.1)
    for user, words in (("nobody", "has expired or is wrong"), ("away", "reachable from here")):
        monkeypatch.setenv("KUBECONFIG", str(here.kubeconfig_of(user, tmp_path)))
        module._recent.clear()
        life = backend.poll([handle])[0]
        assert life.alive is None
        assert words in life.detail


def test_a_wrong_context_is_an_error_that_names_it(here: KubeServer, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no-such-context") as error:
        get_backend("kubernetes").submit(plan_of(tmp_path, context="no-such-context"), 1)
    assert "get-contexts" in error.value.hint
