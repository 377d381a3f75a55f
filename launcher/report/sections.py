"""What happened in the runs: state, failures, curves, results, time per phase. Each section is HTML, or empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launcher.jsontext import is_number
from launcher.report.chart import Series, line_chart, part_bar
from launcher.report.gather import RunReport
from launcher.report.markup import escape
from launcher.report.pieces import card, colour_of, dot, head_of, label_of, name_of, table, with_code
from launcher.runfolder.states import State
from launcher.units import show_duration

CURVES = ("loss", "top1", "images_per_s", "lr")
TOP_OPERATORS = 10
PHASE_COLOURS = {
    "queued": "#b9bec7",
    "staging": "#d9822b",
    "starting": "#8d99ae",
    "compiling": "#7a58d1",
    "training": "#2f6fde",
    "evaluating": "#0f9fb5",
    "exporting": "#c2408f",
    "uploading": "#2a9d62",
    "waiting": "#c9b458",
}


def overview(reports: Sequence[RunReport]) -> str:
    rows = []
    for index, report in enumerate(reports):
        view, plan = report.view, report.plan
        took = show_duration(view.ended_at - view.submitted_at) if view.ended_at and view.submitted_at else ""
        top1 = view.results.get("checkpoint", view.results.get("last", view.progress.top1))
        rows.append(
            [
                f"{dot(colour_of(index)) if len(reports) > 1 else ''}{escape(label_of(report))}",
                f"<span class='state {escape(view.state.value)}'>{escape(view.state.value)}</span>",
                escape(str(plan.recipe.get("arch", "own program"))),
                escape(f"{plan.nodes} × {plan.devices_per_node} {plan.device}"),
                _of(view.progress.epoch, view.progress.epochs),
                f"{100 * top1:.2f} %" if top1 is not None else "",
                str(view.attempt),
                escape(took),
            ]
        )
    heads = ["run", "state", "arch", "devices", "epoch", "top-1", "attempts", "took"]
    if len(reports) == 1:  # its id is the title of the page
        heads, rows = heads[1:], [row[1:] for row in rows]
    first = len(heads) - 4
    links = "".join(f"<div class='soft mono links'>{escape(r.view.url)}</div>" for r in reports)
    return table(heads, rows, numbers=range(first, first + 4), stacks=True) + links


def _of(count: int | None, total: int | None) -> str:
    return "" if count is None else f"{count}/{total}" if total else str(count)


def failures_title(reports: Sequence[RunReport]) -> str:
    """Of the section `failures`: a run that has not begun has only to wait, and one that was cancelled did nothing wrong."""
    explained = [report.view.state for report in reports if report.explanation]
    if explained and set(explained) == {State.CANCELLED}:
        return "How it ended"
    begun = any(report.explanation and report.view.attempts for report in reports)
    return "What went wrong" if begun or any(r.view.state.terminal for r in reports) else "What it waits for"


def failures(reports: Sequence[RunReport]) -> str:
    cards = []
    for index, report in enumerate(reports):
        explanation = report.explanation
        if explanation is None:
            continue
        lines = "".join(f"<li>{with_code(text)}</li>" for text in explanation.do)
        tried = (
            "".join(f"<li>{escape(text)}</li>" for text in explanation.attempts)
            if explanation.attempts[1:]
            else ""
        )
        commands = "".join(f"<div><code>{escape(text)}</code></div>" for text in explanation.next)
        excerpt = (
            f"<pre class='excerpt'>{escape(chr(10).join(explanation.excerpt))}</pre>"
            if explanation.excerpt
            else ""
        )
        cards.append(
            card(
                f"{f'<h3>{name_of(reports, index)}</h3>' if len(reports) > 1 else ''}<div>{with_code(explanation.summary)}</div>{excerpt}"
                f"{f'<p>{with_code(explanation.means)}</p>' if explanation.means else ''}{f'<ul>{lines}</ul>' if lines else ''}"
                f"{f'<div class=soft>next</div>{commands}' if commands else ''}"
                f"{f'<div class=soft>attempts</div><ul>{tried}</ul>' if tried else ''}"
            )
        )
    return "".join(cards)


def curves(reports: Sequence[RunReport]) -> str:
    charts = []
    for key in CURVES:
        having = [(i, report.curves[key]) for i, report in enumerate(reports) if key in report.curves]
        units = {curve.x for _, curve in having}
        if not having or len(units) > 1 or (len(having) == 1 and len(having[0][1].points) < 2):
            continue
        series = [Series(label_of(reports[i]), colour_of(i), curve.points) for i, curve in having]
        curve = having[0][1]
        charts.append(
            card(
                f"<h3>{escape(curve.title)}</h3>{line_chart(series, curve.x, from_zero=key == 'images_per_s')}"
            )
        )
    if not charts:
        return card("<span class='soft'>no curve to draw: fewer than two points</span>")
    names = "".join(f"<span>{name_of(reports, index)}</span>" for index in range(len(reports)))
    legend = f"<p class='legend'>{names}</p>" if len(reports) > 1 else ""
    return f"{legend}<div class='grid2'>{''.join(charts)}</div>"


def results(reports: Sequence[RunReport]) -> str:
    rows = []
    for index, report in enumerate(reports):
        for name, value in report.evals.items():
            rows.append(
                [
                    name_of(reports, index),
                    escape(name),
                    _share(value.get("top1")),
                    _share(value.get("top5")),
                    escape(str(value.get("images", ""))),
                    escape(str(value.get("step", ""))),
                    escape(str(value.get("file") or "")),
                ]
            )
    if not rows:
        return ""
    heads = ["run", "evaluation", "top-1", "top-5", "images", "step", "file"]
    if len(reports) == 1:
        heads, rows = heads[1:], [row[1:] for row in rows]
    first = heads.index("top-1")
    return card(table(heads, rows, numbers=range(first, first + 4), stacks=True))


def _share(value: Any) -> str:
    return f"{100 * value:.2f} %" if is_number(value) else ""


def phases(reports: Sequence[RunReport]) -> str:
    names = list(dict.fromkeys(name for report in reports for name in report.phases))
    longest = max((sum(report.phases.values()) for report in reports), default=0.0)
    if not names or not longest:
        return ""
    bars = []
    for index, report in enumerate(reports):
        parts = [(name, report.phases.get(name, 0.0), PHASE_COLOURS.get(name, "#999")) for name in names]
        bars.append(
            f"<div style='margin:8px 0 2px'>{head_of(reports, index, '')}</div>{part_bar(parts, longest)}"
            f"<div class='soft'>{escape(report.goodput.words) if report.goodput else ''}</div>"
        )
    heads = ["phase", *(head_of(reports, index, "time") for index in range(len(reports)))]
    rows = [
        [
            f"<span class='whole'>{dot(PHASE_COLOURS.get(name, '#999'))}{escape(name)}</span>",
            *(_seconds(report.phases.get(name)) for report in reports),
        ]
        for name in names
    ]
    return card("".join(bars) + "<br>" + table(heads, rows, numbers=range(1, len(heads))))


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f} s" if value < 10 else show_duration(value)


def operators(reports: Sequence[RunReport]) -> str:
    """The slowest operators of the ranks that were profiled."""
    cards = []
    for index, report in enumerate(reports):
        for profile in report.profiles:
            rows = [
                [
                    escape(each.type),
                    str(each.calls),
                    f"{each.ms / profile.steps:.3f}",
                    f"{100 * each.share:.1f} %",
                ]
                for each in profile.operators[:TOP_OPERATORS]
            ]
            title = (
                f"rank {profile.rank}, steps {profile.first_step} to {profile.last_step}, {profile.device}"
            )
            head = f"{head_of(reports, index, '')} {escape(title)}"
            shown = table(["operator", "calls", "ms per step", "of all operators"], rows, numbers=(1, 2, 3))
            trace = f"<div class='soft mono'>{escape(f'{profile.trace}/')}</div>"
            cards.append(card(f"<h3>{head}</h3>{shown}{trace}"))
    return "".join(cards)
