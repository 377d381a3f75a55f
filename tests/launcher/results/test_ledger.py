"""The ledger of uploads: a journal that costs what has changed, and that a torn write does not break."""

from pathlib import Path

import pytest

from launcher.results import ledger as module
from launcher.results.ledger import Ledger, Record

URL = "file:///store"


def record(number: int) -> Record:
    return Record(number, number * 1000, f"{number:064x}", f"etag-{number}")


def test_it_says_the_same_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "upload.json"
    ledger = Ledger(path, URL)
    for number in range(5):
        ledger.add(f"checkpoints/step-{number}/weights", record(number))
        ledger.set_state(number, "safe")
        ledger.save()
    ledger.remove("checkpoints/step-1/weights")
    ledger.forget_set(2)
    ledger.save()
    again = Ledger(path, URL)
    assert (again.objects, again.sets) == (ledger.objects, ledger.sets)
    assert set(again.sets) == {0, 1, 3, 4}
    assert len(again.objects) == 3
    assert not Ledger(path, "file:///another").objects


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "upload.json"
    ledger = Ledger(path, URL)
    ledger.add("a", record(1))
    ledger.add("b", record(2))
    ledger.save()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        torn = Ledger(path, URL)
        assert set(torn.objects) <= {"a", "b"}
        torn.add("c", record(3))
        torn.save()
        assert Ledger(path, URL).objects == torn.objects


@pytest.mark.system
def test_a_hundred_thousand_files_are_written_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes grows with the number of files, not with its square: nothing is written twice."""
    written = []
    monkeypatch.setattr(module.os, "fsync", lambda handle: None)
    monkeypatch.setattr(module, "write_all", lambda handle, data: written.append(len(data)))
    monkeypatch.setattr(module, "write_atomic", lambda path, data: (path.touch(), written.append(len(data))))
    ledger = Ledger(tmp_path / "upload.json", URL)
    files = 100_000
    for number in range(files):
        ledger.add(f"checkpoints/step-1/part-{number}", record(number))
        ledger.save()
    assert len(written) == files
    assert sum(written) < files * 200


def test_a_log_that_is_uploaded_again_and_again_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "upload.json"
    ledger = Ledger(path, URL)
    for number in range(2500):
        ledger.add("logs/rank-0.log", record(number))
        if number % 10 == 0:
            ledger.save()
    ledger.save()
    assert len(path.read_bytes().splitlines()) <= module.SLACK_LINES + 3
    assert Ledger(path, URL).objects == {"logs/rank-0.log": record(2499)}
