"""The live view, drawn on a console that keeps its lines; and the plain lines, each event once."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from launcher.cli.follow import Plain, _Story
from launcher.cli.live import frame
from launcher.cli.style import wrap
from launcher.runfolder.states import Attempt, Staging, State, UnsafeResults
from tests.launcher.samples import NOW, Sample, make_view
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.system

CURVE = Path(__file__).parents[2] / "programs" / "curve.py"
TRAINING = {
    "epoch": 3,
    "epochs": 25,
    "step": 58,
    "steps": 575,
    "loss": 1.2041,
    "lr": 0.001,
    "images_per_s": 402.4,
    "eta_s": 70.0,
}


def drawn(width: int, **values: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(frame(make_view(**values), NOW + 65, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_line_fits(width: int) -> None:
    values = {"progress": TRAINING, "attempt": 2, "safe_step": 46}
    assert max(len(line) for line in drawn(width, **values)) <= width


def test_training_has_bars_of_epoch_and_total() -> None:
    text = "\n".join(drawn(100, progress=TRAINING))
    assert "3/25, step 12/23" in text
    assert "10 %, 1 min 10 s left" in text
    assert "loss 1.2041" in text
    assert "402 images/s" in text
    assert "1 min 05 s" in text


def test_staging_has_a_bar_and_its_rate() -> None:
    staging = Staging(bytes_done=492_000_000, bytes_total=1_200_000_000, bytes_per_s=310e6)
    text = "\n".join(drawn(100, phase="staging", staging=staging))
    assert "staging" in text
    assert "━" in text
    assert "41 % of 1.2 GB at 310 MB/s" in text


def test_compiling_tells_how_long() -> None:
    assert "  compiling graph, 20 s" in drawn(80, phase="compiling", phase_since=NOW + 45)


def test_long_lines_break_between_words() -> None:
    text = wrap("FAILED: " + "word " * 20 + "file:///a/very/long/path/that/stays/whole/for/copying", 9, 50)
    assert "file:///a/very/long/path/that/stays/whole/for/copying" in text
    assert all(line.startswith("         ") for line in text.splitlines()[1:])


def test_each_event_is_shown_once(launcher_home: Path, tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    lines: list[str] = []
    story = _Story(Plain(lambda text: lines.append(text[9:])))
    rows = [{"epoch": e, "step": 10 * e, "loss": 1 / e, "top1": 0.5, "images_per_s": 9.0} for e in (1, 2)]
    sample.metrics(rows[0])
    first = Attempt(attempt=1, started_at=NOW, ended_at=NOW + 1, outcome="rank 0 on m1 crashed")
    for view in [
        make_view(phase="queued", detail="waits for free nodes"),
        make_view(phase="compiling"),
        make_view(progress=TRAINING),
        make_view(progress=TRAINING, phase="evaluating"),
        make_view(phase="waiting", attempts=(first,)),
        make_view(
            attempt=2,
            attempts=(first, Attempt(attempt=2, started_at=NOW, resumed_step=10)),
            progress=TRAINING,
        ),
    ]:
        story.tell(sample.run, view)
        story.tell(sample.run, view)
    sample.metrics(*rows)
    story.tell(sample.run, make_view(attempt=2, progress=TRAINING))
    assert lines == [
        "queued",
        "  waits for free nodes",
        "compiling graph",
        "training",
        "epoch   1/25  loss 1.0000  top-1  50.00 %  9 images/s",
        "waiting for a restart",
        "attempt 2 from step 10: rank 0 on m1 crashed",
        "training",
        "epoch   2/25  loss 0.5000  top-1  50.00 %  9 images/s",
    ]


def test_the_end_names_files_that_are_not_in_the_store() -> None:
    lines: list[str] = []
    left = UnsafeResults(host="m1", folder="/work/run", why="not uploaded: /data/out/last.ckpt (elsewhere)")
    for unsafe in ((), (left,)):
        story = _Story(Plain(lambda text: lines.append(text[9:])))
        story.end(make_view(state=State.SUCCEEDED, ended_at=NOW + 60, unsafe=unsafe))
    assert [line for line in lines if "/data/out/last.ckpt" in line] == [left.words()]


def drain(terminal: int, into: bytearray) -> None:
    """Everything that is written to a terminal until its last writer is gone."""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 1 << 16):
            into += data


def test_ctrl_c_detaches_and_the_run_goes_on(jobs, tmp_path: Path) -> None:
    job = jobs.file(program=[sys.executable, str(CURVE)], env={"STEPS": "100000", "STEP_S": "0.1"})
    leader, follower = pty.openpty()
    # a process in the background inherits that the signal is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", "submit", str(job), "--follow"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "COLUMNS": "100", "LINES": "30", "TERM": "xterm"},
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    os.close(follower)
    shown = bytearray()
    reader = threading.Thread(target=drain, args=(leader, shown))
    reader.start()
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    entry = jobs.index.find(run_id)
    jobs.entries.append(entry)
    jobs.until(entry, lambda view: (view.progress.step or 0) >= 3)
    wait_until(lambda: b"images/s" in shown)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 101
    reader.join()
    os.close(leader)
    process.stdout.close()
    text = shown.decode("utf-8", "replace")
    assert "images/s" in text
    assert f"come back:  launcher attach {run_id}" in text
    assert f"launcher cancel {run_id}" in text
    assert jobs.view(entry).state is State.RUNNING
