"""The report as one HTML page that needs nothing from elsewhere: no script, no font, no picture."""

from __future__ import annotations

import time
from collections.abc import Sequence

from launcher.report import sections, settings
from launcher.report.gather import RunReport
from launcher.report.markup import escape
from launcher.report.pieces import STYLE, card, section


def page(reports: Sequence[RunReport], now: float | None = None) -> str:
    """The whole document. With several runs, curves lie over each other and tables have a column per run."""
    title = title_of(reports)
    made = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><div class='soft'>launcher report, {escape(made)}</div>{content(reports)}"
        "</main></body></html>\n"
    )


def title_of(reports: Sequence[RunReport]) -> str:
    return reports[0].view.run_id if len(reports) == 1 else f"{len(reports)} runs compared"


def content(reports: Sequence[RunReport]) -> str:
    """All sections, as HTML."""
    parts = [
        section("Runs" if len(reports) > 1 else "Run", card(sections.overview(reports))),
        section(sections.failures_title(reports), sections.failures(reports)),
        section("Curves", sections.curves(reports)),
        section("Results", sections.results(reports)),
        section("Time per phase", sections.phases(reports)),
        section("Time per operator", sections.operators(reports)),
        section("Recipe", settings.recipe(reports)),
        section("Environment", settings.environment(reports)),
        section("Again", settings.commands(reports)),
    ]
    return "".join(parts)
