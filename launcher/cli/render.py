"""`launcher render`: the literal request of a job file, for people who send it themselves."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_set, out, say, say_findings

HELP = """Print the literal request that `submit` would send: manifests, a batch script, a body. Starts nothing.

  --write       also write the run's folder, without which what is printed can't run; then send it as it is,
                with the platform's own command"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="job file")
    add_set(parser)
    parser.add_argument("--backend", metavar="NAME", help="back end to use instead of resources.backend")
    parser.add_argument(
        "--write", action="store_true", help="write the run's folder, and note the run in the index"
    )


def run(args: argparse.Namespace) -> int:
    from launcher.submission.launch import write_run
    from launcher.submission.prepare import prepare
    from launcher.submission.refuse import refuse_errors

    job = prepare(args.file, overrides=args.set, backend=args.backend)
    say_findings(job)
    refuse_errors(job.findings, job.job.origins)
    if not args.write:
        out(job.request.rstrip("\n"))
        say("nothing was written; --write makes the run's folder, which this request needs")
        return 0
    entry, request = write_run(job)
    out(request.rstrip("\n"))
    say(f"{entry.run_id} is not started yet: send what was printed; its folder is {entry.store.url}")
    return 0
