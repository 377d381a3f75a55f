"""Requests to an API server as JSON, through the package `kubernetes`, which reads kubeconfigs and a pod's own account."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from launcher.backends.kubernetes.connect import connect
from launcher.backends.kubernetes.errors import INSTALL, ClusterError
from launcher.errors import BackendError
from launcher.installed import version_of
from launcher.jsontext import parse_json

Object = dict[str, Any]
PACKAGE = "kubernetes"
PATIENCE_S, REQUEST_S, CONNECT_S = 60.0, 30.0, 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0


def package_missing() -> bool:
    return not version_of(PACKAGE)


class Cluster:
    """One cluster, by a context of the kubeconfig, or by the account of the pod that this program is in.

    Each request is repeated for `patience_s` while the server is away or busy. Opens no connection before the first one.
    """

    def __init__(self, context: str | None = None, patience_s: float = PATIENCE_S) -> None:
        self._context, self._patience_s = context, patience_s
        self._made: Any = None

    @property
    def server(self) -> str:
        """Its address. Raises BackendError for a configuration that can't be used."""
        return str(self._client().configuration.host)

    def get(self, path: str) -> Object | None:
        """An object; None when there is none. Raises ClusterError."""
        try:
            return self._json("GET", path)
        except ClusterError as error:
            if error.absent:
                return None
            raise

    def items(self, path: str, *, labels: str = "", fields: str = "") -> list[Object]:
        """All objects of a collection, page by page. Raises ClusterError."""
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": "500"}
        found: list[Object] = []
        while True:
            page = self._json("GET", path, query={key: value for key, value in query.items() if value})
            found += page.get("items") or []
            query["continue"] = str((page.get("metadata") or {}).get("continue") or "")
            if not query["continue"]:
                return found

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Raises ClusterError; `exists` when the name is taken, which may be by an earlier request whose answer was lost."""
        return self._json("POST", path, body, query={"dryRun": "All"} if dry_run else {})

    def patch(self, path: str, body: Object) -> Object:
        """A JSON merge patch. Raises ClusterError."""
        return self._json("PATCH", path, body)

    def delete(self, path: str, policy: str = "Foreground") -> None:
        """Asks for the end of an object and of what it owns; does not wait. Safe to repeat. Raises ClusterError."""
        try:
            self._json(
                "DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
            )
        except ClusterError as error:
            if not error.absent:
                raise

    def text(self, path: str, query: Mapping[str, str]) -> str:
        """A text, such as a pod's log. Raises ClusterError."""
        return self._repeated("GET", path, None, query).decode(errors="replace")

    def _json(
        self, method: str, path: str, body: Object | None = None, query: Mapping[str, str] | None = None
    ) -> Object:
        data = self._repeated(method, path, body, query or {})
        try:
            value = parse_json(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            shown = " ".join(data.decode(errors="replace").split())[:80]
            raise ClusterError(f"no API server answered: '{shown}'", where=self.server)
        return value

    def _repeated(self, method: str, path: str, body: Object | None, query: Mapping[str, str]) -> bytes:
        deadline, pause = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._once(method, path, body, query)
            except ClusterError as error:
                if not error.temporary or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _once(self, method: str, path: str, body: Object | None, query: Mapping[str, str]) -> bytes:
        import urllib3

        client = self._client()
        url = f"{client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json, */*", "Content-Type": kind}
        try:
            for setting in client.configuration.auth_settings().values():
                headers[setting["key"]] = setting["value"]
            answer = client.rest_client.pool_manager.request(
                method,
                url,
                body=json.dumps(body).encode() if body is not None else None,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_S, self._patience_s), read=REQUEST_S),
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ClusterError(f"no answer: {first}", where=self.server) from None
        if answer.status >= 400:
            raise _refusal(answer.status, answer.data, f"{method} {self.server}{path}")
        return bytes(answer.data)

    def _client(self) -> Any:
        if self._made is None:
            if package_missing():
                raise BackendError("the package kubernetes is not installed", hint=INSTALL)
            self._made = connect(self._context)
        return self._made


def _refusal(status: int, data: bytes, where: str) -> ClusterError:
    try:
        value = parse_json(data)
        message, code = str(value["message"]), str(value.get("reason") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code = " ".join(data.decode(errors="replace").split())[:200] or "refused", ""
    return ClusterError(message, status=status, code=code, where=where)
