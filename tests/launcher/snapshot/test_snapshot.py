"""What a snapshot of a folder holds, and what comes out of it again."""

import os
import subprocess
from pathlib import Path

import pytest

from launcher.errors import IntegrityError
from launcher.runfolder.snapshotindex import SnapshotIndex
from launcher.snapshot import select as selecting
from launcher.snapshot.archive import index_of, pack, unpack
from launcher.snapshot.ignore import Ignore
from launcher.snapshot.select import Selection, Source, largest, select


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def write(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True)


def names(folder: Path, **values: object) -> list[str]:
    return sorted(select(Source(folder, **values)).files)  # type: ignore[arg-type]


def test_outside_of_git_all_files_but_those_of_tools_and_runs(folder: Path) -> None:
    write(folder, "train.py", "src/a.py", ".hidden", "a b\nc.txt", "ümlaut.yaml", "big/data.bin")
    write(folder, ".git/config", "__pycache__/a.pyc", "env/pyvenv.cfg", "env/bin/python", "node_modules/a.js")
    write(folder, "old/run-1/plan.json", "old/run-1/state.json", "old/run-1/work/a.ckpt", "runs/x/log.txt")
    os.mkfifo(folder / "pipe")
    expected = [".hidden", "a b\nc.txt", "big/data.bin", "src/a.py", "train.py", "ümlaut.yaml"]
    assert names(folder, excluded=(folder / "runs",)) == sorted(expected)


def test_with_git_what_is_tracked_or_would_be_also_in_submodules(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", "lib.py")
    git(tmp_path / "other", "init", "-q")
    git(tmp_path / "other", "add", ".")
    git(tmp_path / "other", "commit", "-qm", "a")
    write(folder, "train.py", "gone.py", ".gitignore", "sub/inner.py", text="data/\n")
    git(folder, "init", "-q")
    git(
        folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "other"), "third"
    )
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a")
    (folder / "gone.py").unlink()
    write(folder, "new.py", "data/a.bin")
    assert names(folder) == [
        *(".gitignore", ".gitmodules", "new.py", "sub/inner.py", "third/lib.py", "train.py")
    ]
    assert names(folder / "sub") == ["inner.py"]
    assert "data/a.bin" in names(folder, named=("data",))


def test_an_ignored_folder_of_a_repository_is_taken_as_one_outside_of_git(folder: Path) -> None:
    write(folder, ".gitignore", text="tmp/\n")
    git(folder, "init", "-q")
    write(folder, "tmp/train.py")
    assert names(folder / "tmp") == ["train.py"]


@pytest.mark.parametrize(
    ("pattern", "ignored", "kept"),
    [
        ("*.bin", ["a.bin", "x/b.bin"], ["a.bin.txt"]),
        ("/data", ["data/x", "data"], ["src/data/x"]),
        ("data/", ["data/x", "src/data/x"], ["data"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["b/a/z"]),
        ("**/tmp", ["tmp", "x/tmp/y"], ["tmpx"]),
        ("x/**", ["x/a/b"], ["x"]),
        ("f[0-9!].py", ["f1.py", "f!.py"], ["fa.py"]),
        ("*\n!keep.txt", ["a.txt"], ["keep.txt"]),
        ("build/\n!build/keep.txt", ["build/keep.txt"], []),
        ("# no\n\\#yes\n\\!x\ny\\ ", ["#yes", "!x", "y "], ["# no", "y"]),
        ("[", [], ["["]),
    ],
)
def test_launcherignore_reads_as_gitignore(
    pattern: str, ignored: list[str], kept: list[str], folder: Path
) -> None:
    ignore = Ignore(pattern.splitlines())
    assert [name for name in (*ignored, *kept) if ignore.ignores(name)] == ignored
    (folder / ".launcherignore").write_text(pattern)
    (folder / ".gitignore").write_text(pattern)  # git is asked for its opinion
    git(folder, "init", "-q")
    done = subprocess.run(
        ["git", "-C", str(folder), "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(name for name in (*ignored, *kept) if "/" in name or not name.startswith("data")),
        capture_output=True,
        text=True,
        check=False,
    )
    said = set(filter(None, done.stdout.split("\0")))
    assert said == {name for name in ignored if "/" in name or not name.startswith("data")}


def test_too_large_is_linked_here_and_named_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "MOST_BYTES", 100)
    write(folder, "train.py", "data/small.txt")
    write(folder, "data/large.bin", text="x" * 200)
    here = select(Source(folder, can_link=True, shares_files=True))
    assert (sorted(here.files), here.links) == (
        ["data/small.txt", "train.py"],
        {"data/large.bin": str(folder / "data/large.bin")},
    )
    elsewhere = select(Source(folder))
    assert [each.name for each in elsewhere.left_behind] == ["data/large.bin"]
    assert largest(elsewhere.left_behind, folder) == ["data/ (data/large.bin: 200 B)"]


def test_too_many_files_make_a_link_to_the_fullest_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selecting, "MOST_FILES", 10)
    write(folder, "train.py", *(f"data/a/{n}" for n in range(9)), *(f"data/b/{n}" for n in range(3)))
    here = select(Source(folder, can_link=True, shares_files=True))
    assert here.links == {"data/a": str(folder / "data/a")}
    assert len(here.files) == 4
    assert [each.why for each in select(Source(folder)).left_behind] == ["9 files"]


