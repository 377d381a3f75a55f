"""What node 0 writes down of a run."""

from pathlib import Path

import pytest

from launcher.statefile import read_results


def test_a_result_that_is_no_number_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {"last": "NaN", "best": "1e999", "other": '"nan"', "MINDIR": "0.5"}
    for name, top1 in texts.items():
        (tmp_path / f"{name}.json").write_text(f'{{"top1": {top1}}}')
    assert read_results(tmp_path) == {"MINDIR": 0.5}
    assert "last.json: top1 is nan" in caplog.text
    assert len(caplog.records) == 3
