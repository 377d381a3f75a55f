"""The message about one thing that happened: the JSON body of webhooks, and the text that people read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from launcher.advice.commands import next_commands
from launcher.advice.rows import advice_for
from launcher.jobfile.spec_notify import Event, NotifySpec
from launcher.notify.happenings import Happening
from launcher.printable import printable
from launcher.runfolder.states import FirstFailure, RunState, State
from vitmodels.secrets import mask

MAX_VERDICT = 2000


class Message(BaseModel):
    """What a webhook gets as JSON. `at` and `ended_at` are unix seconds; `results` are shares."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    event: Event
    run_id: str
    name: str
    backend: str
    state: State
    attempt: int
    title: str
    verdict: str
    advice: tuple[str, ...] = ()
    safe: str = ""
    results: dict[str, float] = {}
    first_failure: FirstFailure | None = None
    link: str
    next: tuple[str, ...]
    at: float

    @property
    def text(self) -> str:
        """The body for people, without the title."""
        results = ", ".join(f"{name} {100 * value:.2f} %" for name, value in self.results.items())
        parts = [
            self.verdict,
            *(f"- {each}" for each in self.advice),
            f"top-1: {results}" if results else "",
            f"safe: {self.safe}" if self.safe else "",
            self.link,
            *(f"$ {each}" for each in self.next),
        ]
        return "\n".join(part for part in parts if part)


def message_of(run: RunState, happening: Happening, event: Event, spec: NotifySpec, now: float) -> Message:
    """The message about `happening` to somebody who asked for `event`."""
    advice = advice_for(happening.failure, unsafe=bool(run.unsafe)) if happening.failure else None
    rank = happening.failure.rank if happening.failure else None
    do = [
        text.replace("{run}", run.run_id).replace("{rank}", "" if rank is None else str(rank))
        for text in (advice.do if advice else ())
    ]
    return Message(
        event=event,
        run_id=run.run_id,
        name=run.name,
        backend=run.backend,
        state=run.state,
        attempt=happening.attempt,
        title=_title(run, happening),
        verdict=_shown(happening.verdict),
        advice=tuple(map(_shown, do)),
        safe=_shown(run.safe),
        results=run.results,
        first_failure=_masked(happening.failure),
        link=spec.link.replace("{run}", run.run_id) if spec.link else run.url,
        next=next_commands(run, advice),
        at=now,
    )


def _title(run: RunState, happening: Happening) -> str:
    if "restart" in happening.events:
        how = "hung" if happening.events[0] == "hang" else "failed"
        return f"{run.name}: attempt {happening.attempt} {how}, attempt {happening.attempt + 1} goes on"
    if "end" in happening.events:
        return f"{run.name} {run.state}" + (" after a hang" if happening.events[0] == "hang" else "")
    if happening.key == "first-checkpoint":
        return f"{run.name}: the first checkpoint is safe"
    return f"{run.name}: {happening.verdict}"


def _shown(text: str) -> str:
    """Text of a log or a program, as it may leave the machine: no control characters, secrets starred out."""
    return "\n".join(printable(line) for line in mask(text[:MAX_VERDICT]).splitlines())


def _masked(failure: FirstFailure | None) -> FirstFailure | None:
    if failure is None:
        return None
    return failure.model_copy(update={"line": _shown(failure.line), "how": _shown(failure.how)})
