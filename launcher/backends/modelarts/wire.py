"""The only module that talks to ModelArts, through Huawei's SDK, which is imported on first use.

The SDK does not repeat failed requests; this module does, with jittered pauses and within a time limit. An answer that
can't be read, such as the page of a proxy, is an error, never an empty answer.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.login import Project, connect
from launcher.errors import BackendError
from launcher.jsontext import parse_json

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
CONNECT_S, ANSWER_S = 10.0, 60.0
LIST = "list"
_GONE = "the service answered nothing that can be read"


class Wire:
    """Requests to one project; answers are the JSON values that the service sent.

    Credentials: HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and HUAWEICLOUD_SDK_SECURITY_TOKEN; the SDK's own profile
    file; the agency of a cloud machine. They stay in the SDK's client.
    """

    def __init__(
        self,
        project: Project,
        patience_s: float,
        timeout_s: tuple[float, float],
        sleep: Callable[[float], None],
    ) -> None:
        self._project, self._patience_s, self._timeout_s, self._sleep = project, patience_s, timeout_s, sleep
        self._made: Any = None
        self._credentials: Any = None
        self.project_id = ""

    def ask(
        self,
        method: str,
        request: str,
        expect: Sequence[str] = (),
        patience_s: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """A request that may be repeated. Raises ServiceError, BackendError."""
        deadline = monotonic() + (self._patience_s if patience_s is None else patience_s)
        waits = pauses()
        while True:
            try:
                return self.once(method, request, expect, **fields)
            except ServiceError as error:
                pause = next(waits)
                if not error.temporary or monotonic() + pause > deadline:
                    raise
                log.info("%s; asking again in %.1f s", error.what, pause)
                self._sleep(pause)

    def once(self, method: str, request: str, expect: Sequence[str] = (), **fields: Any) -> dict[str, Any]:
        """One request. An answer without any key of `expect` is an error. Raises ServiceError, BackendError."""
        client = self._client()
        import huaweicloudsdkmodelarts.v1 as sdk
        from huaweicloudsdkcore.exceptions import exceptions as failures

        where = self._project.address
        question = getattr(sdk, request)(**fields)
        try:
            answer = getattr(client, method)(question)
        except failures.ServiceResponseException as error:
            message = self._clean(error.error_msg or _GONE)
            raise ServiceError(
                message,
                status=int(error.status_code or 0),
                code=str(error.error_code or ""),
                request_id=str(error.request_id or ""),
                where=where,
            ) from None
        except (failures.ConnectionException, failures.RequestTimeoutException, OSError) as error:
            words = self._clean(str(getattr(error, "err_message", None) or error))
            first = words.splitlines()[0][:300] if words else type(error).__name__
            raise ServiceError(f"no answer: {first}", where=where) from None
        except failures.SdkException as error:
            raise BackendError(
                self._clean(str(getattr(error, "error_msg", None) or error)), where=where
            ) from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            words = self._clean(f"{type(error).__name__}: {error}")
            raise ServiceError(f"{_GONE}: {words[:300]}", where=where) from None
        return _content(answer, expect, where)

    def _clean(self, text: str) -> str:
        for name in ("sk", "security_token", "ak"):
            if secret := getattr(self._credentials, name, None):
                text = text.replace(secret, "***")
        return text

    def _client(self) -> Any:
        if self._made is None:
            self._made, self._credentials = connect(self._project, self._timeout_s)
            self.project_id = str(self._credentials.project_id)
        return self._made


def pauses() -> Iterator[float]:
    """Seconds to wait before each repetition."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_S)


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; other items are left out."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def as_map(value: Any) -> Mapping[str, Any]:
    """A map as it is; anything else is an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_number(value: Any) -> float | None:
    """A number as the service may write it."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _content(answer: Any, expect: Sequence[str], where: str) -> dict[str, Any]:
    """The JSON that the service sent, also fields that the SDK's classes lack; a bare list as `LIST`. Raises ServiceError."""
    raw = getattr(answer, "raw_content", None) or b""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    try:
        value = parse_json(text) if text.strip() else {}
    except ValueError:
        value = None
    if isinstance(value, list):
        value = {LIST: value}
    if isinstance(value, dict) and value.get("error_code") and not any(key in value for key in expect):
        status, code = int(getattr(answer, "status_code", 0) or 0), str(value["error_code"])
        raise ServiceError(str(value.get("error_msg") or _GONE), status=status, code=code, where=where)
    if not isinstance(value, dict) or (expect and not any(key in value for key in expect)):
        shown = " ".join(text.split())[:80]
        raise ServiceError(f"{_GONE}: '{shown}'", where=where)
    return value
