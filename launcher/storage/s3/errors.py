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
from launcher.storage.s3.codes import meaning_of
from launcher.storage.s3.kinds import ENDPOINT, LATER, PROXIES, Kind

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


_PROXY = "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and the user and password in them"
_RAISED: tuple[tuple[frozenset[str], type[StoreError], str, str], ...] = (
    (
        frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}),
        StoreRefused,
        "no credentials found",
        "set {variables}, or name a profile",
    ),
    (frozenset({"ProfileNotFound"}), StoreRefused, "the profile does not exist", "see ~/.aws/config"),
    (
        frozenset({"ConfigParseError"}),
        StoreRefused,
        "an AWS configuration file can't be read",
        "look at ~/.aws/config and ~/.aws/credentials",
    ),
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
        _PROXY,
    ),
    (
        frozenset({"EndpointConnectionError", "ConnectTimeoutError"}),
        StoreUnreachable,
        "can't connect to {endpoint}",
        ENDPOINT,
    ),
    (
        frozenset({"HTTPClientError", "HTTPError", "BotoCoreError", "OSError"}),
        StoreUnreachable,
        "the connection to {endpoint} broke ({kind})",
        LATER,
    ),
    (
        frozenset({"ResponseParserError", "ValueError", "KeyError"}),
        StoreError,
        "an answer of {endpoint} can't be read ({kind})",
        PROXIES,
    ),
)
"""Class names of what may be raised, in order: the more specific come first."""


def map_error(error: Exception, where: str, edge: Edge) -> LauncherError:
    """The member of our tree for anything boto3, botocore or urllib3 raised."""
    if isinstance(error, LauncherError):
        error.where = error.where or where
        return error
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _answered(response, where, edge, str(getattr(error, "operation_name", "")))
    if status := _status_of_tunnel(error):
        what = meaning_of("", status).what if status == 407 else "the proxy refuses the store's address"
        return StoreRefused(f"{what} ({status})", where=where, hint=_PROXY)
    names = {kind.__name__ for kind in type(error).__mro__}
    if tls := _tls_error(error):
        if _ended_in_use(tls):
            names = {"HTTPClientError"}
        elif "ProxyConnectionError" in names:
            what = "the proxy speaks no TLS, or nobody here trusts its certificate"
            return StoreRefused(what, where=where, hint="is it an http:// proxy? " + _PROXY)
    words = {"endpoint": edge.endpoint, "variables": edge.variables, "kind": type(error).__name__}
    for kinds, ours, what, hint in _RAISED:
        if names & kinds:
            return ours(what.format(**words), where=where, hint=hint.format(**words))
    return StoreError(f"unexpected {type(error).__name__} from the S3 client", where=where)


_ENDS = {
    "UNEXPECTED_EOF_WHILE_READING",
    "BAD_RECORD_MAC",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "BAD_LENGTH",
}


def _tls_error(error: Exception) -> Exception | None:
    """The error of Python's TLS inside one of botocore."""
    import ssl

    inner: Any = getattr(error, "kwargs", {}).get("error")
    inner = getattr(inner, "original_error", inner)
    return next(
        (each for each in (inner, *getattr(inner, "args", ())) if isinstance(each, ssl.SSLError)), None
    )


def _ended_in_use(error: Exception) -> bool:
    """Whether a TLS connection was cut or its bytes were damaged, which may pass; a wrong scheme or certificate does not."""
    import ssl

    ended = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    return isinstance(error, ended) or getattr(error, "reason", "") in _ENDS


def _status_of_tunnel(error: Exception) -> int:
    """The status with which a proxy refused a tunnel for good, or 0. Python's client has it only in its message."""
    inner = getattr(error, "kwargs", {}).get("error")
    text = str(getattr(inner, "original_error", ""))
    found = re.match(r"Tunnel connection failed: (4\d\d)\b", text)
    return int(found[1]) if found and found[1] not in ("408", "429") else 0


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


_KINDS: dict[Kind, type[StoreError]] = {
    Kind.REFUSED: StoreRefused,
    Kind.BUSY: StoreBusy,
    Kind.TRANSIENT: StoreUnreachable,
    Kind.DAMAGED: IntegrityError,
    Kind.MISSING: NotFound,
    Kind.CONDITION: ConditionFailed,
    Kind.UNSUPPORTED: Unsupported,
    Kind.RANGE: OutOfRange,
}
_ABSENT = 404
_OF_OBJECTS = {"HeadObject", "GetObject", "DeleteObject"}
"""Requests whose answer 404 has no code in some stores."""
_HIDES_ITS_CODE = {"301", "307", "400", "401", "403", "405", "409"}


def hides_its_code(error: Exception) -> bool:
    """Whether a request was refused without a code, as a HEAD is, since its answer has no body."""
    response = getattr(error, "response", None)
    return isinstance(response, dict) and str(response.get("Error", {}).get("Code")) in _HIDES_ITS_CODE


def is_broken(error: Exception) -> bool:
    """Whether a connection was made and no S3 answer came, as from a server that waits for TLS."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code")) == "400"
    return type(error).__name__ in ("ConnectionClosedError", "HTTPClientError", "ResponseParserError")


def _answered(response: dict[str, Any], where: str, edge: Edge, operation: str) -> StoreError:
    code = str(response.get("Error", {}).get("Code") or "").strip()
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode") or 0)
    if status == _ABSENT and code in ("", str(status)) and operation not in _OF_OBJECTS:
        what = f"something else than a store answered, or there is no bucket ({status})"
        return StoreRefused(what, where=where, hint=PROXIES)
    shown = code if re.fullmatch(r"[A-Za-z0-9._-]{1,60}", code) else str(status)
    meaning = meaning_of(code, status)
    hint = meaning.hint.format(variables=edge.variables)
    if place := _elsewhere(response):
        hint = f"{place}; {hint}"
    error = _KINDS[meaning.kind](f"{meaning.what} ({shown})", where=where, hint=hint)
    if isinstance(error, StoreBusy):
        error.retry_after_s = _retry_after(metadata.get("HTTPHeaders", {}))
    return error


def _elsewhere(response: dict[str, Any]) -> str:
    """Where an answer says that the bucket is, as advice; empty where it does not, or in an odd form."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    error = response.get("Error", {})
    region = str(headers.get("x-amz-bucket-region") or error.get("Region") or "")
    if re.fullmatch(r"[a-z0-9-]{1,40}", region):
        return f"the store names the region {region} (AWS_REGION={region})"
    host = str(error.get("Endpoint") or "")
    if found := re.match(r"(https?://[A-Za-z0-9.:\[\]-]{1,100})(/|$)", str(headers.get("location", ""))):
        host = found[1]
    return f"the store names the endpoint {host}" if re.fullmatch(r"[A-Za-z0-9./:\[\]-]{1,110}", host) else ""


def _retry_after(headers: dict[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
