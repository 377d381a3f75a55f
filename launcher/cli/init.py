"""`launcher init`: write a commented job file to start from."""

from __future__ import annotations

import argparse
import typing

if typing.TYPE_CHECKING:
    from pathlib import Path

HELP = "Write a commented job file to start from."

_TASKS = ("train", "eval", "export", "infer")
_SCHEMA_FILE = "job.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default="job.yaml",
        metavar="FILE",
        help="file to write, - for the screen (job.yaml)",
    )
    parser.add_argument(
        "--arch", default="tnt_digits", help="architecture (tnt_digits, small enough for a CPU)"
    )
    parser.add_argument(
        "--program", metavar="SCRIPT", help="a job for a script of your own, with what its text shows"
    )
    parser.add_argument("--backend", default="local", help="back end (local)")
    parser.add_argument("--task", default="train", choices=_TASKS, help="what the job does (train)")
    parser.add_argument("--name", help="name of the job; default: made from the architecture")
    parser.add_argument(
        "--schema",
        action="store_true",
        help="also write job.schema.json beside it, for completion in editors",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.errors import UsageError
    from launcher.jobfile import spec
    from launcher.jobfile import template as jobtemplate
    from vitmodels.errors import VitError
    from vitmodels.suggest import listing, nearest

    backends = typing.get_args(spec.Backend)
    if args.backend not in backends:
        near = nearest(args.backend, backends)
        hint = f"did you mean {near}?" if near else f"expected {listing(backends)}"
        raise UsageError(f"there is no back end '{args.backend}'", where="--backend", hint=hint)
    if args.program:
        from launcher.submission.programfile import program_job

        text = program_job(args.program, name=args.name, backend=args.backend, cwd=Path.cwd())
        return _deliver(args, text)
    try:
        name = args.name or f"{args.arch}-{args.task}".replace("/", "-")
        text = jobtemplate.render(
            name=name,
            arch=args.arch,
            backend=args.backend,
            task=args.task,
            schema_file=_SCHEMA_FILE if args.schema else "",
        )
    except VitError as error:
        raise UsageError(error.what, where="--arch", hint=error.hint) from error
    return _deliver(args, text)


def _deliver(args: argparse.Namespace, text: str) -> int:
    """Write the text to its file, or to the screen."""
    import sys
    from pathlib import Path

    from launcher.jobfile import schema as jobschema

    if args.file == "-":
        sys.stdout.write(text)
        return 0
    target = Path(args.file)
    _write(target, text, replace=args.force)
    if args.schema:
        _write(target.with_name(_SCHEMA_FILE), jobschema.text(jobschema.job_schema()), replace=True)
    sys.stdout.write(f"{args.file} written; next: launcher check {args.file}\n")
    return 0


def _write(target: Path, text: str, *, replace: bool) -> None:
    """Raises UsageError when a file is there already, or none can be written."""
    from launcher.errors import UsageError

    try:
        with target.open("w" if replace else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        hint = "choose another name, or add --force to replace it"
        raise UsageError("the file exists already", where=str(target), hint=hint) from None
    except OSError as error:
        raise UsageError(f"the file can't be written: {error.strerror}", where=str(target)) from error
