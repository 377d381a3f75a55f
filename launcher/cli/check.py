"""`launcher check`: the mistakes of a job file, or the numbers of its run."""

from __future__ import annotations

import argparse
import typing

from launcher.cli.common import add_set, out_json

if typing.TYPE_CHECKING:
    from launcher.findings import Finding
    from launcher.jobfile.load import LoadedJob
    from launcher.jobfile.problems import JobFileError
    from launcher.plan.model import Plan

HELP = """Check job files without starting anything. Prints every mistake with its place (file:line:column), else the
numbers of the run and the findings of the rules. Exit code 0 when every file can run, 2 when a file must be changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="job file")
    add_set(parser)
    parser.add_argument(
        "--origins",
        action="store_true",
        help="list every value with the file and line, option or default it is from",
    )
    parser.add_argument(
        "--ask", action="store_true", help="also ask the stores and the platform; writes one small object"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """0 when all files are right, 2 when one is not."""
    import sys

    reports = [_check(file, args.set, ask=args.ask) for file in args.files]
    if args.json:
        out_json({"files": [_as_json(r) for r in reports]})
    else:
        sys.stdout.write("\n".join(_as_text(report, args.origins) for report in reports) + "\n")
    return 0 if all(report.ok for report in reports) else 2


class _Report(typing.NamedTuple):
    file: str
    error: JobFileError | None = None
    job: LoadedJob | None = None
    plan: Plan | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return self.error is None and not any(f.severity == "error" for f in self.findings)


def _check(file: str, overrides: typing.Sequence[str], *, ask: bool) -> _Report:
    from pathlib import Path

    from launcher.jobfile.load import load_job
    from launcher.jobfile.problems import JobFileError
    from launcher.submission.prepare import findings_of, plan_of, selection_for
    from launcher.threads import environment

    try:
        job = load_job(file, overrides=overrides)
    except JobFileError as error:
        return _Report(file, error)
    run_id = f"{job.spec.name}-00000000-000000-0000"  # a run id that no run has: nothing is submitted
    env = environment()
    selection = selection_for(job.spec, job.spec.resources.backend, env, Path.cwd())
    plan = plan_of(
        job.spec,
        job.recipe,
        run_id=run_id,
        env=env,
        cwd=Path.cwd(),
        settings=job.recipe_values,
        notes=job.notes,
        selection=selection,
    )
    findings = findings_of(job, plan, env=env, cwd=Path.cwd(), selection=selection)
    return (
        _Report(file, None, job, plan, (*findings, *_asked(plan, findings)))
        if ask
        else _Report(file, None, job, plan, findings)
    )


def _asked(plan: Plan, found: typing.Sequence[Finding]) -> list[Finding]:
    """Answers of the stores and the platform, without those that say that all is well, or what was found without asking."""
    from launcher.doctor.platform import asked_checks

    return [each for each in asked_checks(plan) if each.severity != "ok" and each not in found]


def _as_text(report: _Report, with_origins: bool) -> str:
    if report.error is not None:
        return str(report.error)
    if report.plan is None:
        return f"{report.file}: nothing to check"
    lines = [f"{report.file}: {'ok' if report.ok else 'cannot run'}", *_numbers(report.plan)]
    lines += [f"  note: {note}" for note in report.plan.notes]
    lines += [f"  {line}" for finding in report.findings for line in str(finding).splitlines()]
    if with_origins and report.job is not None:
        from launcher.jobfile.origins import rows, table

        lines += [f"  {line}" for line in table(rows(report.job)).splitlines()]
    return "\n".join(lines)


def _numbers(plan: Plan) -> list[str]:
    """The arithmetic in a few lines for people."""
    from launcher.units import show_bytes

    ranks = f"{plan.world_size} rank{'s' if plan.world_size > 1 else ''}"
    rows = [
        (
            "job",
            f"{plan.task}, {ranks} on {plan.nodes} × {plan.devices_per_node} {plan.device} ({plan.backend})",
        )
    ]
    numbers = plan.arithmetic
    if numbers is not None:
        checkpoint = show_bytes(numbers.checkpoint_bytes)
        rows += [
            ("model", f"{plan.recipe['arch']}, {numbers.parameters:,} parameters"),
            ("batch", f"{numbers.batch_per_rank} per rank, {numbers.global_batch} in all"),
            ("rate", f"peak learning rate {numbers.learning_rate:.6g}"),
            ("length", f"{numbers.epochs} epochs{_steps(plan)}"),
            ("disk", f"{checkpoint} per checkpoint, {numbers.keep_checkpoints} kept"),
        ]
    return [f"  {name:<7} {text}" for name, text in rows]


def _steps(plan: Plan) -> str:
    numbers = plan.arithmetic
    if numbers is None or numbers.steps_per_epoch is None:
        return "; steps are known after staging, or with data.train_images"
    return f" × {numbers.steps_per_epoch:,} steps = {numbers.steps_per_epoch * numbers.epochs:,} steps on every rank"


def _as_json(report: _Report) -> dict[str, object]:
    from launcher.jobfile.origins import rows

    plan, job = report.plan, report.job
    outcome = {"ok": report.ok, "problems": []} if report.error is None else report.error.to_json()
    return {
        "file": report.file,
        **outcome,
        "findings": [finding.to_dict() for finding in report.findings],
        "arithmetic": plan.arithmetic.model_dump(mode="json") if plan and plan.arithmetic else None,
        "notes": list(plan.notes) if plan else [],
        "values": [row.to_json() for row in rows(job)] if job else [],
    }
