"""`launcher cp`, `ls` and `verify`."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.cli.cp import _split
from launcher.results.collector import Collector
from launcher.storage import open_store
from tests.servers.rundir import RunDir


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/some"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/x/y", ("s3://b/x", "y")),
        ("s3://b/x/", ("s3://b/x", "")),
        ("s3://b", ("s3://b", "")),
        ("/x/y", ("/x", "y")),
        ("/x", ("/", "x")),
        ("/x/", ("/x", "")),
        ("file:///x/a%20b", ("file:///x", "a b")),
    ],
)
def test_folder_and_name(text: str, expected: tuple[str, str]) -> None:
    assert _split(text) == expected


def test_cp_of_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").write_bytes(b"data")
    assert call(capsys, "cp", "x", f"{url}/deep/y")[0] == 0
    assert call(capsys, "cp", "x", f"{url}/deep/")[0] == 0
    assert call(capsys, "cp", "x", url.removesuffix("/some"))[0] == 0
    assert [info.key for info in open_store(url).list()] == ["deep/x", "deep/y"]
    code, out, _ = call(capsys, "cp", f"{url}/deep/y", "z", "--json")
    assert (code, json.loads(out)) == (0, {"files": 1, "bytes": 4, "reused": 0})
    assert Path("z").read_bytes() == b"data"
    (tmp_path / "folder").mkdir()
    assert call(capsys, "cp", f"{url}/deep/y", "folder")[0] == 0
    assert Path("folder/y").read_bytes() == b"data"
    Path("z").write_bytes(b"mine")
    code, _, err = call(capsys, "cp", f"{url}/deep/y", "z")
    assert code == 2
    assert "--force" in err
    assert call(capsys, "cp", f"{url}/deep/y", "z", "--force")[0] == 0


def test_cp_of_folders(capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str) -> None:
    for name in ("mine/a/1", "mine/a/2", "mine/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(os.urandom(100))
    code, _, err = call(capsys, "cp", str(tmp_path / "mine"), url)
    assert code == 0
    assert "3 files, 300 B, each verified" in err
    code, out, _ = call(capsys, "cp", url, str(tmp_path / "back"), "--json")
    assert (code, json.loads(out)) == (0, {"files": 3, "bytes": 300, "reused": 0})
    code, out, _ = call(capsys, "cp", url, str(tmp_path / "back"), "--json")
    assert json.loads(out)["reused"] == 3
    assert (tmp_path / "back/a/2").read_bytes() == (tmp_path / "mine/a/2").read_bytes()


def test_cp_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str) -> None:
    assert call(capsys, "cp", url, f"{url}-2")[0] == 2
    code, _, err = call(capsys, "cp", str(tmp_path / "absent"), url)
    assert (code, "no such file" in err) == (2, True)
    assert call(capsys, "cp", url, str(tmp_path / "to"))[0] == 4
    assert call(capsys, "cp", "s3://me:secret@b/x", str(tmp_path))[0] == 2


def test_ls(capsys: pytest.CaptureFixture[str], url: str) -> None:
    store = open_store(url)
    for key, size in (("a/1", 10), ("a/b/2", 20), ("c", 5)):
        store.put(key, b"x" * size)
    code, out, err = call(capsys, "ls", url)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [["30", "B", "2", "files", "a/"], ["5", "B", "c"]]
    assert "3 files, 35 B" in err
    assert [line.split()[-1] for line in call(capsys, "ls", "-r", url)[1].splitlines()] == [
        "a/1",
        "a/b/2",
        "c",
    ]
    assert json.loads(call(capsys, "ls", url, "--json")[1])[0] == {"name": "a/", "files": 2, "bytes": 30}
    assert len(json.loads(call(capsys, "ls", "-r", url, "--json")[1])) == 3
    assert call(capsys, "ls", f"{url}/nothing")[0] == 4


def test_columns_of_a_listing_hold_for_any_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tab\there").write_bytes(b"x")
    assert call(capsys, "ls", "-r", f"file://{tmp_path}")[1].split() == ["1", r"a/tab\x09here"]
    assert call(capsys, "ls", f"file://{tmp_path}/a")[1].split() == ["1", "B", r"tab\x09here"]


def test_verify(capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str) -> None:
    store = open_store(url)
    assert call(capsys, "verify", url)[0] == 4
    RunDir(tmp_path / "run").write("eval/last.json", '{"top1": 0.5}')
    collector = Collector(tmp_path / "run", store, attempt=1)
    collector.sync(final=True)
    collector.commit({"run_id": "x"})
    code, _, err = call(capsys, "verify", url)
    assert code == 0
    assert "every file is right" in err
    store.put("eval/last.json", b"changed")
    store.put("eval/extra", b"")
    code, out, _ = call(capsys, "verify", url, "--json")
    facts = json.loads(out)
    assert (code, facts["good"], facts["stray"]) == (4, False, ["eval/extra"])
    assert facts["flaws"][0]["key"] == "eval/last.json"
    code, _, err = call(capsys, "verify", url)
    assert "eval/last.json has 7 bytes instead of 13" in err
    assert "stray: eval/extra" in err
