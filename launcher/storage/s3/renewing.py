"""Keys that botocore or an agency renews: a renewal that fails is waited for, as a store that does not answer.

A role, single sign-on, a `credential_process` and a machine's agency hand out keys for an hour or less. What hands them out may
fail for a moment, or hand out the same ended keys again, while a long upload goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from launcher.clock import iso_time
from launcher.errors import LauncherError, StoreRefused, StoreUnreachable
from launcher.storage.s3.codes import meaning_of
from launcher.storage.s3.errors import KeysExpired
from launcher.storage.s3.kinds import Kind

_KNOWN = {
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"),
    *("TokenRetrievalError", "SSOError"),
}
"""Class names of errors that have words of their own."""
_SILENT = {"ConnectionError", "HTTPClientError", "ConnectTimeoutError", "EndpointConnectionError"}
_HINT = "look at the AWS variables and at the profile in ~/.aws/config: role, source_profile, credential_process, token file"
_WAITING = "until there are new ones requests are repeated, and nothing is lost"


def usual_credentials(session: Any) -> Any:
    """What botocore finds in its usual places, or None. Raises StoreError when what should hand out the keys fails."""
    try:
        return patient(session.get_credentials())
    except Exception as error:
        _explain(error, "profile or role")
        raise


def patient(credentials: Any) -> Any:
    """The same credentials, whose renewals may fail as long as their keys are good; afterwards failures are KeysExpired, which are
    worth a retry. Safe to repeat."""
    ask = getattr(credentials, "_refresh_using", None)
    if ask is not None and not isinstance(ask, _Renewal):
        credentials._refresh_using = _Renewal(ask, credentials)
    return credentials


class _Renewal:
    """Asks for new keys in place of botocore's function."""

    def __init__(self, ask: Callable[[], Mapping[str, Any]], credentials: Any) -> None:
        self._ask, self._credentials = ask, credentials

    def __call__(self) -> Mapping[str, Any]:
        last, source = self._last(), self._credentials.method
        try:
            keys = self._ask()
            ended = _has_ended(keys)
        except Exception as error:
            if last is None:
                _explain(error, source)
                raise
            if not _has_ended(last):
                return last
            what = f"the temporary keys have ended, and {source} gives no new ones ({type(error).__name__})"
            raise KeysExpired(what, hint=f"look why it fails; {_WAITING}") from error
        if ended:
            what = f"the temporary keys that {source} gives have ended already"
            raise KeysExpired(
                what, hint=f"look at this machine's clock, and why it renews nothing; {_WAITING}"
            )
        return keys

    def _last(self) -> Mapping[str, Any] | None:
        """The keys of the last renewal; None before the first."""
        own = self._credentials
        if own._frozen_credentials is None:
            return None
        return {
            "access_key": own._access_key,
            "secret_key": own._secret_key,
            "token": own._token,
            "expiry_time": own._expiry_time.isoformat(),
        }


def _explain(error: Exception, source: str) -> None:
    """Raises StoreError for an error of what hands out the first keys, so that it is not taken for one of the store."""
    names = {each.__name__ for each in type(error).__mro__}
    if isinstance(error, LauncherError) or names & _KNOWN:
        return
    code, kind = type(error).__name__, Kind.REFUSED
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        given = str(response.get("Error", {}).get("Code"))
        kind = meaning_of(given, int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)).kind
        code = given if given.replace(".", "").isalnum() else code
    passing = names & _SILENT or kind in (Kind.BUSY, Kind.TRANSIENT)
    problem = StoreUnreachable if passing else StoreRefused
    raise problem(f"the keys can't be fetched ({source}: {code})", hint=_HINT) from error


def _has_ended(keys: Mapping[str, Any]) -> bool:
    """Whether keys can't be used any more. Raises KeyError for an answer without keys; an odd time is botocore's to judge."""
    if not (keys["access_key"] and keys["secret_key"]):
        raise KeyError("access_key")
    try:
        ends = iso_time(str(keys.get("expiry_time")))
    except ValueError:
        return False
    return (ends if ends.tzinfo else ends.astimezone()) <= datetime.now(timezone.utc)
