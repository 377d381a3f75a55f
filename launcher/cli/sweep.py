"""`launcher submit --sweep`: one run for each combination of values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.cli.common import out, out_json, run_json, say, say_findings
from launcher.errors import UsageError
from vitmodels.secrets import mask

if TYPE_CHECKING:
    from launcher.api import Run
    from launcher.submission.sweeps import Point


def run_sweep(args: argparse.Namespace) -> int:
    """Exit code 0 when all runs were started; with --follow the worst of theirs."""
    from launcher.api import submit_points
    from launcher.findings import errors
    from launcher.submission.prepare import check_fully
    from launcher.submission.refuse import refuse_errors
    from launcher.submission.sweeps import group_name, parse_axis, prepare_points

    if args.rehearse:
        raise UsageError("a sweep can't be rehearsed", hint="rehearse the job file without --sweep")
    axes = [parse_axis(text) for text in args.sweep]
    points = prepare_points(args.file, axes, overrides=args.set, backend=args.backend)
    group = args.group or group_name(points[0].job.plan.name)
    if args.dry_run:
        return _dry_run(points, group, args.json)
    if not any(errors(point.job.findings) for point in points):
        points = [replace(point, job=check_fully(point.job)) for point in points]
    say_findings(points[0].job)
    for point in points:
        refuse_errors(point.job.findings, point.job.job.origins)
    started = submit_points(points, group)
    if args.json:
        out_json({"group": group, "runs": [run_json(run) for run in started]})
    else:
        for run in started:
            out(run.id)
    if args.follow:
        return _follow(started, group)
    if not args.json:
        say(
            f"submitted {len(started)} runs of group {group}\n  watch:  launcher status --group {group} --watch"
        )
    return 0


def _dry_run(points: Sequence[Point], group: str, as_json: bool) -> int:
    from launcher.backends import get_backend
    from launcher.backends.base import ManyAtOnce
    from launcher.findings import errors

    backend = get_backend(points[0].job.plan.backend)
    plans = [point.job.plan for point in points]
    request = mask(backend.render_all(plans)) if isinstance(backend, ManyAtOnce) else ""
    rows = [
        {
            "labels": point.labels,
            "arithmetic": point.job.plan.arithmetic.model_dump(mode="json")
            if point.job.plan.arithmetic
            else None,
            "findings": [finding.to_dict() for finding in point.job.findings],
        }
        for point in points
    ]
    if as_json:
        out_json({"group": group, "runs": rows, **({"request": request} if request else {})})
    else:
        out(f"group {group}, {len(points)} runs")
        for point in points:
            out("  " + "  ".join(mask(f"{key}={value}") for key, value in point.labels.items()))
            for finding in point.job.findings:
                out("    " + str(finding).replace("\n", "\n    "))
        if request:
            out("request, as it would be sent")
            out("  " + request.rstrip().replace("\n", "\n  "))
        out("dry run: nothing was started, nothing was written")
    return 2 if any(errors(point.job.findings) for point in points) else 0


def _follow(started: Sequence[Run], group: str) -> int:
    """The table of the group, redrawn until all have ended."""
    from launcher.cli import status

    parser = argparse.ArgumentParser()
    status.add_arguments(parser)
    sys.stdout.flush()
    return status.run(parser.parse_args(["--group", group, "--watch", "--exit-code"]))
