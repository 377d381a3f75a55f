"""The small pieces of HTML that the sections of a report are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from launcher.report.chart import PALETTE
from launcher.report.gather import RunReport
from launcher.report.markup import escape

STYLE = """
:root{--ink:#1c2330;--soft:#5d6675;--line:#dfe3ea;--card:#fff;--page:#f4f6f9;--mark:#fff6d6;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b5;--line:#343b48;--card:#1d222b;--page:#14181f;--mark:#3d3618}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:1.5rem;margin:0 0 2px}h2{font-size:1.1rem;margin:34px 0 10px}h3{font-size:.95rem;margin:0 0 6px}
.soft{color:var(--soft)}.mono,code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,monospace;font-size:.86em}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;overflow-x:auto}
.card>p{margin:0}.card+.card{margin-top:12px}.grid2 .card+.card{margin-top:0}
.grid2{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr))}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}th{font-weight:600;color:var(--soft);font-size:.86em}
td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.differs td{background:var(--mark)}
.state{border-radius:99px;padding:1px 10px;color:#fff;font-size:.8em;font-weight:600;background:#6b7280;white-space:nowrap}
.SUCCEEDED{background:#1a7a49}.FAILED{background:#c8372d}.CANCELLED{background:#8f6108}.RUNNING{background:#2366c9}
.dot{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px}
svg{width:100%;height:auto;display:block}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft)}
svg .tick{fill:var(--soft);font-size:12px}svg .line{fill:none;stroke-width:2;stroke-linejoin:round}
.bar{display:flex;height:20px;border-radius:4px;overflow:hidden}.bar span{min-width:1px}
pre{margin:6px 0;padding:10px 12px;background:var(--page);border-radius:6px;overflow-x:auto}
pre.excerpt,pre.commands{white-space:pre-wrap;overflow-wrap:anywhere}code{overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--soft)}ul{margin:6px 0;padding-left:20px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:6px 0}
h1,h3,.links,.card>p,.card>div,.card li{overflow-wrap:anywhere}.whole{white-space:nowrap}
td>code{display:inline-block;min-width:7em}th.num [title]{white-space:normal}
@media (max-width:640px){main{padding:14px 10px 40px}.card{padding:12px}th,td{padding-right:10px}svg .tick{font-size:17px}
.stacks,.stacks tbody,.stacks td{display:block}.stacks tr{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:2px 10px;padding:8px 0;border-bottom:1px solid var(--line)}.stacks tr:last-child{border:0}
.stacks tr:first-child,.stacks td:empty{display:none}.stacks td,.stacks td.num{border:0;padding:0;text-align:left;overflow-wrap:anywhere}.stacks td:first-child{grid-column:1/-1}
.stacks td:not(:first-child)::before{content:attr(data-label);display:block;color:var(--soft);font-size:.8em}}
"""


def section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def card(content: str) -> str:
    return f"<div class='card'>{content}</div>"


def colour_of(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def label_of(report: RunReport) -> str:
    """The run id; in a sweep the values that tell the run apart."""
    return ", ".join(f"{k}={v}" for k, v in report.view.labels.items()) or report.view.run_id


def name_of(reports: Sequence[RunReport], index: int) -> str:
    """The colour of a run with its shortest unique label."""
    return f"{dot(colour_of(index))}<span title='{escape(reports[index].view.run_id)}'>{escape(_short(reports, index))}</span>"


def head_of(reports: Sequence[RunReport], index: int, alone: str) -> str:
    """The head of a run's column; a run that is alone has its id in the title of the page, so it gets `alone`."""
    return name_of(reports, index) if len(reports) > 1 else alone


def dot(colour: str) -> str:
    return f"<span class='dot' style='background:{colour}'></span>"


def _short(reports: Sequence[RunReport], index: int) -> str:
    labels = [label_of(each) for each in reports]
    names = [each.view.name for each in reports]
    if labels[index] != reports[index].view.run_id and labels.count(labels[index]) == 1:
        return labels[index]
    return names[index] if names.count(names[index]) == 1 else reports[index].view.run_id


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), *, stacks: bool = False
) -> str:
    """Cells are HTML. `numbers` are the columns set to the right. Columns without any content are left out.

    `stacks`: on a phone each row becomes a list of its heads and cells; the heads are plain text then.
    """
    rows = list(rows)
    keep = [index for index in range(len(heads)) if index == 0 or any(cells[index] for cells in rows)]

    def row(cells: Sequence[str], tag: str, mark: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=num' if index in numbers else ''}{label(index, tag)}>{cells[index]}</{tag}>"
            for index in keep
        )
        return f"<tr{mark}>{inner}</tr>"

    def label(index: int, tag: str) -> str:
        return f" data-label='{escape(heads[index])}'" if stacks and tag == "td" else ""

    kind = " class='stacks'" if stacks else ""
    return f"<table{kind}>{row(heads, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def with_code(text: str) -> str:
    """Words between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
