"""`launcher explain`: why a run failed; or where each value of a job file is from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.cli.common import add_set, add_store_of_run, out, out_json, store_of_run

if TYPE_CHECKING:
    from launcher.jobfile.load import LoadedJob
    from launcher.runs.explain import Costly, Explanation

HELP = """For a RUN: the rank that failed first with its host and device, how it ended, its first error line, what that
means, and what to type next. For a job FILE: every value, and the file and line, option or default that sets it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject",
        metavar="RUN|FILE",
        nargs="?",
        default="last",
        help="run id, unique prefix, 'last', URL of the run's folder; or a job file (*.yaml); default: last",
    )
    add_set(parser)
    add_store_of_run(parser)
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also run ascend-fd, Ascend's own fault diagnosis, on the logs, and show what it says",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    if args.subject.endswith((".yaml", ".yml")):
        return _file(args.subject, args.set, args.json)
    from launcher.runs.explain import explain_run
    from launcher.runs.index import Index
    from launcher.runs.nogc import no_gc
    from launcher.runs.view import view_of

    index = Index()
    entry = index.find(args.subject, store_of_run(args, args.subject))
    unseen: tuple[Costly, ...] = () if args.json else ("evidence",)
    with no_gc():
        explanation = explain_run(entry, view_of(entry, index), without=unseen)
    deep = ""
    if args.deep:
        from launcher.runs.deep import second_opinion

        deep = second_opinion(entry, explanation.attempt)
    if args.json:
        out_json(explanation.to_json() | ({"deep": deep} if args.deep else {}))
    else:
        out(explanation_text(explanation))
        if deep:
            out("\n".join(["  ascend-fd", *(f"           {line}" for line in deep.splitlines())]))
    return 0


def _file(path: str, overrides: list[str], as_json: bool) -> int:
    from launcher.jobfile.load import load_job
    from launcher.jobfile.origins import rows, table

    job = load_job(path, overrides=overrides)
    if as_json:
        out_json([row.to_json() for row in rows(job)])
    else:
        out(table(rows(job), hidden=_unused_sections(job)))
        out("sections of other back ends are left out; all values:  launcher check --origins " + path)
    return 0


def _unused_sections(job: LoadedJob) -> set[str]:
    """The sections of back ends that the job does not run on and that its file says nothing about."""
    from launcher.backends import BACKENDS
    from launcher.jobfile.origins import rows
    from launcher.jobfile.overrides import DEFAULT

    used = {row.path.partition(".")[0] for row in rows(job) if row.origin != DEFAULT}
    return set(BACKENDS) - used - {job.spec.resources.backend}


def _place(explanation: Explanation) -> str:
    """Where the process ran that failed first."""
    place = f"{explanation.process} on {explanation.host}"
    place += f" (node {explanation.node})" if explanation.node is not None else ""
    place += f", device {explanation.device}" if explanation.device else ""
    return f"{place}, in attempt {explanation.attempt}" if explanation.attempts[1:] else place


def explanation_text(explanation: Explanation) -> str:
    """A paragraph for each part that is known."""
    from launcher.cli.style import STATE_STYLES, coloured, cut, paint, width_of, wrap

    colour, width = coloured(), width_of()
    head = f"{paint(explanation.run_id, 'bold', colour)}  {paint(explanation.state, STATE_STYLES.get(explanation.state, ''), colour)}"
    lines = [head]

    def add(label: str, text: str, style: str = "") -> None:
        if text:
            lines.append(f"  {label:<8} {paint(wrap(text, 11, width), style, colour)}")

    if explanation.process:
        add("who", _place(explanation))
        add("how", explanation.how)
        add("error", explanation.error_line, "red")
        add("in", explanation.error_file)
    else:
        add("what", explanation.summary)
    if len(explanation.excerpt) > 1:
        room = 10_000 if width is None else width - 13
        lines += [f"           │ {paint(cut(text, room), 'dim', colour)}" for text in explanation.excerpt]
    if explanation.later:
        more = f" (and {len(explanation.later) - 1} more)" if len(explanation.later) > 1 else ""
        add("then", f"{explanation.later[0]}{more}; this followed from it")
    add("means", explanation.means)
    for number, text in enumerate(explanation.do, 1):
        add("try" if number == 1 else "", f"{number}. {text}")
    if explanation.attempts[1:]:
        for text in explanation.attempts:
            add("tried" if text is explanation.attempts[0] else "", text.splitlines()[0])
    for number, text in enumerate(explanation.platform):
        add("platform" if number == 0 else "", text)
    add("safe", explanation.safe)
    add("drift", explanation.drift, "yellow")
    for number, command in enumerate(explanation.next):
        add("next" if number == 0 else "", command, "cyan")
    return "\n".join(lines)
