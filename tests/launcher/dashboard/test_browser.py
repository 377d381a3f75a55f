"""`launcher dashboard` in a real browser: every kind of run, both themes, a laptop and a phone, by mouse and by keys."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from launcher.runfolder.states import State
from tests.launcher.dashboard.browser import Visit, dashboard, program_here, running_browser
from tests.launcher.dashboard.scenes import HOSTILE, MANY, Scenes, heard_of, write_scenes
from tests.launcher.samples import Sample
from tests.waiting import wait_until

LAPTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
READABILITY = (Path(__file__).parent / "readability.js").read_text()
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@dataclass(frozen=True)
class Site:
    """A dashboard on the scenes."""

    scenes: Scenes
    address: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program_here()
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAUNCHER_HOME", str(folder / "home"))
        scenes = write_scenes(folder)
        going_on = heard_of(scenes.running, scenes.queued, scenes.restarted, scenes.wide)
        with going_on, dashboard("--url", str(scenes.store)) as address:
            yield Site(scenes, address)


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Visit]:
    visit = Visit(chromium.new_context(), site.address)
    yield visit
    visit.close()


def test_a_thousand_runs_in_pages_with_filters_in_the_address(visit: Visit, site: Site) -> None:
    page = visit.page
    rows = page.locator("table.runs tr:has(td)")
    assert "token" not in page.url
    assert rows.count() == 100
    page.get_by_role("link", name="older").click()
    page.wait_for_url("**/?page=1")
    page.get_by_role("combobox", name="state").select_option("FAILED")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**state=FAILED*")
    states = set(page.locator("table.runs .state").all_inner_texts())
    assert (rows.count(), states) == (100, {"FAILED"})
    page.get_by_role("link", name="older").click()
    page.wait_for_url("**page=1")
    assert rows.count() == MANY // 10 + 2 - 100
    page.go_back()
    page.get_by_role("searchbox", name="name").fill("16p")
    page.get_by_role("searchbox", name="name").press("Enter")
    expect(page.get_by_text("no run fits")).to_be_visible()
    visit.open("/?q=16p")
    assert rows.all_inner_texts()[0].split()[:3] == [site.scenes.running, "RUNNING", "2.031"]
    images = page.evaluate(
        "Promise.all([...document.images].map((each) => each.decode().then(() => each.naturalWidth)))"
    )
    assert images == [96]


def test_by_keys_alone(visit: Visit, site: Site) -> None:
    page, keys = visit.page, visit.page.keyboard
    keys.press("Tab")
    expect(page.get_by_text("skip to content")).to_be_focused()
    keys.press("/")
    expect(page.get_by_role("searchbox", name="name")).to_be_focused()
    keys.type("tnt-s")
    keys.press("Enter")
    page.wait_for_url("**q=tnt-s*")
    found = page.locator("table.runs input")
    for number in range(found.count()):
        found.nth(number).focus()
        keys.press("Space")
    keys.press("Enter")
    page.wait_for_url("**/compare?run=*")
    expect(page.get_by_role("heading", name="4 runs compared")).to_be_visible()
    visit.open("/?q=16p")
    for _ in range(10):
        if page.evaluate("document.activeElement.pathname") == f"/run/{site.scenes.running}":
            break
        keys.press("Tab")
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(site.scenes.running)


def test_what_happened_is_on_the_page_of_a_run(visit: Visit, site: Site) -> None:
    page = visit.open(f"/run/{site.scenes.failed}")
    expect(page.get_by_role("heading", name="What went wrong")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("EI0006: Getting socket times out")
    expect(page.locator("#live")).to_contain_text(f"launcher resume {site.scenes.failed}")
    visit.open(f"/run/{site.scenes.restarted}")
    expect(page.locator("#live .bar")).to_have_count(2)
    expect(page.get_by_text("attempt 1 rank 5 on npu-04 was killed")).to_be_visible()
    expect(page.get_by_text("step-25020", exact=True)).to_be_visible()
    visit.open(f"/run/{site.scenes.running}")
    expect(page.locator(".ranks li")).to_have_count(16)
    expect(page.locator(".facts")).to_contain_text("1 h 11 min")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    visit.open(f"/run/{site.scenes.queued}")
    expect(page.get_by_role("heading", name="What it waits for")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("waits for 8 free devices")
    visit.open(f"/run/{site.scenes.foreign}")
    expect(page.locator("main")).to_contain_text("94.12 %")
    assert page.locator("#live svg").count() == 4


def test_hostile_text_stays_text(visit: Visit, site: Site) -> None:
    shown = HOSTILE.replace("\x1b", "\\x1b")
    page = visit.open(f"/run/{site.scenes.hostile}")
    expect(page.locator("#log")).to_contain_text(f"rank-0: {shown}")
    expect(page.locator("#live")).to_contain_text(shown)
    for path in ("/?q=hostile", f"/compare?run={site.scenes.hostile}", f"/run/{site.scenes.hostile}"):
        visit.open(path)
        assert page.locator("img[src=x], body script").count() == 0
    visit.open("/?q=" + "%3Cscript%3Ealert(3)%3C/script%3E%22%3E")
    expect(page.get_by_role("searchbox", name="name")).to_have_value('<script>alert(3)</script>">')


def test_logs_by_rank_and_words(visit: Visit, site: Site) -> None:
    page = visit.open(f"/run/{site.scenes.failed}")
    log = page.locator("#log")
    expect(log).to_contain_text("rank-3: step 29")
    page.get_by_label("with the words").fill("SOCKET")
    page.get_by_role("button", name="Show").click()
    expect(log).to_have_text(re.compile(r"^rank-3: .*Getting socket times out[^\n]*$"))
    page.get_by_label("rank", exact=True).fill("0")
    page.get_by_role("button", name="Show").click()
    expect(log).to_have_text("")
    assert page.evaluate("getComputedStyle(log, '::before').content") == '"no lines to show"'
    page.get_by_label("rank", exact=True).fill("0,1")
    page.get_by_role("button", name="Show").click()
    assert page.evaluate("filter.elements.rank.matches(':invalid')")


@pytest.mark.parametrize(
    ("theme", "size"),
    [
        pytest.param("light", LAPTOP, id="light-laptop"),
        pytest.param("dark", PHONE, id="dark-phone"),
        pytest.param("light", PHONE, id="light-phone", marks=pytest.mark.slow),
        pytest.param("dark", LAPTOP, id="dark-laptop", marks=pytest.mark.slow),
    ],
)
def test_every_page_can_be_read(chromium: Browser, site: Site, theme: str, size: dict[str, int]) -> None:
    """Nothing is wider than the window, cut off, too small, or too faint (WCAG AA: a contrast of 4.5)."""
    visit = Visit(chromium.new_context(viewport=size, color_scheme=theme), site.address)  # type: ignore[arg-type]
    runs = [value for value in vars(site.scenes).values() if isinstance(value, str)]
    compared = "/compare?" + "&".join(f"run={run}" for run in runs)
    for path in ("/", "/?q=nothing", compared, *(f"/run/{run}" for run in runs)):
        page = visit.open(path)
        found = page.evaluate(READABILITY)
        assert found["dark"] == (theme == "dark"), path
        assert found["faults"] == [], path
    visit.close()


@pytest.mark.parametrize("path", ["/run/no-such-run-20260101-000000-abcd", "/no/such/page"])
def test_an_error_can_be_read_and_left(chromium: Browser, site: Site, path: str) -> None:
    visit = Visit(chromium.new_context(viewport=PHONE, color_scheme="dark"), site.address)  # type: ignore[arg-type]
    page = visit.open(path)
    assert page.evaluate(READABILITY) == {"dark": True, "faults": []}
    page.get_by_role("link", name="all runs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    visit.context.close()  # the browser's console names the answer 404


def test_what_is_used_stays_when_a_run_s_page_is_renewed(visit: Visit, site: Site) -> None:
    page = visit.open(f"/run/{site.scenes.failed}")
    live, log = page.locator("#live"), page.locator("#log")
    expect(log).to_contain_text("Getting socket times out")
    page.evaluate("getSelection().selectAllChildren(live)")
    page.evaluate("renewLive('<p>later</p>')")
    expect(live).to_contain_text("Getting socket times out")
    page.evaluate("getSelection().removeAllRanges()")
    expect(live).to_have_text("later")
    page.evaluate("getSelection().selectAllChildren(log); lines.push('one more'); showLines()")
    expect(log).not_to_contain_text("one more")
    page.evaluate("getSelection().removeAllRanges()")
    expect(log).to_contain_text("one more")
    visit.open(f"/run/{site.scenes.wide}")
    machines = page.get_by_role("region", name="machines and ranks")
    expect(machines.locator(".ranks li")).to_have_count(264)
    expect(page.locator("#live")).to_contain_text("33 machines")
    machines.focus()

    def scrolled() -> bool:
        page.keyboard.press("End")  # again: a page that is renewed just now forgets it
        return bool(page.evaluate("document.activeElement.scrollTop > 0"))

    wait_until(scrolled, "the machines are scrolled")
    page.evaluate("before = [live.querySelector('.machines'), document.activeElement.scrollTop]")
    page.evaluate("renewLive(live.innerHTML)")
    expect(machines).to_be_focused()
    assert page.evaluate("[before[0].isConnected, document.activeElement.scrollTop > 0]") == [False, True]


def test_a_report_is_downloaded_and_read_without_a_network(
    chromium: Browser, visit: Visit, site: Site, tmp_path: Path
) -> None:
    page = visit.open(f"/run/{site.scenes.done}")
    for path in (f"/run/{site.scenes.done}", f"/compare?run={site.scenes.done}&run={site.scenes.failed}"):
        visit.open(path)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the report").click()
        target = tmp_path / download.value.suggested_filename
        download.value.save_as(target)
        alone = Visit(
            chromium.new_context(offline=True, viewport=PHONE, color_scheme="dark"), target.as_uri()
        )  # type: ignore[arg-type]
        assert alone.page.evaluate(READABILITY) == {"dark": True, "faults": []}
        expect(alone.page.locator("main")).to_contain_text("78.53 %")
        expect(alone.page.get_by_text(site.scenes.done).first).to_be_visible()
        assert {urlsplit(url).scheme for url in alone.asked} == {"file"}
        alone.context.close()
        assert alone.troubles == []


def test_the_table_renews_itself_and_leaves_what_is_used(
    chromium: Browser, launcher_home: Path, tmp_path: Path
) -> None:
    names = ("first", "second", "third", "newest")
    first, second, third, newest = samples = [Sample(tmp_path, name=name) for name in names]
    for sample in samples:
        sample.state(State.QUEUED, "waits", attempts=())
    going_on = heard_of(*(sample.plan.run_id for sample in samples))
    with going_on, dashboard() as address:
        newest.index.remove(newest.plan.run_id)
        visit = Visit(chromium.new_context(), address)
        page = visit.open("/?state=QUEUED")
        page.evaluate("window.loaded = 'once'")
        box = page.get_by_label(f"compare {first.plan.run_id}")
        box.check()
        page.get_by_role("combobox", name="state").select_option("FAILED")
        search = page.get_by_role("searchbox", name="name")
        search.fill("half a wo")
        second.state(State.QUEUED, "waits for 8 devices", attempts=())
        third.state(State.FAILED, "out of memory")
        newest.index.put(newest.entry)
        rows = page.locator("table.runs tr[data-run]")
        expect(page.get_by_role("link", name=newest.plan.run_id)).to_be_visible()
        expect(page.get_by_role("link", name=third.plan.run_id)).to_have_count(0)
        expect(rows.filter(has_text=second.plan.run_id)).to_contain_text("waits for 8 devices")
        expect(search).to_be_focused()
        expect(search).to_have_value("half a wo")
        assert page.get_by_role("combobox", name="state").input_value() == "FAILED"
        assert page.url.endswith("/?state=QUEUED")
        box.focus()
        first.state(State.FAILED, "out of memory")
        expect(rows.filter(has_text=first.plan.run_id)).to_contain_text("no longer in this list")
        expect(box).to_be_focused()
        expect(box).to_be_checked()
        assert page.evaluate("window.loaded") == "once"
        visit.close()


def test_a_dashboard_that_is_gone_is_named(chromium: Browser, launcher_home: Path, tmp_path: Path) -> None:
    Sample(tmp_path, name="only")
    with dashboard() as address:
        visit = Visit(chromium.new_context(), address)
        expect(visit.page.locator("table.runs tr[data-run]")).to_have_count(1)
    expect(visit.page.get_by_role("alert").first).to_contain_text("this table is not renewed")
    visit.context.close()


def test_ctrl_c_while_a_page_is_followed(chromium: Browser, site: Site) -> None:
    with dashboard() as address:
        visit = Visit(chromium.new_context(), address)
        expect(visit.open(f"/run/{site.scenes.running}").locator("#log")).to_contain_text("epoch 38 step 399")
    visit.context.close()


def test_a_real_run_is_followed_and_cancelled(jobs, chromium: Browser) -> None:
    entry = jobs.submit(env={"STEPS": "8", "HOLD_AT": "3"})
    with dashboard("--allow-cancel") as address:
        visit = Visit(chromium.new_context(), address)
        page = visit.page
        page.get_by_role("link", name=entry.run_id).click()
        expect(page.locator("#live .ranks")).to_contain_text("rank 0 training 3")
        expect(page.locator("#live .state")).to_have_text("RUNNING")
        page.get_by_role("button", name="Cancel with a checkpoint").click()
        expect(page.locator("#live .state")).to_have_text("CANCELLED")
        visit.close()
        jobs.end(entry)
