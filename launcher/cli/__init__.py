"""The words of a command line come in; tables and JSON go to stdout, prose to stderr, and an exit code goes out.

Each command is a module with HELP, add_arguments(parser) and run(args) -> exit code. Only the module of the command that
was typed is imported, and it imports other rooms inside run(), so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from launcher import __version__


class Command(NamedTuple):
    """One command: its module and one line for the overview."""

    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "submit": Command(
        "launcher.cli.submit", "start a job, print its plan (--dry-run), or rehearse it (--rehearse)"
    ),
    "render": Command("launcher.cli.render", "print the literal request of a job, to send it yourself"),
    "status": Command("launcher.cli.status", "state, progress and results of one run or of all"),
    "attach": Command("launcher.cli.attach", "follow a run's progress; Ctrl-C detaches"),
    "list": Command("launcher.cli.status", "another name of status"),
    "explain": Command(
        "launcher.cli.explain", "why a run failed and what to do; or the origin of each value of a job file"
    ),
    "wait": Command("launcher.cli.wait", "block until a run has ended"),
    "logs": Command("launcher.cli.logs", "logs of all ranks"),
    "fetch-results": Command("launcher.cli.fetch_results", "download a run's results and verify them"),
    "report": Command("launcher.cli.report", "one HTML page on a run, or on several to compare"),
    "dashboard": Command("launcher.cli.dashboard", "web pages on all runs, for this machine's user"),
    "export": Command("launcher.cli.export", "curves of a run for TensorBoard, MLflow or SwanLab, or as CSV"),
    "cancel": Command("launcher.cli.cancel", "stop a run; it saves a checkpoint first"),
    "resume": Command("launcher.cli.resume", "continue a run that failed or was cancelled"),
    "retry": Command("launcher.cli.retry", "start the plan of a run again, as a new run"),
    "delete": Command(
        "launcher.cli.delete", "remove a platform's record of a run that has ended; results stay"
    ),
    "update": Command("launcher.cli.update", "change priority and preemption of a run that waits or runs"),
    "ssh": Command("launcher.cli.ssh", "log in to a machine of a run, where its platform lets people in"),
    "check": Command("launcher.cli.check", "check job files without starting anything"),
    "schema": Command("launcher.cli.schema", "JSON Schema of the job file, for editors"),
    "init": Command("launcher.cli.init", "write a job file to start from"),
    "doctor": Command(
        "launcher.cli.doctor", "check this machine: Python, MindSpore, NPUs, disk, store, clock"
    ),
    "image-check": Command(
        "launcher.cli.image_check", "what this image or Python lacks, with one line of pip"
    ),
    "pack": Command("launcher.cli.pack", "pack class folders into tar shards, or verify them"),
    "cp": Command("launcher.cli.cp", "copy files between this machine and a store, verified"),
    "ls": Command("launcher.cli.ls", "list a folder of a store"),
    "verify": Command(
        "launcher.cli.verify", "read a run's results or a data set and compare them with the manifest"
    ),
    "prune": Command("launcher.cli.prune", "remove old runs and caches from this machine; asks first"),
    "completion": Command("launcher.cli.completion", "completion for bash, zsh or fish"),
    "rank-table": Command(
        "launcher.cli.rank_table", "generate, lint, merge, convert or show HCCL rank tables"
    ),
}

WRITERS = ("submit", "resume", "retry", "cancel", "delete", "update")
"""Commands that write to the folder of a run."""

EXIT_CODES = """\
exit codes:
  0    done; for wait and --follow: the run SUCCEEDED
  1    a defect in launcher itself
  2    bad usage or job file
  3    no such run
  4    the object store can't be reached, refused, or holds wrong data
  5    the back end refused the job
  100  the run FAILED
  101  the run has not ended
  103  the run was CANCELLED
  130  interrupted with Ctrl-C; runs go on

RUN is a run id, a unique prefix of one, 'last', or the URL of a run's folder. Commands that only read take the last run
when it is left out; status then shows all.
$LAUNCHER_HOME holds the index of runs, caches and work folders (default: ascend-launcher in the user's data folder).
'launcher COMMAND --help' explains a command."""


def main(argv: list[str] | None = None) -> int:
    """Exit code of one command; without `argv` of this process, which then ends. Raises nothing but SystemExit, from argparse."""
    from launcher.cli.terminal import safe_streams

    arguments = sys.argv[1:] if argv is None else argv
    try:
        with safe_streams(), _private(arguments):
            return guarded(lambda: _dispatch(arguments))
    finally:
        if argv is None:
            gc.freeze()  # or Python looks for cycles once more as it ends: a sixth of a short command's time


@contextmanager
def _private(arguments: list[str]) -> Iterator[None]:
    """A command that writes to a run's folder makes files for their owner alone, whatever the umask; others obey it."""
    if not arguments or arguments[0] not in WRITERS:
        yield
        return
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"launcher {__version__}")
        return 0
    if argv[0] == "__complete":  # a shell that completes a line types this
        from launcher.cli.completion import candidates

        print("\n".join(candidates(argv[1:], COMMANDS)))
        return 0
    from launcher.cli.forgiving import parse, unknown_command

    if argv[0] not in COMMANDS:
        print(f"error: no command '{argv[0]}'\n  hint: {unknown_command(argv[0], COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[argv[0]].module)
    parser = argparse.ArgumentParser(
        prog=f"launcher {argv[0]}",
        description=module.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return int(module.run(parse(parser, argv[1:])))


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: launcher COMMAND ...",
            "",
            "Train vision transformers on Ascend NPUs from a job file.",
            "",
            "commands:",
            *lines,
            "",
            EXIT_CODES,
        ]
    )


def _machine_failed(error: OSError) -> int:
    """Exit code of an error that is the machine's, not ours: no space, no permission, too many files, threads or processes."""
    from launcher.disk import os_error

    if os.environ.get("LAUNCHER_DEBUG"):
        traceback.print_exc()
    found = os_error(error, str(error.filename or ""))
    print(f"error: {found}", file=sys.stderr)
    return found.exit_code


def guarded(command: Callable[[], int]) -> int:
    """The exit code of a command. An error becomes a message on stderr, never a traceback."""
    from launcher.errors import LauncherError

    try:
        code = command()
        sys.stdout.flush()
        return code
    except LauncherError as error:
        sys.stdout.flush()
        print(str(error) if hasattr(error, "problems") else f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output is gone, for example `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UnicodeEncodeError as error:  # of a file's name: what is printed never raises it
        lacking = error.object[error.start : error.end]
        print(
            f"error: a file name with '{lacking}' can't be used under this locale ({error.encoding})\n"
            "  hint: export LC_ALL=C.UTF-8",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        return _machine_failed(error)
    except Exception as error:
        from launcher.threads import lacks_threads

        if limit := lacks_threads(error):
            return _machine_failed(limit)
        if os.environ.get("LAUNCHER_DEBUG"):
            traceback.print_exc()
        print(
            f"error: a defect in launcher: {type(error).__name__}: {error}\n  hint: run again with LAUNCHER_DEBUG=1 to see where",
            file=sys.stderr,
        )
        return 1
