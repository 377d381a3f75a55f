"""Sends one message to one target. The target's secrets are in no error and no log."""

from __future__ import annotations

import logging
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher.jobfile.spec_notify import VARIABLE, NotifyTarget
from launcher.notify.message import Message

TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
_WORTH_A_RETRY = (408, 425, 429)


class NotSent(Exception):
    """The target did not take the message. `again`: another try may help."""

    def __init__(self, what: str, *, again: bool = True) -> None:
        super().__init__(what)
        self.again = again


def missing_variables(target: NotifyTarget, env: Mapping[str, str] = os.environ) -> list[str]:
    """Variables of the target that are not set here, or are empty."""
    return [name for name in target.variables if not env.get(name)]


def send(
    target: NotifyTarget, message: Message, env: Mapping[str, str] = os.environ, folder: str = ""
) -> None:
    """Blocks until the target has the message. Raises NotSent. `folder`: where a command runs, if this machine has it."""
    address = VARIABLE.sub(lambda match: env.get(match[1], ""), target.text)
    if target.webhook is not None:
        _post(address, message)
    elif target.apprise is not None:
        _apprise(address, message)
    else:
        _run(target.text, message, env, folder)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _post(address: str, message: Message) -> None:
    if urlsplit(address).scheme not in ("http", "https"):
        raise NotSent("the webhook's address begins with neither http:// nor https://", again=False)
    headers = {"Content-Type": "application/json", "User-Agent": "ascend-launcher"}
    try:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            address, data=message.model_dump_json().encode(), headers=headers, method="POST"
        )
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        error.close()
        again = error.code >= 500 or error.code in _WORTH_A_RETRY
        raise NotSent(f"the webhook answered with HTTP {error.code}", again=again) from None
    except urllib.error.URLError as error:
        raise NotSent(f"the webhook can't be reached: {_words(error.reason)}") from None
    except (OSError, ValueError) as error:  # ValueError: http.client on an address that is none
        raise NotSent(f"the webhook can't be reached: {_words(error)}") from None


def _words(reason: object) -> str:
    """The reason of an error without the address that it may quote."""
    return (isinstance(reason, OSError) and reason.strerror) or type(reason).__name__


def _apprise(address: str, message: Message) -> None:
    try:
        import apprise
    except ImportError:
        raise NotSent(
            "apprise is not installed: pip install 'ascend-launcher[notify]'", again=False
        ) from None
    logging.getLogger("apprise").propagate = False  # it quotes addresses
    service = apprise.Apprise()
    if not service.add(address):
        raise NotSent("apprise does not know this kind of target, or it is not complete", again=False)
    kind = apprise.NotifyType.FAILURE if message.event in ("failure", "hang") else apprise.NotifyType.INFO
    if not service.notify(body=message.text, title=message.title, notify_type=kind):
        raise NotSent("the service did not take it")


def _run(command: str, message: Message, env: Mapping[str, str], folder: str) -> None:
    values = {
        "EVENT": message.event,
        "RUN_ID": message.run_id,
        "STATE": str(message.state),
        "TITLE": message.title,
        "TEXT": message.text,
        "LINK": message.link,
        "NEXT": message.next[0] if message.next else "",
    }
    variables = {f"LAUNCHER_NOTICE_{name}": value.replace("\0", "") for name, value in values.items()}
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=message.model_dump_json().encode(),
            env={**env, **variables},
            cwd=folder if os.access(folder, os.X_OK) and Path(folder).is_dir() else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotSent(f"the command did not end within {COMMAND_TIMEOUT_S:g} s", again=False) from None
    except OSError as error:
        raise NotSent(f"the command can't be started: {error.strerror}") from None
    if done.returncode:
        raise NotSent(f"the command ended with exit code {done.returncode}")
