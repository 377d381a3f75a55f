"""What the back ends say: of this machine, and of one job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher.backends import BACKENDS, get_backend
from launcher.doctor.store import store_checks
from launcher.errors import LauncherError
from launcher.findings import Finding, errors
from launcher.plan.model import Plan


def platform_checks() -> Iterator[Finding]:
    """Whether this machine can use each platform. One that can't be loaded is reported, and stops no other."""
    for name in sorted(BACKENDS):
        try:
            yield from get_backend(name).doctor_checks()
        except (LauncherError, ImportError) as error:
            yield Finding(name, "warning", f"the back end can't be asked: {error}", fix="reinstall launcher")


def job_checks(plan: Plan) -> list[Finding]:
    """What the job's back end says of the job. Reads only. Blocks for some seconds when its platform does not answer."""
    backend = get_backend(plan.backend)
    rules, answers = backend.rules(plan), [*backend.check(plan), *backend.look(plan)]
    return [
        *rules,
        *answers,
        *_summary(f"{plan.backend}: rules", rules, "the job breaks no rule of this back end"),
        *_summary(f"{plan.backend}: platform", answers, "it was asked, and refuses nothing"),
    ]


def asked_checks(plan: Plan) -> list[Finding]:
    """What the stores and the platform of a job answer when they are asked. Writes one object to the output's store, and removes it."""
    checks: list[Finding] = []
    if plan.data is not None:
        checks += store_checks("data.url", plan.data, write=False)
    checks += job_checks(plan)
    parent = plan.store.model_copy(update={"url": plan.store.url.rpartition("/")[0]})
    return [*checks, *store_checks("output.url", parent, write=True)]


def _summary(name: str, findings: Sequence[Finding], message: str) -> list[Finding]:
    return [] if errors(findings) else [Finding(name, "ok", message)]
