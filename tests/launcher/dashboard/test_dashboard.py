"""The dashboard over HTTP: what it shows, to whom, and that foreign text stays text."""

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from launcher.dashboard.app import Settings, make_app
from launcher.dashboard.catalogue import Catalogue, Query
from launcher.dashboard.streams import MAX_LINES
from launcher.errors import StoreError
from launcher.runfolder.states import Attempt, FirstFailure, PhaseStart, State
from launcher.runs.index import Index
from launcher.runs.view import PATIENCE_S
from launcher.storage.address import StoreAddress
from tests.launcher.dashboard.scenes import HOSTILE
from tests.launcher.samples import NOW, Sample

TOKEN = "a-token-for-the-tests"


class Client:
    """A browser without scripts: it keeps the cookie."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={"Cookie": self.cookie, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        status, _, text = self.ask(path)
        assert status == 200, text
        return text

    def log_in(self) -> "Client":
        status, headers, _ = self.ask(f"/?token={TOKEN}")
        assert (status, headers["location"]) == (303, "/")
        self.cookie = headers["set-cookie"].split(";")[0]
        return self


class Site:
    """A dashboard on a real server, in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(64)
        config = uvicorn.Config(
            make_app(settings),
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    @property
    def client(self) -> Client:
        return Client(self.socket.getsockname()[1])

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()


@pytest.fixture
def sites(launcher_home: Path) -> Iterator[list[Site]]:
    sites: list[Site] = []
    yield sites
    for site in sites:
        site.stop()


def open_site(sites: list[Site], **settings: object) -> Client:
    sites.append(Site(Settings(TOKEN, **settings)))  # type: ignore[arg-type]
    return sites[-1].client.log_in()


def failed(sample: Sample) -> None:
    failure = FirstFailure(process="rank 0", rank=0, node=0, host="m1", line=HOSTILE, rule="hang")
    sample.log("rank-0", f"epoch 1\n{HOSTILE}\n")
    attempts = (
        Attempt(attempt=1, started_at=NOW, ended_at=NOW + 30, outcome=HOSTILE),
        Attempt(attempt=2, started_at=NOW + 30, ended_at=NOW + 60),
    )
    phases = (
        PhaseStart(phase="staging", at=NOW + 1),
        PhaseStart(phase="running", at=NOW + 5, program="train"),
    )
    sample.state(
        State.FAILED, HOSTILE, attempt=2, attempts=attempts, first_failure=failure, phase_times=phases
    )
    sample.metrics(*({"epoch": k, "step": 10 * k, "loss": 2 / k, "top1": k / 10} for k in (1, 2, 3)))


def test_without_the_token_nobody_gets_in(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    client = open_site(sites)
    cookie, client.cookie = client.cookie, ""
    for path in ("/", "/?token=wrong", f"/run/{sample.plan.run_id}", "/static/dashboard.js", "/style.css"):
        status, headers, text = client.ask(path)
        assert (status, sample.plan.run_id in text) == (403, False), path
        assert "default-src 'none'" in headers["content-security-policy"]
    client.cookie = cookie
    assert sample.plan.run_id in client.get("/")


def test_foreign_text_stays_text_everywhere(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    failed(sample)
    sample.node(host=HOSTILE, last_error=HOSTILE)
    client = open_site(sites)
    run = sample.plan.run_id
    for path in (
        "/",
        f"/run/{run}",
        f"/run/{run}/report.html",
        f"/compare?run={run}&run={run}",
        "/?q=%3Cscript%3E",
        "/run/%3Cscript%3E",
    ):
        _, headers, text = client.ask(path)
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "\x1b" not in text, path
        assert "script-src 'self'" in headers["content-security-policy"]
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text), path


def test_the_page_of_a_run_shows_all_of_it(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path, retry={"max_restarts": 1})
    failed(sample)
    sample.node(host="machine-1", ranks=[{"rank": 0, "phase": "training", "step": 30}])
    sample.write("checkpoints/step-30/model.safetensors", "x" * 2048)
    text = open_site(sites).get(f"/run/{sample.plan.run_id}")
    for words in (
        "FAILED",
        "machine-1",
        "rank 0",
        "step-30",
        "training loss",
        "attempt 2",
        "watch.hang_after",
        "Download the report",
        "<polyline",
    ):
        assert words in text, words
    assert "Cancel with a checkpoint" not in text


def test_filters_live_in_the_address(sites: list[Site], tmp_path: Path) -> None:
    good, bad = (Sample(tmp_path, name=name) for name in ("good-run", "bad-run"))
    failed(bad)
    client = open_site(sites)
    text = client.get("/?state=FAILED")
    assert bad.plan.run_id in text
    assert good.plan.run_id not in text
    text = client.get("/?q=good")
    assert good.plan.run_id in text
    assert bad.plan.run_id not in text
    assert 'value="good"' in text
    assert "no run fits" in client.get("/?q=*")
    assert good.plan.run_id in client.get("/?state=nonsense&page=-1")


def test_events_tell_of_a_run_until_its_end(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    failed(sample)
    client = open_site(sites)
    text = client.get(f"/run/{sample.plan.run_id}/events")
    assert text.startswith("event: live\ndata: ")
    assert "event: end" in text
    log = client.get(f"/run/{sample.plan.run_id}/logs?rank=0&q=EPOCH")
    assert '["rank-0: epoch 1"]' in log
    assert "script" not in log


def test_a_running_run_sends_events_when_it_changes(jobs, sites: list[Site]) -> None:
    entry = jobs.submit(env={"STEPS": "8", "HOLD_AT": "3"})
    client = open_site(sites)
    jobs.until(entry, lambda view: view.progress.step == 3)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.request("GET", f"/run/{entry.run_id}/events", headers={"Cookie": client.cookie})
    answer = connection.getresponse()
    assert answer.readline() == b"event: live\n"
    connection.close()
    assert "RUNNING" in client.get("/")


def test_cancel_needs_the_option_and_our_own_page(jobs, sites: list[Site]) -> None:
    entry = jobs.submit(env={"STEPS": "8", "HOLD_AT": "3"})
    jobs.until(entry, lambda view: view.progress.step == 3)
    path = f"/run/{entry.run_id}/cancel"
    reading, changing = open_site(sites), open_site(sites, allow_cancel=True)
    assert reading.ask(path, "POST", Origin=f"http://127.0.0.1:{reading.port}")[0] in (404, 405)
    assert changing.ask(path, "POST", Origin="http://evil.example.com")[0] == 403
    assert changing.ask(path, "POST")[0] == 403
    assert changing.ask(path, "POST", Origin=f"http://127.0.0.1:{changing.port}")[0] == 303
    assert jobs.end(entry).state is State.CANCELLED


def test_runs_of_a_folder_that_this_machine_does_not_know(
    jobs, sites: list[Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = jobs.run()
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "another machine"))
    client = open_site(sites, urls=(str(tmp_path / "runs"), str(tmp_path / "nothing")))
    assert view.run_id in client.get("/?q=counter")
    assert "SUCCEEDED" in client.get(f"/run/{view.run_id}")


def test_comparison_and_report_are_pages_of_their_own(sites: list[Site], tmp_path: Path) -> None:
    runs = [Sample(tmp_path, name=name) for name in ("one", "two")]
    for each in runs:
        failed(each)
    client = open_site(sites)
    text = client.get("/compare?" + "&".join(f"run={each.plan.run_id}" for each in runs))
    assert all(each.plan.run_id in text for each in runs)
    _, headers, _ = client.ask(f"/run/{runs[0].plan.run_id}/report.html")
    assert headers["content-disposition"] == f'attachment; filename="report-{runs[0].plan.run_id}.html"'
    assert client.ask("/compare")[0] == 303
    assert client.ask("/run/nothing-20261128-000000-abcd")[0] == 404


def test_a_comparison_can_be_downloaded(sites: list[Site], tmp_path: Path) -> None:
    runs = [Sample(tmp_path, name=name).plan.run_id for name in ("one", "two")]
    client = open_site(sites)
    page = client.get("/compare?" + "&".join(f"run={each}" for each in runs))
    link = re.search(r'href="([^"]+)" download', page)
    assert link is not None
    _, headers, text = client.ask(link[1].replace("&amp;", "&"))
    assert headers["content-disposition"] == 'attachment; filename="report.html"'
    assert all(run in text for run in runs)
    assert "stylesheet" not in text


def test_a_list_of_many_runs_reads_one_page_of_them(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(tmp_path)
    for number in range(400):
        run_id = f"sample-20261101-{number // 60:04}{number % 60:02}-abcd"
        sample.index.put(sample.entry.model_copy(update={"run_id": run_id}))
    read: list[str] = []
    get = Index.get
    monkeypatch.setattr(Index, "get", lambda self, run_id: read.append(run_id) or get(self, run_id))
    found = Catalogue().listing(Query())
    assert (len(found.views), found.more) == (100, True)
    assert len(read) < 200


def test_an_empty_index_says_how_to_begin(sites: list[Site]) -> None:
    client = open_site(sites)
    assert "no runs yet" in client.get("/")
    assert "launcher submit FILE" in client.get("/")
    assert "no run fits" in client.get("/?q=x")


def test_a_store_that_does_not_answer_is_given_up_soon(
    sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(address: StoreAddress, patience_s: float = 60.0) -> None:
        asked.append(patience_s)
        raise StoreError("can't connect")

    client = open_site(sites, urls=("s3://bucket/runs",))
    monkeypatch.setattr(StoreAddress, "open", refuse)
    assert "s3://bucket/runs: can&#39;t connect" in client.get("/")
    assert asked == [PATIENCE_S]


def test_words_of_a_run_s_page_are_true(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    sample.state(State.CANCELLED, "cancelled by mo")
    client = open_site(sites)
    page = client.get(f"/run/{sample.plan.run_id}")
    assert "How it ended" in page and "What went wrong" not in page
    assert "no checkpoint is in the store" in page
    sample.write("checkpoints/step-10/model.safetensors", "x")
    assert "no checkpoint in the store has been verified" in client.get(f"/run/{sample.plan.run_id}")


def test_a_run_that_is_not_heard_of_shows_what_to_type(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    sample.state(
        State.UNKNOWN, "last heard of 2 h ago; if it is <gone>, `launcher resume --force` takes over"
    )
    page = open_site(sites).get(f"/run/{sample.plan.run_id}")
    assert "if it is &lt;gone&gt;, <code>launcher resume --force</code> takes over" in page


def test_a_long_log_says_how_much_of_it_is_left_out(sites: list[Site], tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    failed(sample)
    sample.log("rank-0", "".join(f"epoch {n}\n" for n in range(MAX_LINES + 7)))
    log = open_site(sites).get(f"/run/{sample.plan.run_id}/logs?rank=0")
    assert f'["... 7 earlier lines: launcher logs {sample.plan.run_id}", "rank-0: epoch 7"' in log
