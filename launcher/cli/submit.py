"""`launcher submit`: start, print or rehearse a job."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.cli.common import add_set, out, out_json, run_json, say, say_findings

if TYPE_CHECKING:
    from launcher.submission.prepare import Prepared

HELP = """Start the job of a job file and return at once; the run goes on when the terminal closes.

  --follow      show progress until the run ends; Ctrl-C detaches, and the run goes on
  --dry-run     print the plan, the rank table, the environment and command of each rank, and the request; start nothing
  --rehearse    run the whole job on one CPU device: a few steps on a few images, then eval, export and fetch;
                a program of your own: its first steps on as many ranks as there are cores, then a request to stop
  --sweep       one run for each combination of values: --sweep base_lr=1e-4,5e-4 --sweep seed=0,1,2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="job file")
    add_set(parser)
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KEY=V1,V2…",
        help="one run per value; may be repeated",
    )
    parser.add_argument(
        "--group", default="", metavar="NAME", help="a name for several runs: status --group NAME"
    )
    parser.add_argument("--backend", metavar="NAME", help="back end to use instead of resources.backend")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="show progress until the run ends, and exit with its code; --dry-run starts nothing to follow",
    )
    parser.add_argument(
        "--rehearse-for",
        metavar="N|TIME",
        help="with --rehearse of a program of your own: stop it after N steps or a time (20 steps or 60 s)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="print what would be sent; start nothing")
    mode.add_argument(
        "--rehearse", action="store_true", help="a short run of the whole job on one CPU device"
    )


def run(args: argparse.Namespace) -> int:
    from launcher.errors import UsageError
    from launcher.submission.prepare import prepare

    if args.sweep:
        from launcher.cli.sweep import run_sweep

        return run_sweep(args)
    job = prepare(args.file, overrides=args.set, backend=args.backend)
    if args.dry_run:
        return _dry_run(job, args.json)
    if args.rehearse_for is not None and not args.rehearse:
        raise UsageError("it is the length of a rehearsal; add --rehearse", where="--rehearse-for")
    if args.rehearse:
        from launcher.cli.rehearse import rehearse

        return rehearse(job, length=args.rehearse_for, as_json=args.json)
    return _submit(job, args)


def _submit(job: Prepared, args: argparse.Namespace) -> int:
    from launcher.api import submit_prepared
    from launcher.findings import errors
    from launcher.submission.prepare import check_fully
    from launcher.submission.refuse import refuse_errors

    job = job if errors(job.findings) else check_fully(job)
    say_findings(job)
    refuse_errors(job.findings, job.job.origins)
    started = submit_prepared(job, group=args.group)
    if args.json:
        out_json(run_json(started))
    else:
        out(started.id)
    if args.follow:
        from launcher.cli.follow import follow

        return follow(started, quiet=False)
    if not args.json:
        say(
            f"submitted; results go to {started.url}\n  follow:  launcher attach {started.id}\n  cancel:  launcher cancel {started.id}"
        )
    return 0


def _dry_run(job: Prepared, as_json: bool) -> int:
    from launcher.findings import errors
    from launcher.submission.dryrun import dry_run_json, dry_run_text

    if as_json:
        out_json(dry_run_json(job))
    else:
        out(dry_run_text(job))
    return 2 if errors(job.findings) else 0
