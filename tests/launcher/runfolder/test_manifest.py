"""Manifests are read strictly: everything downloaded is judged by them."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import IntegrityError
from launcher.runfolder.manifest import (
    Manifest,
    ManifestFile,
    best_step,
    local_sets,
    parse_manifest,
    parse_set_manifest,
    read_set,
)
from tests.servers.rundir import RunDir

SHA = "ab" * 32
FILE = {"name": "a/b", "size": 3, "sha256": SHA}


def test_there_and_back() -> None:
    manifest = Manifest((ManifestFile("b", 1, SHA), ManifestFile("a", 2, SHA)), {"run_id": "r", "n": 1}, 12.5)
    again = parse_manifest(manifest.to_json(), "x")
    assert sorted(again.files, key=lambda each: each.key) == list(again.files)
    assert set(again.files) == set(manifest.files)
    assert (again.run, again.created_at, again.size_bytes) == ({"run_id": "r", "n": 1}, 12.5, 3)
    assert manifest.to_json() == again.to_json()


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"format": 2, "files": []},
        {"format": 1},
        {"format": 1, "files": {}},
        {"format": 1, "files": ["x"]},
        {"format": 1, "files": [{**FILE, "name": "../x"}]},
        {"format": 1, "files": [{**FILE, "name": 5}]},
        {"format": 1, "files": [FILE, FILE]},
        {"format": 1, "files": [{**FILE, "size": -1}]},
        {"format": 1, "files": [{**FILE, "size": 1.5}]},
        {"format": 1, "files": [{**FILE, "size": True}]},
        {"format": 1, "files": [{**FILE, "sha256": "AB" * 32}]},
        {"format": 1, "files": [{**FILE, "sha256": None}]},
    ],
)
def test_what_can_not_be_trusted_is_refused(value: Any) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(json.dumps(value).encode(), "s3://b/MANIFEST.json")
    assert "s3://b/MANIFEST.json" in str(caught.value)
    with pytest.raises(IntegrityError):
        parse_set_manifest(json.dumps(value).encode(), "x")


@pytest.mark.parametrize(
    "change", [{"step": -1}, {"step": "3"}, {"step": None}, {"epoch": 1.5}, {"files": []}]
)
def test_bad_set_manifests(change: dict[str, Any]) -> None:
    good = {"format": 1, "step": 3, "epoch": 1, "files": [FILE], "metrics": {"top1": 0.5}}
    found = parse_set_manifest(json.dumps(good).encode(), "x")
    assert (found.step, found.epoch, found.files, found.metrics) == (
        3,
        1,
        (ManifestFile("a/b", 3, SHA),),
        {"top1": 0.5},
    )
    with pytest.raises(IntegrityError):
        parse_set_manifest(json.dumps({**good, **change}).encode(), "x")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (parse_manifest, parse_set_manifest):
        with contextlib.suppress(IntegrityError):
            parse(data, "x")
    best_step(data)


def test_only_complete_local_sets_exist(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (0, 10, 20, 30, 40):
        run.checkpoint(step)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "step-10/manifest.json").unlink()
    (checkpoints / "step-20/part-0.bin").write_bytes(b"short")
    (checkpoints / "step-30/part-1.bin").unlink()
    (checkpoints / "step-40").rename(checkpoints / "step-41")
    (checkpoints / "step-007").mkdir()
    assert sorted(local_sets(checkpoints)) == [0]
    assert local_sets(tmp_path / "absent") == {}
    assert read_set(checkpoints / "step-41") is None


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ('{"step": 5, "top1": 0.5}', 5),
        ('{"step": "5"}', None),
        ("[]", None),
        ("{", None),
        ('{"step": true}', None),
    ],
)
def test_best(text: str, step: int | None) -> None:
    assert best_step(text.encode()) == step
