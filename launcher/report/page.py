"""The report as one HTML page that needs nothing from elsewhere: no script, no font, no picture."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from launcher.report.chart import PALETTE, Series, line_chart, part_bar
from launcher.report.gather import RunReport
from launcher.units import show_duration

CURVES = ("loss", "top1", "images_per_s", "lr")
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
STYLE = """
:root{--ink:#1c2330;--soft:#5d6675;--line:#dfe3ea;--card:#fff;--page:#f4f6f9;--mark:#fff6d6;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b5;--line:#343b48;--card:#1d222b;--page:#14181f;--mark:#3d3618}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:1.5rem;margin:0 0 2px}h2{font-size:1.1rem;margin:34px 0 10px}h3{font-size:.95rem;margin:0 0 6px}
.soft{color:var(--soft)}.mono,code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,monospace;font-size:.86em}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;overflow-x:auto}
.card+.card{margin-top:12px}.grid2 .card+.card{margin-top:0}
.grid2{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr))}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}th{font-weight:600;color:var(--soft);font-size:.86em}
td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.differs td{background:var(--mark)}
.state{border-radius:99px;padding:1px 10px;color:#fff;font-size:.8em;font-weight:600;background:#6b7280;white-space:nowrap}
.SUCCEEDED{background:#1f8a53}.FAILED{background:#c8372d}.CANCELLED{background:#a8730b}.RUNNING{background:#2366c9}
.dot{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px}
svg{width:100%;height:auto;display:block}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft)}
svg .tick{fill:var(--soft);font-size:12px}svg .line{fill:none;stroke-width:2;stroke-linejoin:round}
.bar{display:flex;height:20px;border-radius:4px;overflow:hidden}.bar span{min-width:1px}
pre{margin:6px 0 0;padding:10px 12px;background:var(--page);border-radius:6px;overflow-x:auto}
summary{cursor:pointer;color:var(--soft)}ul{margin:6px 0;padding-left:20px}
.legend span{margin-right:16px;white-space:nowrap}
"""


def page(reports: Sequence[RunReport], now: float | None = None) -> str:
    """The whole document. With several runs, curves lie over each other and tables have a column per run."""
    one = len(reports) == 1
    title = reports[0].view.run_id if one else f"{len(reports)} runs compared"
    made = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    body = [
        f"<h1>{escape(title)}</h1><div class='soft'>launcher report, {escape(made)}</div>",
        _section("Runs", _card(_overview(reports))),
        *(
            _section("What went wrong", _failures(reports))
            for _ in [0]
            if any(r.explanation for r in reports)
        ),
        _section("Curves", _curves(reports)),
        _section("Results", _results(reports)),
        _section("Time per phase", _phases(reports)),
        _section("Recipe", _recipe(reports)),
        _section("Environment", _environment(reports)),
        _section("Again", _again(reports)),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _card(content: str) -> str:
    return f"<div class='card'>{content}</div>"


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _name(reports: Sequence[RunReport], index: int) -> str:
    """The run with its colour; in a sweep the values that tell it apart."""
    view = reports[index].view
    text = ", ".join(f"{key}={value}" for key, value in view.labels.items()) or view.run_id
    return f"<span class='dot' style='background:{_colour(index)}'></span><span title='{escape(view.run_id)}'>{escape(text)}</span>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Cells are HTML. `numbers` are the columns set to the right. Columns without any content are left out."""
    rows = list(rows)
    keep = [index for index in range(len(heads)) if index == 0 or any(cells[index] for cells in rows)]

    def row(cells: Sequence[str], tag: str, mark: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=num' if index in numbers else ''}>{cells[index]}</{tag}>" for index in keep
        )
        return f"<tr{mark}>{inner}</tr>"

    return f"<table>{row(heads, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _overview(reports: Sequence[RunReport]) -> str:
    rows = []
    for index, report in enumerate(reports):
        view, plan = report.view, report.plan
        took = show_duration(view.ended_at - view.submitted_at) if view.ended_at and view.submitted_at else ""
        top1 = view.results.get("checkpoint", view.results.get("last", view.progress.top1))
        rows.append(
            [
                _name(reports, index),
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
    links = "".join(
        f"<div class='soft mono'>{escape(r.view.run_id)} → {escape(r.view.url)}</div>" for r in reports
    )
    return _table(heads, rows, numbers=(4, 5, 6, 7)) + links


def _of(count: int | None, total: int | None) -> str:
    return "" if count is None else f"{count}/{total}" if total else str(count)


def _curves(reports: Sequence[RunReport]) -> str:
    charts = []
    for key in CURVES:
        having = [(i, report.curves[key]) for i, report in enumerate(reports) if key in report.curves]
        units = {curve.x for _, curve in having}
        if not having or len(units) > 1 or (len(having) == 1 and len(having[0][1].points) < 2):
            continue
        series = [Series(_label(reports[i]), _colour(i), curve.points) for i, curve in having]
        curve = having[0][1]
        charts.append(
            _card(
                f"<h3>{escape(curve.title)}</h3>{line_chart(series, curve.x, from_zero=key == 'images_per_s')}"
            )
        )
    if not charts:
        return _card("<span class='soft'>no curve to draw: fewer than two points</span>")
    names = "".join(f"<span>{_name(reports, index)}</span>" for index in range(len(reports)))
    legend = f"<p class='legend'>{names}</p>" if len(reports) > 1 else ""
    return f"{legend}<div class='grid2'>{''.join(charts)}</div>"


def _label(report: RunReport) -> str:
    return ", ".join(f"{k}={v}" for k, v in report.view.labels.items()) or report.view.run_id


def _results(reports: Sequence[RunReport]) -> str:
    rows = []
    for index, report in enumerate(reports):
        for name, value in report.evals.items():
            rows.append(
                [
                    _name(reports, index),
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
    return _card(
        _table(["run", "evaluation", "top-1", "top-5", "images", "step", "file"], rows, numbers=(2, 3, 4, 5))
    )


def _share(value: Any) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, int | float) else ""


def _phases(reports: Sequence[RunReport]) -> str:
    names = list(dict.fromkeys(name for report in reports for name in report.phases))
    longest = max((sum(report.phases.values()) for report in reports), default=0.0)
    if not names or not longest:
        return ""
    bars = []
    for index, report in enumerate(reports):
        parts = [(name, report.phases.get(name, 0.0), PHASE_COLOURS.get(name, "#999")) for name in names]
        bars.append(f"<div style='margin:8px 0 2px'>{_name(reports, index)}</div>{part_bar(parts, longest)}")
    heads = ["phase", *(_name(reports, index) for index in range(len(reports)))]
    rows = [
        [
            f"<span class='dot' style='background:{PHASE_COLOURS.get(name, '#999')}'></span>{escape(name)}",
            *(_seconds(report.phases.get(name)) for report in reports),
        ]
        for name in names
    ]
    return _card("".join(bars) + "<br>" + _table(heads, rows, numbers=range(1, len(heads))))


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f} s" if value < 10 else show_duration(value)


def _recipe(reports: Sequence[RunReport]) -> str:
    keys = list(dict.fromkeys(key for report in reports for key in report.settings))
    if not keys:
        return ""
    if len(reports) == 1:
        rows = [
            [
                f"<code>{escape(key)}</code>",
                f"<code>{_value(value)}</code>",
                f"<span class='soft'>{escape(origin)}</span>",
            ]
            for key, (value, origin) in reports[0].settings.items()
        ]
        own = [
            row
            for row, (_, origin) in zip(rows, reports[0].settings.values(), strict=True)
            if origin != "default"
        ]
        heads = ["key", "value", "from"]
        rest = f"<details><summary>all {len(rows)} values</summary>{_table(heads, rows)}</details>"
        return _card((_table(heads, own) if own else "") + rest)
    heads = ["key", *(_name(reports, index) for index in range(len(reports)))]
    rows, different = [], []
    for key in keys:
        values = [report.settings.get(key) for report in reports]
        cells = [
            f"<code title='{escape(found[1])}'>{_value(found[0])}</code>"
            if found
            else "<span class='soft'>–</span>"
            for found in values
        ]
        row = [f"<code>{escape(key)}</code>", *cells]
        rows.append(row)
        if len({json.dumps(found[0], sort_keys=True) if found else None for found in values}) > 1:
            different.append(row)
    shown = _table(heads, different) if different else "<span class='soft'>the recipes are the same</span>"
    return _card(f"{shown}<details><summary>all {len(rows)} values</summary>{_table(heads, rows)}</details>")


def _value(value: Any) -> str:
    return escape(json.dumps(value, ensure_ascii=False))


def _environment(reports: Sequence[RunReport]) -> str:
    found = [_facts(report) for report in reports]
    keys = list(dict.fromkeys(key for facts in found for key in facts))
    heads = ["", *(_name(reports, index) for index in range(len(reports)))]
    rows = [[escape(key), *(f"<code>{escape(facts.get(key, ''))}</code>" for facts in found)] for key in keys]
    return _card(_table(heads, rows))


def _facts(report: RunReport) -> dict[str, str]:
    record, plan = report.record, report.plan
    git = record.get("git") or {}
    hosts = ", ".join(dict.fromkeys(node.host for node in report.view.nodes))
    facts = {
        "submitted from": str(record.get("host", "")),
        "ran on": hosts,
        "python": str(record.get("python", "")),
        "platform": str(record.get("platform", "")),
        **{name: str(version) for name, version in (record.get("packages") or {}).items()},
        "git": f"{git['commit'][:12]}{' with changes' if git.get('dirty') else ''}"
        if git.get("commit")
        else "",
        "data": plan.data.url if plan.data else "",
        "seed": str(plan.recipe.get("seed", "")),
        "job file sha256": str(record.get("job_sha256", ""))[:16],
    }
    return {key: value for key, value in facts.items() if value}


def _failures(reports: Sequence[RunReport]) -> str:
    cards = []
    for index, report in enumerate(reports):
        found = report.explanation
        if found is None:
            continue
        lines = "".join(f"<li>{_with_code(text)}</li>" for text in found.do)
        tried = "".join(f"<li>{escape(text)}</li>" for text in found.attempts) if found.attempts[1:] else ""
        excerpt = f"<pre>{escape(chr(10).join(found.excerpt))}</pre>" if found.excerpt else ""
        cards.append(
            _card(
                f"<h3>{_name(reports, index)}</h3><div>{escape(found.summary)}</div>{excerpt}"
                f"<p>{_with_code(found.means)}</p>{f'<ul>{lines}</ul>' if lines else ''}"
                f"{f'<div class=soft>attempts</div><ul>{tried}</ul>' if tried else ''}"
            )
        )
    return "".join(cards)


def _with_code(text: str) -> str:
    """Words between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _again(reports: Sequence[RunReport]) -> str:
    lines = []
    for report in reports:
        command = report.record.get("command") or []
        lines += [
            f"# {report.view.run_id}",
            " ".join(map(str, command)),
            f"launcher retry {report.view.run_id}",
        ]
    return _card(f"<pre>{escape(chr(10).join(line for line in lines if line))}</pre>")
