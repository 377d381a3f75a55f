"""Serves the dashboard until Ctrl-C."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from launcher.dashboard.app import Settings, make_app
from launcher.errors import UsageError

GRACE_S = 5


def serve(settings: Settings, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Blocks. `tell` gets the address, with the token, once the port is taken. Raises UsageError for a port that is not free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"can't listen on {host} port {port}: {error.strerror}", hint="choose another --port"
        ) from error
    with listener:
        shown = f"[{host}]" if ":" in host else host
        tell(f"http://{shown}:{listener.getsockname()[1]}/?token={settings.token}")
        app = make_app(settings)
        config = uvicorn.Config(
            app,
            log_config=None,  # uvicorn's own would close the log handlers of the whole process
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        with suppress(KeyboardInterrupt):  # uvicorn repeats the signal after a clean end
            _Server(config, app.state.closing).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A signal also ends the streams of open pages; uvicorn alone waits for them in vain."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._closing.set()
        super().handle_exit(sig, frame)
