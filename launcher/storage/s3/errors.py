"""Errors of an S3 service and of its client library, mapped to our tree.

Messages are written here rather than passed on: the library's own texts repeat signed URLs and proxy passwords.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from launcher.errors import (
    IntegrityError,
    LauncherError,
    NotFound,
    StoreError,
    StoreRefused,
    StoreUnreachable,
)
from launcher.storage.backoff import StoreBusy

_KEYS = "check the access key and secret ({variables}), or the profile"
_REGION = (
    "set the region, or the endpoint of its region; machines of a cloud need a bucket in their own region"
)
_REFUSED: dict[str, tuple[str, str]] = {
    "SignatureDoesNotMatch": ("the secret key is wrong, or the request was changed on the way", _KEYS),
    "InvalidAccessKeyId": ("the access key is unknown there", _KEYS + "; is the endpoint the right one?"),
    "AccessDenied": (
        "access denied",
        "ask for the permission, or check which credentials are used ({variables})",
    ),
    "AllAccessDisabled": ("access is disabled for this account or bucket", "ask the owner of the bucket"),
    "ExpiredToken": (
        "the session token has expired",
        "get new temporary credentials and set all three values",
    ),
    "InvalidToken": (
        "the session token is not valid",
        "unset an old token, or set key, secret and token together",
    ),
    "RequestTimeTooSkewed": (
        "this machine's clock is wrong by minutes",
        "set the clock (NTP), then run again",
    ),
    "NoSuchBucket": ("no such bucket", "create it, or check its name, the endpoint and the region"),
    "PermanentRedirect": (
        "the bucket lives in another region",
        _REGION,
    ),
    "AuthorizationHeaderMalformed": ("the request was signed for another region", "set the region"),
    "MissingContentLength": (
        "the store does not take streamed uploads",
        "report this, with the store's name",
    ),
    "QuotaExceeded": (
        "the quota of the bucket or account is used up",
        "free some space there, or raise the quota",
    ),
    "InsufficientStorageSpace": (
        "the bucket's quota is used up",
        "free some space there, or raise the quota",
    ),
    "InvalidBucketName": ("the bucket name is not valid", "check the address"),
}
_BUSY = {
    "SlowDown",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "ServiceUnavailable",
}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"}
_TRANSIENT = {
    *("InternalError", "RequestTimeout", "OperationAborted", "RequestTimeoutException"),
    "ConditionalRequestConflict",
}
_MISSING = {"NoSuchKey", "NotFound", "404", "NoSuchUpload"}


_OF_KEYS = {
    *("ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "TokenRefreshRequired"),
    *("401", "403", "Forbidden", "Unauthorized"),  # a HEAD has no code
}
_ENDED_KEYS = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "TokenRefreshRequired"}


class KeysExpired(StoreUnreachable):
    """Temporary keys have ended, and nobody has written new ones yet. Worth a retry."""


class OutOfRange(IntegrityError):
    """The store has fewer bytes than the asked start."""


class ConditionFailed(StoreRefused):
    """The condition of a conditional request does not hold."""


class Unsupported(StoreRefused):
    """The store does not know what was asked."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where requests go, for messages: the endpoint, and the variables that were read to find it."""

    endpoint: str
    variables: str


_ENDPOINT_HINT = (
    "check the endpoint (AWS_ENDPOINT_URL_S3, or endpoint: in the job file), the network, and the proxy"
)
_BROKE = "try again later; what arrived is kept"

_RAISED: tuple[tuple[frozenset[str], type[StoreError], str, str], ...] = (
    (
        frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}),
        StoreRefused,
        "no credentials found",
        "set {variables}, or name a profile",
    ),
    (frozenset({"ProfileNotFound"}), StoreRefused, "the profile does not exist", "see ~/.aws/config"),
    (
        frozenset({"TokenRetrievalError", "SSOError", "UnauthorizedSSOTokenError"}),
        StoreRefused,
        "the single sign-on session has ended",
        "sign in again",
    ),
    (
        frozenset({"SSLError"}),
        StoreRefused,
        "the TLS connection to {endpoint} failed: wrong scheme, or a certificate nobody here trusts",
        "use the http:// address if the store has no TLS; set AWS_CA_BUNDLE for a private certificate",
    ),
    (
        frozenset(
            {"ParamValidationError", "InvalidEndpointConfigurationError", "UnsupportedS3ConfigurationError"}
        ),
        StoreRefused,
        "the address is not valid for this store (endpoint {endpoint})",
        "check the bucket name and the endpoint",
    ),
    (
        frozenset({"ProxyConnectionError"}),
        StoreUnreachable,
        "the proxy can't be reached",
        "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    ),
    (
        frozenset({"EndpointConnectionError", "ConnectTimeoutError"}),
        StoreUnreachable,
        "can't connect to {endpoint}",
        _ENDPOINT_HINT,
    ),
    (
        frozenset({"HTTPClientError", "HTTPError", "BotoCoreError", "OSError"}),
        StoreUnreachable,
        "the connection to {endpoint} broke ({kind})",
        _BROKE,
    ),
)
"""Class names of what may be raised, in order: the more specific come first."""