def test_secrets_are_never_copied(folder: Path) -> None:
    secret = [".env", ".env.local", "keys/id_rsa", "server.pem", ".aws/config", "my_secrets.yaml"]
    write(folder, "train.py", ".env.example", "environment.py", "tokenizer.json", "monkey.py", *secret)
    elsewhere = select(Source(folder))
    assert sorted(elsewhere.files) == [
        ".env.example",
        "environment.py",
        "monkey.py",
        "tokenizer.json",
        "train.py",
    ]
    assert sorted(elsewhere.secrets) == sorted(secret)
    assert sorted(select(Source(folder, can_link=True)).links) == sorted(secret)


def test_links(folder: Path, tmp_path: Path) -> None:
    write(folder, "conf/a.yaml")
    write(tmp_path, "far/b.yaml", text="far")
    for name, target in {
        "in": "conf/a.yaml",
        "conf/whole": str(folder / "conf/a.yaml"),
        "conf/folder": "../conf",
        "out": "../far/b.yaml",
        "lost": "nowhere",
    }.items():
        (folder / name).symlink_to(target)
    targets = {name: each.target for name, each in select(Source(folder, shares_files=True)).files.items()}
    assert targets == {
        "conf/a.yaml": "",
        "in": "conf/a.yaml",
        "conf/whole": "a.yaml",
        "conf/folder": ".",
        "out": str(tmp_path / "far/b.yaml"),
        "lost": str(folder / "nowhere"),
    }
    (folder / "away").symlink_to(tmp_path / "far")
    elsewhere = select(Source(folder))
    assert elsewhere.files["out"].target == ""
    assert [each.name for each in elsewhere.left_behind] == ["away"]


def unpacked(selection: Selection, target: Path) -> tuple[bytes, SnapshotIndex]:
    data = pack(selection).data
    unpack(data, target)
    return data, index_of(data)


def test_what_comes_out_is_what_went_in_and_the_bytes_are_the_same(folder: Path, tmp_path: Path) -> None:
    write(folder, "train.py", "a/b.txt", os.fsdecode(b"odd-\xff\n"), "x" * 200)
    (folder / "train.py").chmod(0o755)
    (folder / "a/ro.txt").write_text("ro")
    (folder / "a/ro.txt").chmod(0o444)
    os.utime(folder / "a/b.txt", (1.5e9 + 0.7, 1.5e9 + 0.7))
    (folder / "link").symlink_to("a/b.txt")
    selection = select(Source(folder))
    data, index = unpacked(selection, tmp_path / "work/rank-0")
    out = tmp_path / "work/rank-0"
    assert pack(select(Source(folder))).data == data
    assert sorted(index.files) == sorted(name for name, each in selection.files.items() if not each.target)
    for name in index.files:
        assert (out / name).read_bytes() == (folder / name).read_bytes()
        status = (out / name).stat()
        assert index.has_unchanged(f"work/rank-0/{name}", status.st_size, status.st_mtime_ns)
        assert int(status.st_mtime) == int((folder / name).stat().st_mtime)
    assert os.access(out / "train.py", os.X_OK)
    assert (out / "link").read_text() == "x"
    assert index.has_link("work/rank-0/link")
    assert SnapshotIndex.read(index.text().encode()) == index
    (out / "train.py").write_text("changed")
    (out / "a/b.txt").unlink()
    unpack(data, out)
    assert ((out / "train.py").read_text(), (out / "a/b.txt").read_text()) == ("changed", "x")
    status = (out / "train.py").stat()
    assert not index.has_unchanged("work/rank-0/train.py", status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("left", [b"", b"\0" * 200, b"x" * 199])
def test_what_a_machine_without_power_left_of_a_file_is_written_again(
    folder: Path, tmp_path: Path, left: bytes
) -> None:
    """Its time is that of the submission, so the program has not changed it."""
    write(folder, "train.py", text="x" * 200)
    out = tmp_path / "out"
    data, _ = unpacked(select(Source(folder)), out)
    before = (out / "train.py").stat()
    (out / "train.py").write_bytes(left)
    os.utime(out / "train.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    unpack(data, out)
    assert (out / "train.py").read_text() == "x" * 200


def test_a_damaged_archive_and_one_that_leads_outside(folder: Path, tmp_path: Path) -> None:
    write(folder, "train.py", text="x" * 5000)
    selection = select(Source(folder))
    with pytest.raises(IntegrityError, match="can't be unpacked"):
        unpack(pack(selection).data[:60], tmp_path / "out")
    selection.files["../evil.py"] = selection.files.pop("train.py")
    with pytest.raises(IntegrityError, match="evil"):
        unpack(pack(selection).data, tmp_path / "out")
    assert not (tmp_path / "evil.py").exists()
