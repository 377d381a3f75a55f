"""`launcher init`: write a commented job file to start from."""

from __future__ import annotations

import argparse
import typing

if typing.TYPE_CHECKING:
    from pathlib import Path

    from launcher.jobfile.template import Wish

HELP = "Write a job file to start from, and say what to type to run it."

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
    parser.add_argument(
        "--devices", type=int, default=0, metavar="N", help="devices per machine (1 for digits, else 8)"
    )
    parser.add_argument(
        "--data", default="", metavar="URL", help="folder or URL of the images; default: one that is here"
    )
    parser.add_argument("--name", help="name of the job; default: made from the architecture")
    parser.add_argument(
        "--schema",
        action="store_true",
        help="also write job.schema.json beside it, for completion in editors",
    )
    parser.add_argument("--full", action="store_true", help="every key, with its default in a comment")
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.errors import UsageError
    from launcher.jobfile import spec
    from launcher.jobfile import template as jobtemplate
    from vitmodels.archs import resolve_arch
    from vitmodels.errors import VitError
    from vitmodels.suggest import listing, nearest

    backends = typing.get_args(spec.Backend)
    if args.backend not in backends:
        near = nearest(args.backend, backends)
        hint = f"did you mean {near}?" if near else f"expected {listing(backends)}"
        raise UsageError(f"there is no back end '{args.backend}'", where="--backend", hint=hint)
    if not 0 <= args.devices <= 64:
        raise UsageError("a machine has 1 to 64 devices", where=f"--devices {args.devices}")
    if args.program:
        from launcher.submission.programfile import program_job

        text = program_job(args.program, name=args.name, backend=args.backend, cwd=Path.cwd())
        return _deliver(args, text, [])
    try:
        data = args.data or _images_here(resolve_arch(args.arch), args.backend)
        wish = jobtemplate.Wish(
            name=args.name or f"{args.arch}-{args.task}".replace("/", "-"),
            arch=args.arch,
            backend=args.backend,
            task=args.task,
            devices=args.devices,
            data=data,
            schema_file=_SCHEMA_FILE if args.schema else "",
            full=args.full,
        )
        text = jobtemplate.render(wish)
        steps = _steps(wish, resolve_arch(args.arch))
    except VitError as error:
        raise UsageError(error.what, where="--arch", hint=error.hint) from error
    return _deliver(args, text, steps)


def _images_here(arch: str, backend: str) -> str:
    """A folder of images in the current directory that fits; '' when there is none, or where the machines do not see it."""
    from pathlib import Path

    from launcher.backends import get_backend
    from launcher.jobfile.template import is_small

    if not get_backend(backend).shares_files:
        return ""
    name = "digits" if is_small(arch) else "imagenet"
    folders = (f"data/{name}", f"demo/{name}", name)
    return next((each for each in folders if (Path(each) / "train").is_dir()), "")


def _steps(wish: Wish, arch: str) -> list[str]:
    """What is to be done before the job can run: commands, or words."""
    from launcher.backends import get_backend
    from launcher.jobfile.template import DIGITS, is_small

    steps, here = [], get_backend(wish.backend).shares_files
    if wish.task != "export" and not wish.data and is_small(arch) and here:
        steps.append(f"python -m vitmodels.digits {DIGITS}")
    elif not wish.data or not here:
        steps.append("put your own in place of obs://bucket and of the other names")
    if wish.task != "train":
        steps.append("put the id of an earlier run in place of RUN_ID")
    return steps


def _deliver(args: argparse.Namespace, text: str, steps: list[str]) -> int:
    """Write the text to its file, or to the screen, and say what comes next."""
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
    steps += [f"launcher check {args.file}", f"launcher submit {args.file} --follow"]
    sys.stdout.write("\n  ".join([f"{args.file} written; next:", *steps]) + "\n")
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
