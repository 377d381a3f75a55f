"""From findings to the error that ends a submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.errors import BackendError, LauncherError, PlanError, StoreError
from launcher.findings import Finding, Source, errors
from launcher.jobfile.load import Origin

_FAMILIES: dict[Source, type[LauncherError]] = {
    "job": PlanError,
    "store": StoreError,
    "platform": BackendError,
}


def refuse_errors(findings: Sequence[Finding], origins: Mapping[str, Origin] | None = None) -> None:
    """Raises one error with all findings of severity `error`. Its family, and so the exit code, follows their source.

    `origins` gives the place in the job file of the field that a finding is about.
    """
    fatal = errors(findings)
    if not fatal:
        return
    text = "\nerror: ".join(_sentence(finding, origins or {}) for finding in fatal)
    sources = {finding.source for finding in fatal}
    family = _FAMILIES[sources.pop()] if len(sources) == 1 else PlanError
    raise family(text)


def _sentence(finding: Finding, origins: Mapping[str, Origin]) -> str:
    origin = origins.get(finding.where)
    place = ": ".join(filter(None, [origin.detail if origin else "", finding.where]))
    fix = f"\n  hint: {finding.fix}" if finding.fix else ""
    return f"{place}: {finding.message} ({finding.rule}){fix}"
