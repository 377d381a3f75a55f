"""Checks before a job is sent: the SDK, credentials, the service, the size of the code, other jobs."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.code import MANY_BYTES, MOST_BYTES, code_bytes
from launcher.backends.modelarts.login import INSTALL, SDK, sdk_missing
from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.values import bucket_path
from launcher.errors import LauncherError, PlanError, StoreUnreachable, UsageError
from launcher.findings import Finding, Severity
from launcher.installed import version_of
from launcher.plan.model import Plan
from launcher.units import show_bytes

STORE_S = 6.0
"""Patience with a store that does not answer."""


def doctor_checks() -> list[Finding]:
    """Whether this machine has the SDK, and credentials for it. Contacts nobody."""
    version = version_of(SDK)
    if not version:
        return [Finding("ModelArts", "info", f"no SDK: {INSTALL} for that back end")]
    missing = [name for name in ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK") if not os.environ.get(name)]
    profile = Path(os.environ.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE") or "~/.huaweicloud/credentials")
    if not missing:
        return [Finding("ModelArts", "ok", f"SDK {version}, credentials in the environment")]
    if profile.expanduser().is_file():
        return [Finding("ModelArts", "ok", f"SDK {version}, credentials in {profile}")]
    return [Finding("ModelArts", "info", f"SDK {version}, but no {' and '.join(missing)} in the environment")]


def check_service(plan: Plan, service: Service) -> list[Finding]:
    """Findings on a plan that need the service. Changes nothing there; a service that fails is a finding, too."""
    if sdk_missing():
        return [
            Finding("MA050", "error", "the SDK of ModelArts is not installed", "resources.backend", INSTALL)
        ]
    findings = [*_check_code(plan), *_check_outputs(plan)]
    try:
        findings += _check_others(plan, service)
    except LauncherError as error:
        message = f"{error.where}: {error.what}" if error.where else error.what
        fix = error.hint or "look at region, endpoint and credentials"
        findings.append(Finding("MA051", "error", message, "modelarts", fix, source="platform"))
    return findings


def _check_code(plan: Plan) -> list[Finding]:
    """The folders of a run that was submitted before don't matter: it takes its code from the store."""
    if plan.own_code is not None:
        return []
    try:
        size = code_bytes(plan)
    except PlanError as error:
        return [Finding("MA052", "error", error.what, "modelarts.code", error.hint)]
    if size <= MANY_BYTES:
        return []
    severity: Severity = "error" if size > MOST_BYTES else "warning"
    return [
        Finding(
            "MA053",
            severity,
            f"the code is {show_bytes(size)}; the platform takes {show_bytes(MOST_BYTES)}, and likes {show_bytes(MANY_BYTES)}",
            "modelarts.code",
            "keep data and weights out of these folders",
        )
    ]


def _check_outputs(plan: Plan) -> list[Finding]:
    """An output channel should be empty: what lies there is mixed with what the job writes. After a resume it is not."""
    findings = []
    for name, url in options_of(plan).outputs.items():
        field = f"modelarts.outputs.{name}"
        try:
            first = next(iter(plan.store.model_copy(update={"url": url}).open(STORE_S).list()), None)
        except (UsageError, StoreUnreachable):
            continue  # reported once, for output.url
        except LauncherError as error:
            fix = error.hint or "look at the address, the endpoint and the credentials"
            findings.append(Finding("MA055", "error", error.headline, field, fix, source="store"))
            continue
        if first is not None:
            message = f"{url} is not empty: it holds {first.key}, which the job may overwrite"
            fix = "name a folder that is new; a resumed run writes beside what its earlier attempts left"
            findings.append(Finding("MA055", "warning", message, field, fix))
    return findings


def _check_others(plan: Plan, service: Service) -> list[Finding]:
    """A list of jobs shows that the service accepts our credentials, and which jobs write to our output channels."""
    outputs = {bucket_path(url): name for name, url in options_of(plan).outputs.items()}
    findings = []
    for job in service.living() if outputs else service.jobs(enough=lambda page: True):
        for url in job.outputs:
            name = outputs.get(url if url.endswith("/") else f"{url}/")
            if name is not None and not job.ended:
                findings.append(
                    Finding(
                        "MA054",
                        "error",
                        f"the job {job.name}, which is {job.phase}, writes to {url}, too",
                        f"modelarts.outputs.{name}",
                        "wait for its end, or name another folder",
                    )
                )
    return findings
