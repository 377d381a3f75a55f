"""From a kubeconfig, or from the account of the pod that this program is in, to a client of the package `kubernetes`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from launcher.errors import BackendError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_CONTEXTS = (
    "set KUBECONFIG, or name another context in kubernetes.context; `kubectl config get-contexts` lists them"
)
_LOGIN = "log in again; `kubectl cluster-info` runs the same login program"


class _Complaints(logging.Handler):
    """What the package only logs: a login program that gave no credentials. Without a handler it would set up logging for all of us."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.module == "kube_config":
            self.words.append(_first_line(record.getMessage()))


def connect(context: str | None) -> Any:
    """Runs the login program of the kubeconfig's user, where there is one. Opens no connection. Raises BackendError."""
    from kubernetes import client

    settings, complaints = client.Configuration(), _Complaints()
    named = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    root = logging.getLogger()
    root.addHandler(complaints)
    try:
        _load(settings, named, context)
    finally:
        root.removeHandler(complaints)
    if complaints.words and not settings.api_key and not settings.cert_file:
        words = f"the kubeconfig's user has no credentials: {complaints.words[0]}"
        raise BackendError(words, where=named, hint=_LOGIN)
    _finish_proxy(settings)
    return client.ApiClient(settings)


def _load(settings: Any, named: str, context: str | None) -> None:
    import yaml
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    here = any(Path(each).expanduser().is_file() for each in named.split(os.pathsep) if each)
    try:
        if here or context or not ACCOUNT.exists():
            config.load_kube_config(
                named, context=context, client_configuration=settings, persist_config=False
            )
        else:
            config.load_incluster_config(client_configuration=settings)
    except (
        ConfigException,
        yaml.YAMLError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        words = _first_line(str(error) or type(error).__name__)
        raise BackendError(f"the kubeconfig can't be used: {words}", where=named, hint=_CONTEXTS) from None


def _finish_proxy(settings: Any) -> None:
    """As kubectl does: the account in a proxy's URL is sent to it, and a proxy of the kubeconfig counts whatever NO_PROXY says."""
    import urllib3

    parts = urlsplit(settings.proxy or "")
    if parts.username:
        account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        settings.proxy_headers = urllib3.make_headers(proxy_basic_auth=account)
    if settings.proxy and settings.proxy not in getproxies().values():
        settings.no_proxy = ""


def _first_line(text: str) -> str:
    """Without what the package quotes of the kubeconfig, which may be a token."""
    lines = [line.strip() for line in text.partition("{")[0].splitlines() if line.strip()]
    return lines[0][:300] if lines else ""
