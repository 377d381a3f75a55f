"""What the runs were made of: recipe, environment, and the commands that make them again. Each section is HTML, or empty."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from launcher.report.gather import RunReport
from launcher.report.markup import escape
from launcher.report.pieces import card, head_of, name_of, table


def recipe(reports: Sequence[RunReport]) -> str:
    """The values that were set; of several runs, those that differ. All others are folded away."""
    if not any(report.settings for report in reports):
        return ""
    return _one_recipe(reports[0]) if len(reports) == 1 else _recipes(reports)


def _one_recipe(report: RunReport) -> str:
    heads = ["key", "value", "from"]
    rows, set_by_user = [], []
    for key, (value, origin) in report.settings.items():
        from_words = f"<span class='soft'>{escape(origin)}</span>"
        rows.append([f"<code>{escape(key)}</code>", f"<code>{_value(value)}</code>", from_words])
        if origin != "default":
            set_by_user.append(rows[-1])
    return card((table(heads, set_by_user) if set_by_user else "") + _folded(heads, rows))


def _recipes(reports: Sequence[RunReport]) -> str:
    heads = ["key", *(name_of(reports, index) for index in range(len(reports)))]
    rows, different = [], []
    for key in dict.fromkeys(key for report in reports for key in report.settings):
        values = [report.settings.get(key) for report in reports]
        rows.append([f"<code>{escape(key)}</code>", *map(_cell, values)])
        if len({json.dumps(found[0], sort_keys=True) if found else None for found in values}) > 1:
            different.append(rows[-1])
    shown = table(heads, different) if different else "<span class='soft'>the recipes are the same</span>"
    return card(shown + _folded(heads, rows))


def _folded(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"<details><summary>all {len(rows)} values</summary>{table(heads, rows)}</details>"


def _cell(found: tuple[Any, str] | None) -> str:
    """A value with its origin, or a dash for a run that does not have it."""
    if found is None:
        return "<span class='soft'>–</span>"
    return f"<code title='{escape(found[1])}'>{_value(found[0])}</code>"


def _value(value: Any) -> str:
    return escape(json.dumps(value, ensure_ascii=False))


def environment(reports: Sequence[RunReport]) -> str:
    all_facts = [_facts(report) for report in reports]
    keys = list(dict.fromkeys(key for facts in all_facts for key in facts))
    if not keys:
        return ""
    heads = ["", *(head_of(reports, index, "value") for index in range(len(reports)))]
    rows = [
        [escape(key), *(f"<code>{escape(facts.get(key, ''))}</code>" for facts in all_facts)] for key in keys
    ]
    return card(table(heads, rows))


def _facts(report: RunReport) -> dict[str, str]:
    record, plan = report.record, report.plan
    git, packages = _dict(record.get("git")), _dict(record.get("packages"))
    hosts = ", ".join(dict.fromkeys(node.host for node in report.view.nodes))
    facts = {
        "submitted from": str(record.get("host", "")),
        "ran on": hosts,
        "python": str(record.get("python", "")),
        "platform": str(record.get("platform", "")),
        **{name: str(version) for name, version in packages.items()},
        "git": f"{str(git['commit'])[:12]}{' with changes' if git.get('dirty') else ''}"
        if git.get("commit")
        else "",
        "data": plan.data.url if plan.data else "",
        "seed": str(plan.recipe.get("seed", "")),
        "job file sha256": str(record.get("job_sha256", ""))[:16],
    }
    return {key: value for key, value in facts.items() if value}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def commands(reports: Sequence[RunReport]) -> str:
    lines = []
    for report in reports:
        words = report.record.get("command")
        command = words if isinstance(words, list) else []
        lines += [
            f"# {report.view.run_id}" if len(reports) > 1 else "",
            " ".join(map(str, command)),
            f"launcher retry {report.view.run_id}",
        ]
    return card(f"<pre class='commands'>{escape(chr(10).join(line for line in lines if line))}</pre>")
