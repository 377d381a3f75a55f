"""The routes of the fake ModelArts, and what goes wrong at their requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.modelarts_cloud import Cloud
from tests.fakes.modelarts_logs import LogBook
from tests.fakes.modelarts_offer import Offered
from tests.fakes.modelarts_wire import Refused, as_sdk, bad

Answer = tuple[int, Any]


class Faults:
    """What goes wrong at the next requests of a route, in order.

    Words: `429`, `500`, `503` (refused before anything happens), `html` (a gateway's page), `drop` (the connection ends
    before anything happens), `lost` (carried out, and the answer lost), `broken` (carried out, then 500),
    `late SECONDS` (500 now, carried out later), `slow SECONDS`, `dark` (lost, and then no search is answered), `dark SECONDS` (the same, and carried out later),
    `refuse STATUS CODE` (the code `-` is a page without one), `ends` (the job ends, and then the request is carried out),
    `portal` (some proxy's page with 200 in place of an answer), `torn` (carried out, and half of the answer is lost).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: dict[str, list[str]] = {}
        self.log: list[tuple[str, str]] = []

    def add(self, route: str, *words: str) -> None:
        with self._lock:
            self._queue.setdefault(route, []).extend(words)

    def clear(self) -> None:
        with self._lock:
            self._queue.clear()

    def next(self, route: str) -> str:
        with self._lock:
            for name in (route, "any"):
                if self._queue.get(name):
                    word = self._queue[name].pop(0)
                    self.log.append((route, word))
                    return word
        return ""


class Service:
    """Routes of one project, each a method: the request's values in, status and body out."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.faults, self.logs = cloud, Faults(), LogBook()
        self.offered = Offered(cloud)
        self.preview_bytes = 5 << 20
        self.requests: list[tuple[str, Any]] = []
        self.late: list[threading.Timer] = []
        base = r"/v2/(?P<project>[^/]+)/training-jobs"
        job = rf"{base}/(?P<job>[^/]+)"
        self.routes: list[tuple[str, str, str, Callable[..., Answer]]] = [
            ("create", "POST", base, self._create),
            ("search", "POST", r"/v2/(?P<project>[^/]+)/training-job-searches", self._search),
            ("show", "GET", job, self._show),
            ("stop", "POST", f"{job}/actions", self._stop),
            ("change", "PUT", job, self._change),
            (
                "tags",
                "POST",
                r"/v2/(?P<project>[^/]+)/modelarts-training-job/(?P<job>[^/]+)/tags/create",
                self._tag,
            ),
            ("delete", "DELETE", job, self._delete),
            ("events", "GET", f"{job}/events", self._events),
            ("stages", "GET", f"{job}/stages", self._stages),
            ("tasks", "GET", f"{job}/tasks", self._tasks),
            ("logs", "GET", rf"{job}/logs/(?P<task>worker-\d+)", self._logs),
            ("preview", "GET", rf"{job}/tasks/(?P<task>worker-\d+)/logs/preview", self._preview),
            ("metrics", "GET", rf"{job}/metrics/(?P<task>worker-\d+)", self._metrics),
            *self.offered.routes(),
        ]

    def settle(self) -> None:
        """Wait for what is carried out later."""
        for timer in self.late:
            timer.join()

    def hasten(self) -> None:
        """Carry out now what waits for its time."""
        for timer in self.late:
            timer.cancel()
            timer.function(*timer.args, **timer.kwargs)

    def route(self, method: str, path: str) -> tuple[str, Callable[..., Answer], dict[str, str]]:
        for name, wanted, pattern, handler in self.routes:
            match = re.fullmatch(pattern, path)
            if match and wanted == method:
                return name, handler, match.groupdict()
        raise Refused(404, "APIGW.0101", "The API does not exist or has not been published")

    def _create(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        return 201, self.cloud.create(body).answer()

    def _search(self, body: Any, query: dict[str, str], **_: str) -> Answer:
        try:
            as_sdk("JobSearches", body)
        except ValueError as error:
            raise bad("2788", f"invalid parameter: {error}") from None
        return 200, self.cloud.search(body)

    def _show(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        return 200, self.cloud.get(job).answer()

    def _stop(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        try:
            as_sdk("JobActionType", body)
        except ValueError as error:
            raise bad("2788", f"invalid parameter: {error}") from None
        if body != {"action_type": "terminate"}:
            raise bad("2788", "invalid parameter: action_type")
        return 202, self.cloud.terminate(job).answer()

    def _change(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        try:
            as_sdk("JobUpdateRequestBody", body)
        except ValueError as error:
            raise bad("2788", f"invalid parameter: {error}") from None
        return 200, self.cloud.change(job, body["spec"]["schedule_policy"]).answer()

    def _tag(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        try:
            as_sdk("CreateTmsTagsRequest", body)
        except ValueError as error:
            raise bad("2788", f"invalid parameter: {error}") from None
        self.cloud.tag(job, body["tags"])
        return 204, None

    def _delete(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        self.cloud.delete(job)
        return 202, None

    def _events(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        limit, page = int(query.get("limit", "50")), int(query.get("offset", "0"))
        events = self.cloud.get(job).events
        ordered = list(reversed(events)) if query.get("order") == "desc" else list(events)
        shown = ordered[page * limit : (page + 1) * limit]
        return 200, {"total": len(events), "limit": limit, "offset": page, "events": shown}

    def _stages(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        stages = self.cloud.get(job).stages
        return 200, {"total_count": 1, "running_records": [{"record_order": 1, "stages": stages}]}

    def _tasks(self, body: Any, query: dict[str, str], job: str, **_: str) -> Answer:
        """Addresses of machines are told in dedicated pools only."""
        found = self.cloud.get(job)
        schedule = int(query.get("schedule_count", max(1, len(found.places))))
        if found.places and not 1 <= schedule <= len(found.places):
            return 200, []
        hosts = found.places[schedule - 1] if found.places else [""] * len(found.machines)
        return 200, [
            {"task": f"worker-{n}", "ip": "127.0.0.1", "host_ip": host, "schedule_count": schedule}
            for n, host in enumerate(hosts)
        ]

    def _logs(self, body: Any, query: dict[str, str], job: str, task: str, **_: str) -> Answer:
        return 200, self.logs.answer(task, query, lambda: self._printed(job, task))

    def _preview(self, body: Any, query: dict[str, str], job: str, task: str, **_: str) -> Answer:
        """The newest `preview_bytes` of a log."""
        given = self.logs.given.get(task)
        text = "\n".join(given) + "\n" if given else self._log_of(job, task).read_text(errors="replace")
        data = text.encode()[-self.preview_bytes :]
        return 200, {
            "content": data.decode(errors="replace"),
            "current_size": len(data),
            "full_size": len(text.encode()),
        }

    def _printed(self, job: str, task: str) -> list[str]:
        text = self._log_of(job, task).read_text(errors="replace")
        return text[: text.rfind("\n") + 1].splitlines()

    def _log_of(self, job: str, task: str) -> Path:
        found, index = self.cloud.get(job), int(task.partition("-")[2])
        if index >= len(found.machines) or not found.machines[index].log.exists():
            raise Refused(204, "ModelArts.2776", "not ready for fetch log")
        return found.machines[index].log

    def _metrics(self, body: Any, query: dict[str, str], job: str, task: str, **_: str) -> Answer:
        if self.cloud.get(job).phase != "Running":
            raise Refused(204, "ModelArts.2777", "not ready for fetch metric")
        return 200, {
            "metrics": [
                {"metric": "npuUtil", "value": [-1.0, 91.0, 93.0]},
                {"metric": "npuMemUsage", "value": [71.0, -1.0]},
            ]
        }
