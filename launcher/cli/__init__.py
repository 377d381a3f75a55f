"""The command line: a table of commands, each a module with HELP, add_arguments(parser) and run(args) -> exit code.

Only the module of the command that was typed is imported, and it imports what it needs when it runs, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable

from launcher import __version__

COMMANDS = {
    "submit": (
        "launcher.cli.submit",
        "start a job; or show (--dry-run) or rehearse (--rehearse) what would happen",
    ),
    "status": ("launcher.cli.status", "state, progress and results of one run or of all"),
    "attach": ("launcher.cli.attach", "follow a run's progress; Ctrl-C detaches"),
    "list": ("launcher.cli.status", "the same as status"),
    "explain": (
        "launcher.cli.explain",
        "why a run failed and what to do; or where each value of a job file is from",
    ),
    "wait": ("launcher.cli.wait", "block until a run has ended"),
    "logs": ("launcher.cli.logs", "logs of all ranks"),
    "fetch-results": ("launcher.cli.fetch_results", "download a run's results and verify them"),
    "report": ("launcher.cli.report", "one HTML page on a run, or on several to compare"),
    "cancel": ("launcher.cli.cancel", "stop a run; it saves a checkpoint first"),
    "resume": ("launcher.cli.resume", "go on with a run that failed or was cancelled"),
    "retry": ("launcher.cli.retry", "start a run's plan once more, as a new run"),
    "delete": ("launcher.cli.delete", "remove a platform's record of a run that has ended; results stay"),
    "check": ("launcher.cli.check", "check job files without starting anything"),
    "schema": ("launcher.cli.schema", "JSON Schema of the job file, for editors"),
    "init": ("launcher.cli.init", "write a commented job file"),
    "doctor": (
        "launcher.cli.doctor",
        "is this machine fit for it: Python, MindSpore, NPUs, disk, store, clock",
    ),
    "pack": ("launcher.cli.pack", "pack class folders into tar shards, or verify them"),
    "cp": ("launcher.cli.cp", "copy files between this machine and a store, verified"),
    "ls": ("launcher.cli.ls", "list a folder of a store"),
    "verify": ("launcher.cli.verify", "read a run's results or a data set and compare with the manifest"),
    "prune": ("launcher.cli.prune", "remove old runs and caches from this machine; asks first"),
    "completion": ("launcher.cli.completion", "completion for bash, zsh or fish"),
    "rank-table": ("launcher.cli.rank_table", "generate, lint, merge, convert or show HCCL rank tables"),
}

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

RUN is a run id, a unique prefix of one, 'last', or the URL of a run's folder.
$LAUNCHER_HOME holds the index of runs, caches and work folders (default: ascend-launcher in the user's data folder).
'launcher COMMAND --help' explains a command."""


def main(argv: list[str] | None = None) -> int:
    """Exit code of one command. Raises nothing but SystemExit, from argparse."""
    words = sys.argv[1:] if argv is None else argv
    return guarded(lambda: _dispatch(words))


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"launcher {__version__}")
        return 0
    if argv[0] == "__complete":  # what the completion of a shell asks
        from launcher.cli.completion import candidates

        print("\n".join(candidates(argv[1:], COMMANDS)))
        return 0
    if argv[0] not in COMMANDS:
        return _unknown(argv[0])
    module = importlib.import_module(COMMANDS[argv[0]][0])
    parser = argparse.ArgumentParser(
        prog=f"launcher {argv[0]}",
        description=module.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    return int(module.run(args))


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
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


def guarded(command: Callable[[], int]) -> int:
    """Run a command; errors of the tree become a message and their exit code, and never a traceback."""
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
    except Exception as error:
        if os.environ.get("LAUNCHER_DEBUG"):
            traceback.print_exc()
        print(
            f"error: a defect in launcher: {type(error).__name__}: {error}\n  hint: run again with LAUNCHER_DEBUG=1 to see where",
            file=sys.stderr,
        )
        return 1


def _unknown(name: str) -> int:
    from launcher.jobfile.suggest import nearest

    close = nearest(name, list(COMMANDS))
    hint = f"did you mean '{close}'?" if close else f"commands: {', '.join(COMMANDS)}"
    print(f"error: no command '{name}'\n  hint: {hint}", file=sys.stderr)
    return 2
