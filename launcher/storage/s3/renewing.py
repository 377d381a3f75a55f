"""Keys that botocore or an agency renews: a renewal that fails is waited for, as a store that does not answer.

A role, single sign-on, a `credential_process` and a machine's agency hand out keys for an hour or less. What hands them out may
fail for a moment, or hand out the same ended keys again, while a long upload goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from launcher.clock import iso_time
from launcher.errors import StoreRefused
from launcher.storage.s3.errors import KeysExpired

_WRONG = {
    *("CredentialRetrievalError", "FileNotFoundError", "PermissionError"),
    *("ValueError", "KeyError", "TypeError", "AttributeError"),
}
"""Class names of what is raised when a command or its answer is wrong. What else there is, as a service that does not answer, has
its own words."""
_WAITING = "until there are new ones requests are repeated, and nothing is lost"


def usual_credentials(session: Any) -> Any:
    """What botocore finds in its usual places, or None. Raises StoreRefused when what should hand out the keys is wrong."""
    try:
        return patient(session.get_credentials())
    except Exception as error:
        _refuse_wrong(error, "what the profile names")
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
                _refuse_wrong(error, source)
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


def _refuse_wrong(error: Exception, source: str) -> None:
    """Raises StoreRefused for an error that shows a mistake in a command or its answer."""
    if _WRONG & {each.__name__ for each in type(error).__mro__}:
        raise StoreRefused(
            f"{source} gives no keys ({type(error).__name__})",
            hint="run by hand the credential_process of the profile, and see ~/.aws/config",
        ) from error


def _has_ended(keys: Mapping[str, Any]) -> bool:
    """Whether keys can't be used any more. Raises KeyError for an answer without keys; an odd time is botocore's to judge."""
    if not (keys["access_key"] and keys["secret_key"]):
        raise KeyError("access_key")
    try:
        ends = iso_time(str(keys.get("expiry_time")))
    except ValueError:
        return False
    return (ends if ends.tzinfo else ends.astimezone()) <= datetime.now(timezone.utc)
