"""`launcher dashboard` as a command: what it refuses, the address that it tells, and what it leaves alone."""

import io
import logging
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn

from launcher.cli import main


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["--host", "0.0.0.0"], "--token"), (["--token", "short"], "16"), (["--port", "99999"], "65535")],
)
def test_bad_options(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str], launcher_home: Path
) -> None:
    assert main(["dashboard", *words]) == 2
    assert hint in capsys.readouterr().err


def test_the_address_has_a_random_token_and_is_of_this_machine_only(
    launcher_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    assert main(["dashboard"]) == 0
    address = urlsplit(capsys.readouterr().out.strip())
    assert address.hostname == "127.0.0.1"
    assert len(address.query.removeprefix("token=")) >= 32


def test_the_log_handlers_of_the_process_stay_open(
    launcher_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """absl's handler, which OpenVINO brings along, closes with itself the stream that was stderr at its import."""
    handler = logging.StreamHandler(stream := io.StringIO())
    monkeypatch.setattr(handler, "close", stream.close)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    assert main(["dashboard"]) == 0
    assert not stream.closed
