"""What crosses a network in clear is a warning, and what is printed of a target shows no key."""

import json
from pathlib import Path

import pytest
import yaml

from launcher.cli import main
from launcher.runs.trust import what_runs
from launcher.storage.address import StoreAddress, is_clear_text
from launcher.submission.prepare import prepare
from vitmodels.secrets import mask_paths

HOOK = "https://ci.example.com/hooks/hunter2?x=hunter2"


@pytest.fixture
def job(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    targets = [{"webhook": HOOK}, {"command": f"curl -d @- {HOOK}"}]
    value = {
        "name": "clear",
        "program": ["python", "-c", "pass"],
        "requires": [],
        "output": {"url": "s3://bucket/runs"},
        "notify": {"to": targets},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.parametrize(
    "words",
    [["submit", "--dry-run"], ["submit", "--dry-run", "--json"], ["explain"], ["check", "--json"]],
    ids=" ".join,
)
def test_a_key_in_a_path_is_printed_nowhere(
    words: list[str], job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], str(job), *words[1:]]) == 0
    shown = "".join(capsys.readouterr())
    assert "hunter2" not in shown
    assert "ci.example.com" in shown or words == ["submit", "--dry-run"]


def test_what_a_foreign_plan_runs_is_shown_without_it(job: Path) -> None:
    lines = [line for line in what_runs(prepare(job).plan) if line.startswith("notify")]
    assert len(lines) == 2
    assert "hunter2" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/hooks/${HOOK_KEY}", "https://h/*****/${HOOK_KEY}"),
        ("slack://${TOKENS}/#all", "slack://${TOKENS}/****"),
        ("curl 'https://h/ab' -o f", "curl 'https://h/**' -o f"),
        ("https://h", "https://h"),
    ],
)
def test_names_of_variables_stay(text: str, shown: str) -> None:
    assert mask_paths(text) == shown


@pytest.mark.parametrize(
    ("endpoint", "clear"),
    [
        ("http://minio:9000", True),
        ("http://10.0.0.7", True),
        ("https://minio:9000", False),
        ("http://127.0.0.9:1", False),
        ("http://[::1]:9000", False),
        ("http://localhost:9000", False),
        ("http://[broken", False),
    ],
)
def test_what_counts_as_clear(endpoint: str, clear: bool) -> None:
    assert is_clear_text(endpoint) is clear


@pytest.mark.parametrize("where", ["the job file", "the environment"])
def test_an_endpoint_without_encryption_is_a_warning(
    where: str, job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["--set", "output.endpoint=http://minio.example.com"]
    if where == "the environment":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example.com")
    assert main(["submit", str(job), "--dry-run", "--json", *(overrides if "file" in where else [])]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    (found,) = [each for each in findings if each["rule"] == "PF048"]
    assert (found["severity"], found["where"]) == ("warning", "output")


def test_no_warning_with_https(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["--set", "output.endpoint=https://minio.example.com"]
    assert main(["submit", str(job), "--dry-run", "--json", *overrides]) == 0
    assert "PF048" not in capsys.readouterr().out


def test_an_address_that_names_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OBS_ENDPOINT", raising=False)
    assert StoreAddress(url="obs://bucket/x").endpoint_in_use() == ""
    assert StoreAddress(url="file:///x").endpoint_in_use() == ""
