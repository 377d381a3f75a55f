"""Serves the dashboard until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from launcher.dashboard.app import Settings, make_app
from launcher.errors import UsageError


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
        config = uvicorn.Config(
            make_app(settings), log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
        with suppress(KeyboardInterrupt):  # uvicorn repeats the signal after a clean end
            uvicorn.Server(config).run(sockets=[listener])
