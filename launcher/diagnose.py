"""From a rank's exit and log to one sentence: who failed first, how, and the first line that says why."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from launcher.run import TEMPORARY_FAILURE, Exit, Outcome
from launcher.units import show_duration

_HEAD_BYTES = 4 << 20
_TRACEBACK = "Traceback (most recent call last):"
_ERROR_LINE = re.compile(
    r"^(?:[\w.]*(?:Error|Exception|Interrupt)\b.*|(?:error|fatal|FATAL|ERROR)\b[: ].*|\S*python\S*: (?:No module|can't open).*|can't start .*)"
)
_GLOG_ERROR = re.compile(r"^\[(?:ERROR|CRITICAL)\]")
_SIGNAL_HINTS = {
    signal.SIGKILL: "killed by SIGKILL (out of memory, or by hand)",
    signal.SIGSEGV: "crashed (SIGSEGV)",
    signal.SIGABRT: "aborted (SIGABRT)",
    signal.SIGBUS: "crashed (SIGBUS: is /dev/shm or the disk full?)",
    signal.SIGTERM: "stopped by SIGTERM from outside",
}
_PERMANENT = re.compile(
    r"\b(ModuleNotFoundError|ImportError|SyntaxError|IndentationError|NameError)\b|: No module named"
)


def how_it_ended(code: int) -> str:
    """An exit code in words; negative codes are signals, as subprocess has them, 128+n those of a shell."""
    number = -code if code < 0 else code - 128 if 128 < code < 160 else 0
    if number:
        try:
            name = signal.Signals(number)
        except ValueError:
            return f"killed by signal {number}"
        return _SIGNAL_HINTS.get(name, f"killed by {name.name}")
    if code == TEMPORARY_FAILURE:
        return "stopped itself with a checkpoint (exit code 75)"
    return f"ended with exit code {code}"


def first_error(log: Path, start: int = 0) -> str:
    """The first line of a log, from byte `start`, that states an error: the end of the first traceback, else the first error line."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read(_HEAD_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for index, line in enumerate(lines):
        if line.startswith(_TRACEBACK):
            for later in lines[index + 1 :]:
                if later and not later[0].isspace():
                    return later.strip()
    for line in lines:
        if _ERROR_LINE.match(line) or _GLOG_ERROR.match(line):
            return line.strip()
    return ""


def explain(outcome: Outcome, host: str) -> str:
    """One sentence on why a gang did not end well."""
    if outcome.hang_s is not None:
        return f"no progress and no log line for {show_duration(outcome.hang_s)}: taken as a hang; the stacks of all ranks are in their logs"
    if outcome.failure is None:
        return outcome.stopped
    process = outcome.failure.process
    where = f"{process.name} on {host}"
    cause = first_error(process.log)
    return f"{where} {how_it_ended(outcome.failure.code)}" + (f": {cause}" if cause else "")


def worth_a_restart(failure: Exit) -> bool:
    """False for what will fail the same way again: a wrong recipe (exit code 2), a program that can't start, a bug at import."""
    if failure.code in (2, 126, 127):
        return False
    return not _PERMANENT.search(first_error(failure.process.log))