def map_error(error: Exception, where: str, edge: Edge) -> LauncherError:
    """The member of our tree for anything boto3, botocore or urllib3 raised."""
    if isinstance(error, LauncherError):
        return error
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _answered(response, where, edge)
    names = {kind.__name__ for kind in type(error).__mro__}
    words = {"endpoint": edge.endpoint, "variables": edge.variables, "kind": type(error).__name__}
    for kinds, ours, what, hint in _RAISED:
        if names & kinds:
            return ours(what.format(**words), where=where, hint=hint.format(**words))
    return StoreError(f"unexpected {type(error).__name__} from the S3 client", where=where)


def refusal_of(error: Exception) -> tuple[bool, bool]:
    """Whether a foreign error refuses the request (401, 403, no keys), and whether it speaks of the keys."""
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return True, True
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False, False
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in (401, 403) or code in _OF_KEYS, code in _OF_KEYS


def ended_keys(error: Exception, origin: str, where: str) -> KeysExpired | None:
    """What to raise for temporary keys that somebody renews, when the store says that they have ended; None for other errors."""
    response = getattr(error, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    if code not in _ENDED_KEYS:
        return None
    return KeysExpired(
        f"the temporary keys have ended ({code}), and {origin} has no new ones yet",
        where=where,
        hint="whoever writes that file has to renew it; until then requests are repeated, and nothing is lost",
    )


def _answered(response: dict[str, Any], where: str, edge: Edge) -> StoreError:
    code = str(response.get("Error", {}).get("Code", ""))
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode") or 0)
    shown = code if re.fullmatch(r"[A-Za-z0-9._-]{1,60}", code) else str(status)
    if code in _BUSY or status in (429, 503):
        busy = StoreBusy(f"the store asks for fewer requests ({shown})", where=where, hint=_BUSY_HINT)
        busy.retry_after_s = _retry_after(metadata.get("HTTPHeaders", {}))
        return busy
    if code in _REFUSED:
        what, hint = _REFUSED[code]
        return StoreRefused(f"{what} ({code})", where=where, hint=_words(hint, edge))
    if code in _DAMAGED:
        return IntegrityError(f"the bytes were damaged on the way ({code})", where=where)
    if code in ("PreconditionFailed", "412"):
        return ConditionFailed("there is an object already, or another version of it", where=where)
    if code == "NotImplemented" or status == 501:
        return Unsupported("the store does not support this request", where=where, hint=_ENDPOINT_HINT)
    if code in _TRANSIENT or status >= 500:
        return StoreUnreachable(f"the store failed ({shown})", where=where, hint=_BROKE)
    return _by_status(status, code, shown, where, edge)


def _by_status(status: int, code: str, shown: str, where: str, edge: Edge) -> StoreError:
    """What a status says when the code is unknown; a HEAD has no body, so it never has a code."""
    if status == 416 or code == "InvalidRange":
        return OutOfRange("the object is shorter than the asked range", where=where)
    if status == 404 or code in _MISSING:
        return NotFound("no such object", where=where)
    if status in (401, 403):
        return StoreRefused(f"the store refused ({shown})", where=where, hint=_words(_KEYS, edge))
    if status in (301, 302, 307, 308):
        return StoreRefused(f"the bucket lives in another region (HTTP {status})", where=where, hint=_REGION)
    return StoreRefused(f"the store refused the request ({shown})", where=where, hint=_ENDPOINT_HINT)


_BUSY_HINT = "use fewer workers, or run again later; what arrived is kept"


def _words(hint: str, edge: Edge) -> str:
    return hint.format(variables=edge.variables)


def _retry_after(headers: dict[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
