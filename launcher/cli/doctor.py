"""`launcher doctor`: check this machine and the stores of a job."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.cli.common import out, out_json, say

if TYPE_CHECKING:
    from launcher.findings import Finding, Severity

HELP = """Check this machine: Python, MindSpore, NPUs, CANN, disks, locks, the platforms of the back ends. With --job or
--url also the stores and the clock. Exit code 0 when no check fails, else 2.

With --prove, runs programs on the devices for up to ten minutes, prints what was shown, not shown, or differs from what it
should be, and writes one file to attach to a report: docs/ascend-checklist.md."""

STATUSES: dict[Severity, str] = {"ok": "ok", "warning": "warn", "error": "fail", "info": "none"}
STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "none": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--job", metavar="FILE", help="also check the stores, devices and folders of this job"
    )
    parser.add_argument(
        "--url", action="append", default=[], metavar="URL", help="also check this store; may be repeated"
    )
    parser.add_argument(
        "--device",
        help="kind of NPU to look for (ascend910); with --prove: auto, which this machine has, or cpu",
    )
    parser.add_argument(
        "--prove", action="store_true", help="try the devices of this machine, ten minutes at most"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="with --prove: this proof alone; may be repeated",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="with --prove: the file for a report (./prove-<time>.tar.gz)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from launcher.doctor.machine import device_checks, machine_checks, worst

    if args.prove:
        return _prove(args)
    _refuse(args, ("only", "out"), "only with --prove")
    device = args.device or "ascend910"
    checks = machine_checks()
    job_checks: list[Finding] = []
    if args.job:
        device, job_checks = _job(args.job, device)
    on_npu = device != "cpu"
    checks += device_checks(device if on_npu else "ascend910", asked=on_npu and bool(args.job))
    checks += job_checks
    for url in args.url:
        checks += _store(url)
    if args.json:
        out_json(
            [
                {"name": _name(c), "status": STATUSES[c.severity], "text": c.message, "fix": c.fix}
                for c in checks
            ]
        )
    else:
        out(_table(checks))
        if worst(checks) == "ok":
            say("all is well")
    return 2 if worst(checks) == "error" else 0


def _prove(args: argparse.Namespace) -> int:
    from launcher.cli.prove import prove_machine

    _refuse(args, ("job", "url"), "not with --prove")
    return prove_machine(args.device or "auto", args.only, args.out, args.json)


def _refuse(args: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Raises UsageError for an option that says nothing here."""
    from launcher.errors import UsageError

    for name in names:
        if getattr(args, name):
            raise UsageError(why, where=f"--{name}", hint="launcher doctor --help")


def _job(file: str, device: str) -> tuple[str, list[Finding]]:
    """The device that a job asks for, and checks of its stores. Raises JobFileError."""
    from launcher.backends import get_backend
    from launcher.doctor import platform
    from launcher.submission.preflight import check_folders
    from launcher.submission.prepare import prepare

    plan = prepare(file).plan
    checks = list(check_folders(plan)) if get_backend(plan.backend).shares_files else []
    return plan.device, [*checks, *platform.asked_checks(plan)]


def _store(url: str) -> list[Finding]:
    from pathlib import Path

    from launcher.doctor.store import store_checks
    from launcher.errors import UsageError
    from launcher.storage.address import StoreAddress
    from launcher.storage.registry import absolute_url

    if not url:
        raise UsageError(
            "an empty address names no store", where="--url", hint="give a folder, s3:// or obs://"
        )
    return store_checks("store", StoreAddress(url=absolute_url(url, Path.cwd())), write=True)


def _table(checks: Sequence[Finding]) -> str:
    from launcher.cli.style import coloured, paint

    colour = coloured()
    width = max(len(_name(check)) for check in checks)
    lines = []
    for check in checks:
        status = STATUSES[check.severity]
        mark = paint(f"{'-' if status == 'none' else status:<4}", STYLES[status], colour)
        lines.append(f"{mark}  {_name(check):<{width}}  {check.message}")
        if check.fix and status in ("warn", "fail"):
            lines.append(f"{'':4}  {'':{width}}  → {check.fix}")
    return "\n".join(lines)


def _name(check: Finding) -> str:
    return f"{check.rule}: {check.where}" if check.where else check.rule
