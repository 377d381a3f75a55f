"""The web application of `launcher dashboard`. It reads; only `--allow-cancel` gives it a button that changes something."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from launcher.dashboard import pages, streams
from launcher.dashboard.catalogue import Catalogue, Query
from launcher.dashboard.guard import Guard
from launcher.errors import LauncherError, NoSuchRun
from launcher.printable import printable_lines
from launcher.report.gather import RunReport, gather
from launcher.report.page import content, title_of
from launcher.report.page import page as report_page
from launcher.report.pieces import STYLE
from launcher.runfolder.states import State

HERE = Path(__file__).parent
MAX_COMPARED = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """`urls` are folders of runs in stores."""

    token: str
    urls: tuple[str, ...] = ()
    allow_cancel: bool = False


def make_app(settings: Settings) -> Starlette:
    """The application; nothing is read before the first request. `app.state.closing`, once set, ends all streams."""
    site = _Site(settings)
    routes = [
        Route("/", site.index),
        Route("/compare", site.compare),
        Route("/run/{run_id}", site.run),
        Route("/run/{run_id}/events", site.events),
        Route("/run/{run_id}/logs", site.logs),
        Route("/run/{run_id}/spark.svg", site.spark),
        Route("/run/{run_id}/report.html", site.report),
        Route("/style.css", site.style),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    if settings.allow_cancel:
        routes.append(Route("/run/{run_id}/cancel", site.cancel, methods=["POST"]))
    middleware = [Middleware(Guard, token=settings.token)]
    handlers = {LauncherError: site.error, HTTPException: site.no_page}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.state.closing = site.closing
    return app


class _Site:
    """The pages. Each method is called in a thread of its own, since the stores are read in it."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._catalogue = settings, Catalogue(settings.urls)
        self.closing = threading.Event()
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
        )

    def index(self, request: Request) -> Response:
        query = _query(request)
        found = self._catalogue.listing(query)
        now = time.time()
        return self._html(
            "index.html",
            rows=[pages.row_of(view, now) for view in found.views],
            query=query,
            states=[state.value for state in State],
            problems=found.problems,
            newer=_address(query, query.page - 1) if query.page else "",
            older=_address(query, query.page + 1) if found.more else "",
        )

    def run(self, request: Request) -> Response:
        page = pages.run_page(self._run(request))
        return self._html("run.html", page=page, live=page.live, allow_cancel=self._settings.allow_cancel)

    def events(self, request: Request) -> Response:
        return _stream(streams.live_events(self._run(request), self._live, self.closing))

    def logs(self, request: Request) -> Response:
        rank = request.query_params.get("rank", "")
        chosen = int(rank) if rank.isdecimal() else None
        words = request.query_params.get("q", "")
        return _stream(streams.log_events(self._run(request), chosen, words, self.closing))

    def spark(self, request: Request) -> Response:
        return Response(pages.sparkline(self._run(request)), media_type="image/svg+xml")

    def report(self, request: Request) -> Response:
        run = self._run(request)
        return _download(report_page([gather(run)]), f"report-{run.id}.html")

    def compare(self, request: Request) -> Response:
        ids = list(dict.fromkeys(request.query_params.getlist("run")))[:MAX_COMPARED]
        if not ids:
            return RedirectResponse("/", status_code=303)
        reports = [gather(self._catalogue.run(each)) for each in ids]
        if "download" in request.query_params:
            return _download(report_page(reports), "report.html")
        address = "/compare?" + urlencode([*(("run", each) for each in ids), ("download", "1")])
        return self._html(
            "compare.html", title=title_of(reports), content=pages.markup(content(reports)), download=address
        )

    def style(self, request: Request) -> Response:
        return Response(STYLE + (HERE / "static" / "dashboard.css").read_text(), media_type="text/css")

    def cancel(self, request: Request) -> Response:
        run = self._run(request)
        run.cancel()
        return RedirectResponse(f"/run/{run.id}", status_code=303)

    def error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, LauncherError)
        return self._html("error.html", status=404 if isinstance(error, NoSuchRun) else 502, words=str(error))

    def no_page(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = f"there is no page {request.url.path}" if error.status_code == 404 else error.detail
        return self._html("error.html", status=error.status_code, words=words)

    def _run(self, request: Request) -> Any:
        return self._catalogue.run(request.path_params["run_id"])

    def _live(self, report: RunReport, now: float) -> str:
        return self._templates.get_template("live.html").render(live=pages.live_of(report, now))

    def _html(self, template: str, *, status: int = 200, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**values), status_code=status)


def _shown(value: Any) -> Any:
    """Foreign text without control characters; it is escaped afterwards."""
    return printable_lines(value) if type(value) is str else value


def _query(request: Request) -> Query:
    values = request.query_params
    state, page = values.get("state", ""), values.get("page", "")
    return Query(
        text=values.get("q", "")[:200],
        state=State(state) if state in State.__members__ else None,
        group=values.get("group", "")[:200],
        page=int(page) if page.isdecimal() and len(page) < 6 else 0,
    )


def _address(query: Query, page: int) -> str:
    values = {
        "q": query.text,
        "state": query.state.value if query.state else "",
        "group": query.group,
        "page": page,
    }
    return "/?" + urlencode({key: value for key, value in values.items() if value})


def _download(html: str, name: str) -> Response:
    return HTMLResponse(html, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _stream(events: Any) -> Response:
    return StreamingResponse(events, media_type="text/event-stream")
