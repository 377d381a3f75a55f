"""A first user's mistakes, and the whole text in which each ends. LAUNCHER_GOLDEN=write renews the golden texts."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.storage import open_store
from tests.launcher.backends.modelarts.site import PROGRAMS, Site
from tests.servers.faults import fault_proxy, status
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.system

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = {
    "region": "cn-north-4",
    "image": "org/launcher:1",
    "pool_id": "pool-x",
    "code": [str(PROGRAMS)],
}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def normal(text: str, site: Site) -> str:
    """Without what differs between machines and moments."""
    text = re.sub(r"-\d{8}-\d{6}-[0-9a-f]{4}", "-YYYYMMDD-HHMMSS-XXXX", text)
    text = re.sub(r"(/counter-YYYYMMDD-HHMMSS-XXXX)/[\w./-]+:", r"\1/OBJECT:", text)
    text = re.sub(r"/\.code/[0-9a-f]{32}/", "/.code/DIGEST/", text)
    text = re.sub(r"http://127\.0\.0\.1:\d+", "http://ADDRESS", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "JOB-ID", text)
    text = re.sub(r"request fake-\w+", "request ID", text)
    return text.replace(f"{site.folder}/", "")


def golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("LAUNCHER_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def typed(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints, prose and all, and its exit code."""
    capsys.readouterr()
    code = main(list(words))
    printed = capsys.readouterr()
    return normal(f"{printed.out}{printed.err}exit code {code}\n", site)


def only(text: str, *rules: str) -> str:
    """The lines of a table that are about these rules, each with its fix; without the width of the table."""
    lines, kept = text.splitlines(), []
    for number, line in enumerate(lines):
        if any(rule in line for rule in rules):
            kept += lines[number : number + 2]
    return re.sub(" {3,}", "  ", "\n".join(kept) + "\n")


def test_a_region_that_is_misspelt_is_found_without_the_service(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUAWEICLOUD_SDK_REGION_MODELARTS_CN_NORTH_4", raising=False)
    file = str(site.file(modelarts_only={**OPTIONS, "region": "cn-noth-4"}))
    golden("region", typed(site, capsys, "check", file))
    assert site.fake.service.requests == []


def test_a_bucket_that_does_not_exist(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(site.file(output={"url": "obs://bukcet/runs"}))
    golden("bucket-missing", typed(site, capsys, "submit", file))


def test_a_bucket_in_another_region(
    site: Site, s3: tuple[S3Server, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_proxy(s3[0].endpoint) as faults:
        for method in ("GET", "HEAD", "PUT"):
            faults.add(status(301, "PermanentRedirect"), method=method)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faults.endpoint)
        golden("bucket-elsewhere", typed(site, capsys, "submit", str(site.file())))


def test_a_pool_that_does_not_exist_or_does_not_run_and_a_quota(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(site.file(modelarts_only=OPTIONS))
    site.fake.cloud.pools = {}
    text = typed(site, capsys, "submit", file)
    site.fake.cloud.pools = {"pool-x": "Abnormal"}
    text += typed(site, capsys, "submit", file)
    site.fake.cloud.pools, site.fake.cloud.capacity = None, 0
    text += typed(site, capsys, "submit", file)
    golden("pool", text)


@pytest.mark.parametrize("code", ["2810", "2811", "2885"])
def test_an_image_that_the_service_refuses(site: Site, capsys: pytest.CaptureFixture[str], code: str) -> None:
    site.fake.cloud.images["org/launcher:1"] = code
    golden(f"image-{code}", typed(site, capsys, "submit", str(site.file())))


PULLS = {
    "denied": "[worker-0] Error: ErrImagePull: failed to pull swr.cn-north-4.myhuaweicloud.com/org/launcher:1: denied: you may not pull",
    "missing": "[worker-0] Failed to pull image org/launcher:1: manifest unknown",
    "backoff": "[worker-0] Back-off pulling image org/launcher:1: ImagePullBackOff",
}


@pytest.mark.parametrize("kind", PULLS)
def test_an_image_that_can_not_be_pulled(site: Site, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """The cause is named, and no resume is offered."""
    site.fake.cloud.images["org/launcher:1"] = PULLS[kind]
    entry = site.submit(resources={"nodes": 1})
    assert site.end(entry).state == "FAILED"
    text = typed(site, capsys, "explain", entry.run_id)
    golden(f"pull-{kind}", text)
    assert "launcher resume" not in text


def test_output_that_lies_in_the_data_or_is_there_already(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = site.file(data={"url": "obs://bucket/imagenet"}, output={"url": "obs://bucket/imagenet/runs"})
    text = only(typed(site, capsys, "check", str(inside)), "MA016")
    open_store("obs://bucket/extra").put("old.bin", b"x")
    options: dict[str, Any] = {
        **OPTIONS,
        "pool_id": None,
        "flavor": "modelarts.vm.cpu.8u",
        "outputs": {"extra": "obs://bucket/extra"},
    }
    there = site.file(modelarts_only=options)
    text += only(typed(site, capsys, "doctor", "--job", str(there)), "MA055")
    golden("output", text)
