from html.parser import HTMLParser
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.report.chart import Series, line_chart, number, ticks
from launcher.report.gather import gather
from launcher.report.page import page
from launcher.runfolder.states import PhaseStart, State
from launcher.runs.phases import phase_seconds
from tests.launcher.samples import NOW, Sample, make_view

VOID = {"meta", "br", "line", "circle", "polyline"}


class Checker(HTMLParser):
    """Collects text, and fails for tags that don't nest or that load something from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(html: str) -> str:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return " ".join(checker.text)


def rows(scale: float) -> list[dict]:
    return [
        {
            "epoch": e,
            "step": 10 * e,
            "loss": scale / e,
            "lr": 1e-3 / e,
            "top1": 0.1 * e,
            "images_per_s": 400.0,
        }
        for e in range(1, 9)
    ]


@pytest.fixture
def sample(launcher_home: Path, tmp_path: Path) -> Sample:
    sample = Sample(tmp_path, model={"set": {"epochs": 8, "base_lr": 0.001}})
    sample.metrics(*rows(2.0))
    sample.write("eval/last.json", '{"top1": 0.8, "top5": 0.9, "images": 360, "step": 80}')
    return sample


def test_a_page_is_whole_and_needs_nothing_from_elsewhere(sample: Sample) -> None:
    html = page([gather(sample.run)])
    text = checked(html)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    for words in (
        sample.entry.run_id,
        "training loss",
        "top-1, %",
        "learning rate",
        "80.00 %",
        "base_lr",
        "job.yaml:",
    ):
        assert words in text, words
    assert html.count("<svg") == 4
    assert html.count("<circle") == 4 * 8


def test_what_users_wrote_is_escaped(launcher_home: Path, tmp_path: Path) -> None:
    sample = Sample(tmp_path, model={"set": {"note": "<script>alert(1)</script>"}})
    sample.state(State.FAILED, "rank 0 on m1 (node 0) ended with exit code 1: <b>ValueError</b>")
    text = checked(page([gather(sample.run)]))
    assert "<script>alert(1)</script>" in text
    assert "<b>ValueError</b>" in text


def test_runs_are_laid_over_each_other_and_their_differences_shown(sample: Sample, tmp_path: Path) -> None:
    other = Sample(tmp_path, model={"set": {"epochs": 8, "base_lr": 0.005}})
    other.metrics(*rows(3.0))
    html = page([gather(sample.run), gather(other.run)])
    text = checked(html)
    assert "2 runs compared" in text
    assert html.count("<polyline") == 2 * 4
    shown = text.partition("all 2 values")[0]
    assert "0.005" in shown
    assert "epochs" not in shown.partition("Recipe")[2]


def test_a_run_without_metrics_is_drawn_by_step(launcher_home: Path, tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    lines = [f'{{"t": 1, "event": "step", "step": {n}, "loss": {1 / n}}}\n' for n in range(1, 1000)]
    sample.write("progress/rank-0.jsonl", "".join(lines))
    report = gather(sample.run)
    assert report.curves["loss"].x == "step"
    assert 300 <= len(report.curves["loss"].points) <= 600
    checked(page([report]))


def test_a_run_of_which_hardly_anything_is_left(launcher_home: Path, tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    (sample.root / "record.json").write_text("{")
    report = gather(sample.run)
    assert report.missing == ("record",)
    assert "no curve to draw" in checked(page([report]))


def test_time_per_phase() -> None:
    events = [
        {"event": "phase", "phase": p, "t": NOW + t}
        for p, t in (("compiling", 20), ("training", 50), ("evaluating", 80))
    ]
    found = phase_seconds(make_view(submitted_at=NOW, ended_at=NOW + 90, state=State.SUCCEEDED), events)
    assert found == {"queued": 20, "compiling": 30, "training": 30, "evaluating": 10}


def test_time_per_phase_from_the_node_program_alone() -> None:
    times = (
        PhaseStart(phase="staging", at=NOW + 1),
        PhaseStart(phase="running", at=NOW + 5, program="train"),
        PhaseStart(phase="running", at=NOW + 26, program="eval-mindir"),
        PhaseStart(phase="uploading", at=NOW + 30),
    )
    view = make_view(submitted_at=NOW, ended_at=NOW + 33, state=State.SUCCEEDED, phase_times=times)
    assert phase_seconds(view, []) == {
        "queued": 1, "staging": 4, "training": 21, "evaluating": 4, "uploading": 3
    }  # fmt: skip


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert ticks(1, 8, 7, whole=True) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [number(v) for v in (0, 0.00095, 0.25, 1256.2, 2e9)] == ["0", "9.5e-4", "0.25", "1,256", "2e9"]


@pytest.mark.parametrize(
    "points",
    [[(1.0, 1.0)], [(1.0, 0.0), (2.0, 0.0)], [(1.0, -1e9), (2.0, 1e9)], [(1.0, 1e-12), (300.0, 2e-12)]],
)
def test_charts_of_odd_numbers(points: list[tuple[float, float]]) -> None:
    svg = line_chart([Series("a", "#000", points)], "epoch")
    assert "nan" not in svg
    assert "inf" not in svg


def test_the_command_writes_a_file(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "last"]) == 0
    assert (tmp_path / f"report-{sample.entry.run_id}.html").read_text().startswith("<!doctype html>")
    assert main(["report", "--group", "none"]) == 3
    assert main(["report"]) == 0  # of the newest run


def test_a_comparison_has_a_file_name_of_its_own(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two, three, four = [sample.entry.run_id, *(Sample(tmp_path).entry.run_id for _ in range(3))]
    for runs in ([one, two], [one, two, three], [one, two, four], [one], [one, one]):
        assert main(["report", *runs]) == 0
    names = sorted(path.name for path in tmp_path.glob("report-*.html"))
    assert len(names) == 4, names
    assert {f"report-{one}.html", f"report-{one}-and-{two}.html"} < set(names)
    assert sum(name.startswith(f"report-{one}-and-2-others-") for name in names) == 2
