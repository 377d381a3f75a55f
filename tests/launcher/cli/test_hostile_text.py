"""Control characters in logs, reasons, names, keys and labels reach neither a terminal nor a page, in any encoding."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.cli.terminal import SafeStream, control, shown
from launcher.runfolder.states import AttemptResult, EndedBy, FirstFailure, State, UnsafeResults
from tests.launcher.samples import NOW, Sample

HOSTILE = "\x1b]0;x\x07 \x1b[2J \x9b31m \u202e \r \x1b[31m …"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0\ufdd1]")
OURS = re.compile(r"\x1b\[(?:0|1|2|3[1-6])m")
COMMANDS = (
    ("status", "last"),
    ("status", "last", "--json"),
    ("status",),
    ("status", "--json"),
    ("list", "--name", HOSTILE),
    ("explain", "last"),
    ("explain", "last", "--json"),
    ("wait", "last"),
    ("attach", "last"),
    ("logs", "last"),
    ("logs", "last", "--errors"),
    ("report", "last", "--out", "-"),
    ("ls", "STORE"),
    ("ls", "STORE", "--json"),
    ("ls", "STORE", "--recursive"),
    ("ls", HOSTILE),
    ("cp", "STORE", "COPY"),
    ("cp", HOSTILE, "COPY"),
    ("verify", "STORE"),
    ("verify", HOSTILE),
    ("fetch-results", "last", "--to", "RESULTS"),
    ("prune", "--dry-run", "--older-than", "0"),
    ("check", HOSTILE),
    ("check", "job.yaml"),
    (HOSTILE,),
    ("logs", "--help"),
    ("--help",),
)


@pytest.fixture
def hostile(launcher_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sample]:
    """A failed run that holds hostile text wherever a program or a store can put some."""
    monkeypatch.chdir(tmp_path)
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    sample = Sample(tmp_path)
    failure = FirstFailure(
        process="rank 0", rank=0, node=0, host=HOSTILE, device=HOSTILE, exit=1, rule="bug", line=HOSTILE, how=HOSTILE
    )  # fmt: skip
    sample.state(
        State.FAILED,
        HOSTILE,
        hint=HOSTILE,
        first_failure=failure,
        ended_by=EndedBy.PROGRAM,
        unsafe=(UnsafeResults(host=HOSTILE, folder=HOSTILE, why=HOSTILE),),
        results={HOSTILE: 0.5},
        attempts=(
            {"attempt": 1, "started_at": NOW, "ended_at": NOW + 9, "outcome": HOSTILE, "hint": HOSTILE,
             "result": AttemptResult.FAILED, "first_failure": failure},
            {"attempt": 2, "started_at": NOW + 9, "ended_at": NOW + 60, "outcome": HOSTILE},
        ),
    )  # fmt: skip
    sample.log(
        "rank-0", f"Traceback (most recent call last):\n  {HOSTILE}\nValueError: {HOSTILE}\n", attempt=2
    )
    sample.log("node", HOSTILE + "\n")
    sample.node(host=HOSTILE, warning=HOSTILE, last_error=HOSTILE, detail=HOSTILE, upload_error=HOSTILE)
    entry = sample.entry.model_copy(
        update={"name": f"job {HOSTILE}", "group": HOSTILE, "labels": {HOSTILE: HOSTILE}}
    )
    sample.index.put(entry)
    folder = tmp_path / "store-of-files"
    folder.mkdir()
    (folder / "a \u202e\u200b….txt").write_text("x")
    (tmp_path / "empty").mkdir()
    yield sample


def words_of(command: tuple[str, ...], folder: Path) -> list[str]:
    places = {"STORE": "store-of-files", "COPY": "copy", "RESULTS": "results"}
    return [str(folder / places[word]) if word in places else word for word in command]


@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda command: " ".join(command)[:30].encode("unicode-escape")
)
def test_no_command_shows_a_control_character(
    command: tuple[str, ...], hostile: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words_of(command, tmp_path))
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    printed = capsys.readouterr()
    assert code != 1, printed.err
    assert not UNSAFE.findall(printed.out) and not UNSAFE.findall(printed.err)
    assert printed.out or printed.err
    if "--json" in command:
        json.loads(printed.out)


def test_only_raw_logs_are_as_they_were_written(hostile: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "last", "--raw"]) == 0
    assert "\x1b]0;x\x07 \x1b[2J" in capsys.readouterr().out


def test_a_page_holds_no_control_character(hostile: Sample, tmp_path: Path) -> None:
    assert main(["report", "last", "--out", "page.html"]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not UNSAFE.findall(text) and "\\u202e" in text


@pytest.mark.system
@pytest.mark.parametrize(
    "command", [["status", "last"], ["explain", "last"], ["attach", "last"], ["logs", "last"]]
)
def test_on_a_terminal_only_our_colours_pass(command: list[str], hostile: Sample, tmp_path: Path) -> None:
    """Foreign colours are escaped, ours are not; the live view moves the cursor, which foreign text can't."""
    printed = on_a_terminal([sys.executable, "-m", "launcher", *command], tmp_path)
    assert OURS.search(printed)
    assert "\x1b]0;" not in printed and "\x1b[2J" not in printed and "\x1b[31m …" not in printed
    assert not re.search("[\x07\x80-\x9f\u202e\ufdd0]", printed)
    assert "\\x1b[2J" in printed


