"""From the service's list of jobs to the life of each run: alive, ended, or unknown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from launcher.backends.base import Handle, Life
from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.jobs import WAITING, SeenJob
from launcher.disk import write_private
from launcher.errors import IntegrityError, LauncherError, StoreError
from launcher.jsontext import parse_json
from launcher.runfolder import paths
from launcher.runfolder.smallfiles import read_small

FEW_LOOKS, FEW_S = 3, 120.0
"""A job counts as ended after so many polls, over so many seconds, that found it Abnormal."""
APPEARS_S = 600.0
"""A job whose creation was not answered may still show up within this time."""
LISTED_S = 60.0
"""A job that was just made may not be listed yet."""


_PLACE = ("region", "endpoint", "project_id", "workspace")


class Unanswered(str):
    """Why the service could not be asked for a job."""

    __slots__ = ()


def lookup(
    handles: Sequence[Handle], service_at: Callable[[Handle], Service]
) -> dict[int, SeenJob | Unanswered]:
    """The jobs of the handles by their place, with one search per project; none for a job that the service does not have.

    A project that can't be asked does not affect the others.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, handle in enumerate(handles):
        key = tuple(str(handle.data.get(name) or "") for name in _PLACE)
        groups.setdefault(key, []).append(index)
    answers: dict[int, SeenJob | Unanswered] = {}
    for places in groups.values():
        of_project = {place: handles[place] for place in places}
        service = service_at(handles[places[0]])
        try:
            listed = _search(service, of_project)
            answers |= listed
            for place in places:
                if place not in listed and (job := find_job(service, handles[place])) is not None:
                    answers[place] = job
        except LauncherError as error:  # also credentials that this machine does not have
            answers |= {place: Unanswered(error.what) for place in places if place not in answers}
    return answers


def find_job(service: Service, handle: Handle) -> SeenJob | None:
    """The job itself, since a list may lack a job that moved while its pages were read. Raises BackendError."""
    name = str(handle.data.get("name") or "")
    if not handle.data.get("id"):
        return service.find(name)
    return service.show(str(handle.data["id"]), name)


def _search(service: Service, wanted: Mapping[int, Handle]) -> dict[int, SeenJob]:
    by_id = {str(h.data["id"]): place for place, h in wanted.items() if h.data.get("id")}
    by_name = {str(h.data.get("name")): place for place, h in wanted.items() if not h.data.get("id")}
    oldest = min(_made_ms(handle) for handle in wanted.values())
    jobs: dict[int, SeenJob] = {}

    def enough(page: list[SeenJob]) -> bool:
        return len(jobs) == len(wanted) or bool(page and page[-1].created_ms < oldest)

    for job in service.jobs(enough=enough):
        place = by_id.get(job.id, by_name.get(job.name))
        if place is not None and place not in jobs:
            jobs[place] = job
        if len(jobs) == len(wanted):
            break
    return jobs


def _made_ms(handle: Handle) -> float:
    """When the job was made, by the service's clock; else by ours, an hour earlier."""
    known = handle.data.get("created_ms")
    return float(known) if known else float(handle.data.get("submitted_at") or 0) * 1000 - 3_600_000


class Doubts:
    """How often and since when jobs are Abnormal: a small file under $LAUNCHER_HOME, as every poll may be a new process."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._path = path or paths.home() / "modelarts-abnormal.json"
        self._now = now

    def given_up(self, job: SeenJob) -> bool:
        """Count one more poll that found the job Abnormal. True when it was Abnormal for long enough to count as ended."""
        counts = self._read()
        first, looks = counts.get(job.id, [self._now(), 0])
        counts[job.id] = [first, looks + 1]
        self._write(counts)
        return looks + 1 >= FEW_LOOKS and self._now() - first >= FEW_S

    def forget(self, job: SeenJob) -> None:
        """Drop the count of a job that is not Abnormal, or not any more."""
        counts = self._read()
        if counts.pop(job.id, None) is not None:
            self._write(counts)

    def _read(self) -> dict[str, list[float]]:
        try:
            value = parse_json(read_small(self._path))
        except (OSError, IntegrityError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _write(self, seen: Mapping[str, list[float]]) -> None:
        with suppress(StoreError):  # a disk that takes nothing must not hide the other jobs
            write_private(self._path, json.dumps(seen) + "\n")


def judge(handle: Handle, job: SeenJob | Unanswered | None, doubts: Doubts, now: float | None = None) -> Life:
    """The life of a run after one poll. Pure, but for the count of Abnormal jobs."""
    if isinstance(job, Unanswered):
        return Life(alive=None, detail=str(job))
    if job is None:
        return _absent(handle, time.time() if now is None else now)
    if job.phase == "Abnormal":
        given_up = doubts.given_up(job)
        words = "the platform calls the job abnormal, again and again" if given_up else job.words()
        return Life(
            alive=False if given_up else None, detail="; ".join(filter(None, [words, job.end_words()]))
        )
    doubts.forget(job)
    if job.ended:
        return Life(alive=False, detail="; ".join(filter(None, [job.words(), job.end_words()])))
    return Life(alive=True, detail=job.words(), waiting=job.phase in WAITING)


def _absent(handle: Handle, now: float) -> Life:
    age = now - float(handle.data.get("submitted_at") or 0)
    if not handle.data.get("id"):
        if age < APPEARS_S:
            return Life(alive=None, detail="it is not known yet whether the platform made the job")
        return Life(alive=False, detail="the platform never made the job")
    if age < LISTED_S:
        return Life(alive=None, detail="the platform does not list the job yet")
    return Life(alive=False, detail="the platform does not know the job any more: it was deleted")
