"""Options that several commands have, and texts that several commands print."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launcher.cli.terminal import control
from launcher.printable import printable

if TYPE_CHECKING:
    from launcher.api import Run
    from launcher.runs.view import RunView
    from launcher.storage import ObjectStore
    from launcher.storage.address import StoreAddress
    from launcher.submission.prepare import Prepared


def out(text: str) -> None:
    print(text, flush=True)


def say(text: str) -> None:
    """Print prose to stderr, so that stdout holds only results."""
    print(text, file=sys.stderr, flush=True)


def out_json(value: Any) -> None:
    out(json_text(value))


def json_text(value: Any) -> str:
    """JSON in ASCII, so that no stream changes it."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def count(text: str) -> int:
    """Argparse type: a whole number ≥ 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number ≥ 0, found '{text}'")
    return int(text)


def seconds(text: str) -> float:
    """Argparse type: a finite number of seconds ≥ 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"expected a number of seconds ≥ 0, found '{text}'")
    return value


RUN_HELP = "run id, unique prefix, 'last', or the URL of the run's folder"


def add_run(parser: argparse.ArgumentParser) -> None:
    """RUN, which a command that changes a run asks for."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    add_store_of_run(parser)


def add_run_to_read(parser: argparse.ArgumentParser) -> None:
    """RUN for a command that only reads: it may be left out."""
    parser.add_argument("run", metavar="RUN", nargs="?", default="last", help=f"{RUN_HELP}; default: last")
    add_store_of_run(parser)


def add_runs_to_read(parser: argparse.ArgumentParser) -> None:
    """RUN, which may be left out or repeated."""
    parser.add_argument("runs", metavar="RUN", nargs="*", help=f"{RUN_HELP}; default: last")
    add_store_of_run(parser)


def add_store_of_run(parser: argparse.ArgumentParser) -> None:
    add_store(parser.add_argument_group("the store of a run that is named by its URL"))


def store_of_run(args: argparse.Namespace, reference: str) -> StoreAddress | None:
    """The store that the options of `add_store` describe; None without any of them. Its URL is that of the run."""
    if not any((args.endpoint, args.region, args.profile, args.ca_bundle)):
        return None
    if "/" not in reference:
        from launcher.errors import UsageError

        raise UsageError(
            f"the store of {reference} is known; its options are for a run that is named by its URL",
            where="--endpoint, --region, --profile, --ca-bundle",
            hint="leave them out, or name the run by the URL of its folder",
        )
    return address_of(args, reference)


def named_run(args: argparse.Namespace) -> Run:
    """The run of `add_run` or `add_run_to_read`. Raises NoSuchRun, StoreError, UsageError."""
    from launcher.api import find

    return find(args.run, store_of_run(args, args.run))


def named_runs(args: argparse.Namespace, names: Sequence[str]) -> list[Run]:
    """The runs of these names, each once. Raises NoSuchRun, StoreError, UsageError."""
    from launcher.api import find

    found = [find(each, store_of_run(args, each) if "/" in each else None) for each in names]
    return list({each.url: each for each in found}.values())


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the programs of a plan that has no signature by a key of yours; without it they are only shown",
    )


def add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one value of the job file: resources.nodes=2. A recipe key needs no prefix: epochs=3 is "
        "model.set.epochs=3. VALUE is YAML. May be repeated",
    )


def add_store(parser: argparse._ActionsContainer) -> None:
    """Options for the address of a store; the environment gives what they leave out."""
    parser.add_argument(
        "--endpoint", metavar="URL", help="address of the service; default: AWS_ENDPOINT_URL_S3"
    )
    parser.add_argument("--region", help="default: AWS_REGION")
    parser.add_argument("--profile", help="profile of the AWS configuration files")
    parser.add_argument("--ca-bundle", metavar="FILE", help="certificates to trust instead of the system's")


def address_of(args: argparse.Namespace, text: str) -> StoreAddress:
    """The store that a path or URL names, with the options of `add_store`."""
    from launcher.storage.address import StoreAddress

    return StoreAddress(url=_url_of(text), **_store_options(args))


def opened(args: argparse.Namespace, text: str) -> ObjectStore:
    """The same, opened. It needs no model of an address, whose library takes a third of a short command's time."""
    from launcher.storage import open_store

    return open_store(_url_of(text), **_store_options(args))


def _store_options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("endpoint", "region", "profile", "ca_bundle")}


def _url_of(text: str) -> str:
    from pathlib import Path

    from launcher.errors import UsageError
    from launcher.storage.registry import absolute_url

    if not text:
        raise UsageError("an empty address names no store", hint="give a folder, file://, s3:// or obs://")
    return absolute_url(text, Path.cwd())


class Line:
    """One line on a terminal that changes in place."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def show(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(control("\r\x1b[K") + printable(text))
            sys.stderr.flush()

    def clear(self) -> None:
        self.show("")


def progress_text(view: RunView) -> str:
    """`epoch 3/25, step 69/575, loss 1.204, top-1 81.1 %, 402 images/s, 1 min 10 s left`; unknown values are left out."""
    from launcher.units import show_duration

    progress = view.progress
    parts = []
    if progress.epoch is not None:
        parts.append(
            f"epoch {progress.epoch}/{progress.epochs}" if progress.epochs else f"epoch {progress.epoch}"
        )
    if progress.step is not None:
        parts.append(f"step {progress.step}/{progress.steps}" if progress.steps else f"step {progress.step}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.top1 is not None:
        parts.append(f"top-1 {100 * progress.top1:.2f} %")
    if progress.images_per_s is not None and not view.state.terminal:
        parts.append(f"{progress.images_per_s:.0f} images/s")
    if progress.eta_s is not None and view.phase in ("training", "evaluating"):
        parts.append(f"{show_duration(progress.eta_s)} left")
    return ", ".join(parts)


def results_text(results: dict[str, float]) -> str:
    """`top-1 96.11 % (last epoch), 96.11 % (checkpoint), 96.11 % (MINDIR)`."""
    names = {
        "last": "last epoch",
        "checkpoint": "checkpoint, read back",
        "mindir": "exported MINDIR",
        "onnx": "exported ONNX",
    }
    order = [name for name in names if name in results] + [name for name in results if name not in names]
    parts = [f"{100 * results[name]:.2f} % ({names.get(name, name)})" for name in order]
    return "top-1 " + ", ".join(parts) if parts else ""


def say_findings(job: Prepared) -> None:
    """Print the plan's notes and all findings but errors, which `refuse_errors` raises."""
    for note in dict.fromkeys(job.plan.notes):
        say(f"note: {note}")
    for finding in job.findings:
        if finding.severity != "error":
            say(str(finding))


def run_json(started: Run) -> dict[str, Any]:
    """What `submit --json` prints of a run."""
    entry = started.entry
    return {
        "run_id": entry.run_id,
        "name": entry.name,
        "backend": entry.backend,
        "url": entry.store.url,
        "work_dir": str(entry.run_dir.root),
        "group": entry.group,
        "labels": entry.labels,
    }