def on_a_terminal(command: list[str], cwd: Path) -> str:
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd)
    os.close(slave)
    data = b""
    try:
        while piece := os.read(master, 65536):
            data += piece
    except OSError:  # the other side is closed
        pass
    process.wait()
    os.close(master)
    return data.decode("utf-8")


DRIVER = """
import json, sys
from launcher.cli import main
codes = []
for command in json.loads(sys.stdin.read()):
    try:
        codes.append(main(command))
    except SystemExit as end:
        codes.append(end.code or 0)
    sys.stdout.flush()
open("codes.json", "w").write(json.dumps(codes))
"""


def run_all(folder: Path, **env: str) -> tuple[list[int], bytes, bytes]:
    """The exit codes of all commands in a process with these variables, and what it printed."""
    commands = [
        words_of(command, folder)
        for command in COMMANDS
        if "COPY" not in command and "RESULTS" not in command
    ]
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(commands).encode(),
        check=False,
        capture_output=True,
        cwd=folder,
        env={**os.environ, **env},
    )
    assert ended.returncode == 0, ended.stderr.decode("utf-8", "replace")
    return json.loads((folder / "codes.json").read_text()), ended.stdout, ended.stderr


@pytest.mark.system
def test_every_command_in_every_encoding(hostile: Sample, tmp_path: Path) -> None:
    expected, _, _ = run_all(tmp_path, PYTHONIOENCODING="utf-8")
    assert 1 not in expected
    for encoding in ("ascii", "iso-8859-1", "cp1252", "gbk"):
        codes, out, err = run_all(tmp_path, PYTHONIOENCODING=encoding)
        assert codes == expected
        assert not UNSAFE.findall(out.decode(encoding)) and not UNSAFE.findall(err.decode(encoding))
    assert run_all(tmp_path, LC_ALL="C", LANG="C")[0] == expected
    bare, out, err = run_all(tmp_path, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")  # file names, too
    assert 1 not in bare and out.decode("ascii") and err.decode("ascii")


@pytest.mark.system
def test_one_command_as_a_process_of_its_own(hostile: Sample, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-m", "launcher", "wait", "last"]
    ended = subprocess.run(command, capture_output=True, env=env, cwd=tmp_path, check=False)
    assert ended.returncode == 100 and b"Traceback" not in ended.stderr


def test_foreign_text_cannot_imitate_a_mark() -> None:
    assert shown(control("\x1b[K") + "a\x1b[K") == "\x1b[Ka\\x1b[K"
    assert shown("\ufdd0\ufdd1\x1b[K").endswith("\\x1b[K")


def test_streams_are_given_back() -> None:
    before = sys.stdout, sys.stderr
    main(["--version"])
    assert (sys.stdout, sys.stderr) == before and not isinstance(sys.stdout, SafeStream)
