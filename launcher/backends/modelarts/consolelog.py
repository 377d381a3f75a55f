"""What one container printed, from its first line on: in order, each line once.

Asked without a base line, the service gives the newest lines. So the first read goes back to the oldest line, page by page, and all
others go forward only, until the id of the last line stands still. The documentation reads `order` in two ways: `asc` is "from old
to new", or "the previous lines". Which one holds shows in the first answers, and the cursor keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from launcher.backends.base import Console
from launcher.backends.modelarts.client import Service
from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.logpages import LogPage, is_before

MOST_PAGES = 20_000
"""Ten million lines; a service whose answers never end is given up there."""
_OTHER = {"asc": "desc", "desc": "asc"}
_UNKNOWN, _BYTES = "?", "bytes"


@dataclass(frozen=True, slots=True)
class _Place:
    """A line, and the value of `order` that gives the lines after it; `?` while that is not known."""

    order: str
    line: str

    def __str__(self) -> str:
        return f"{self.order}|{self.line}"


class ConsoleLog:
    """The log of one container of a job. Raises BackendError where the service can't be asked."""

    def __init__(self, service: Service, job_id: str, task: str) -> None:
        self._service, self._job_id, self._task = service, job_id, task

    def read(self, after: str) -> Console:
        """The lines since the cursor `after` of an earlier read; all lines when it is empty."""
        kind, _, place = after.partition("|")
        if kind == _BYTES:
            return self._preview(place)
        try:
            return self._onward(_Place(kind, place)) if after else self._from_start()
        except ServiceError as error:
            if after or error.temporary or error.absent or not (error.bare_404 or error.status == 405):
                raise
            return self._preview("0|0")  # a region without the newer question

    # ---- by pages

    def _page(self, base: str = "", order: str = "desc") -> LogPage:
        return self._service.log_page(self._job_id, self._task, base, order)

    def _from_start(self) -> Console:
        newest = self._page()
        if not newest.lines:
            return self._preview("0|0") if newest.cleared else Console(lines=(), after="")
        if not newest.start:
            return self._preview("0|0")  # without ids there is no way to the first line
        return self._from(self._oldest(newest))

    def _oldest(self, newest: LogPage) -> tuple[LogPage, str]:
        """The page with the first line, and the order that leads to newer lines."""
        first, order = newest, self._order_at(newest.start)
        for _ in range(MOST_PAGES):
            page = self._page(first.start, _OTHER.get(order, "desc"))
            numbered = page.start.isdecimal() and first.start.isdecimal()
            older = is_before(page.start, first.start) if numbered else page.start != first.start
            if not page.lines or not older:
                break
            first = page
        return first, order

    def _order_at(self, line: str) -> str:
        """The value of `order` that gives lines after `line`; `?` where neither gives lines on one side of it."""
        for order in ("desc", "asc"):
            page = self._page(line, order)
            if page.lines and is_before(page.start, line):
                return _OTHER[order]
            if page.lines and is_before(line, page.end):
                return order
        return "asc" if not line.isdecimal() else _UNKNOWN

    def _from(self, found: tuple[LogPage, str]) -> Console:
        """All lines from the first one of a page."""
        first, order = found
        if order == _UNKNOWN:  # there is one line
            return Console(lines=first.lines, after=str(_Place(order, first.end)))
        page = self._page(first.start, order)
        if not page.lines:
            return Console(lines=first.lines, after=str(_Place(order, first.end)))
        lines = page.lines if page.start == first.start else (_first_line(first, page), *page.lines)
        more = self._forward(_Place(order, page.end))
        return Console(lines=(*lines, *more.lines), after=more.after)

    def _forward(self, place: _Place) -> Console:
        """The lines after a place; ends where the id of the last line stands still."""
        lines: list[str] = []
        for _ in range(MOST_PAGES):
            page = self._page(place.line, place.order)
            news = page.after(place.line)
            if not news or page.end == place.line or is_before(page.end, place.line):
                break
            lines += news
            place = _Place(place.order, page.end)
        return Console(lines=tuple(lines), after=str(place))

    def _onward(self, place: _Place) -> Console:
        if place.order == _UNKNOWN:
            place = _Place(self._order_at(place.line), place.line)
            if place.order == _UNKNOWN:
                return Console(lines=(), after=str(place))
        console = self._forward(place)
        return console if console.lines else self._after_rotation(place, console)

    def _after_rotation(self, place: _Place, idle: Console) -> Console:
        """Nothing follows a line when there is nothing, and when the line itself is there no more: then the log has begun anew,
        or its oldest part was removed."""
        newest = self._page()
        if not newest.lines or newest.end == place.line:
            return idle
        if is_before(newest.end, place.line):
            return self._from_start()
        console = self._forward(place)  # printed since
        return console if console.lines else self._from(self._oldest(newest))

    # ---- by bytes

    def _preview(self, place: str) -> Console:
        """The lines since byte N of the log, of which the service gives the newest part. A last line without its end waits
        for one more look."""
        seen, looked_at = map(int, place.split("|"))
        preview = self._service.log_preview(self._job_id, self._task)
        if preview is None:
            return Console(lines=(), after="" if place == "0|0" else f"{_BYTES}|{place}", cleared=True)
        begin = preview.full_bytes - len(preview.content)
        seen = 0 if preview.full_bytes < seen else seen
        data = preview.content[max(0, seen - begin) :]
        whole = data if preview.full_bytes == looked_at else data[: data.rfind(b"\n") + 1]
        texts = whole.decode(errors="replace").removesuffix("\n").split("\n") if whole else []
        missing = [f"[{begin - seen} bytes of this log are not kept by the platform]"] if begin > seen else []
        read = max(seen, begin) + len(whole)
        return Console(lines=(*missing, *texts), after=f"{_BYTES}|{read}|{preview.full_bytes}")


def _first_line(first: LogPage, following: LogPage) -> str:
    """The line at the start of a page. A page that was read backwards may have its lines in either order; the page that
    follows its first line shows which."""
    forwards = all(
        one == other for one, other in zip(islice(first.lines, 1, None), following.lines, strict=False)
    )
    return first.lines[0] if forwards else first.lines[-1]
