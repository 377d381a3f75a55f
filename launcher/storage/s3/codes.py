"""The error codes of S3, OBS and other stores: what each means, whether it can pass, and what to do. One row per meaning.

The codes are from the published lists of Amazon S3, Huawei OBS, Aliyun OSS, MinIO and Ceph; a new one is one word here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What follows from a code."""

    REFUSED = "permanent: the same request would be refused again"
    BUSY = "passes, with fewer requests"
    TRANSIENT = "may pass"
    DAMAGED = "the bytes were changed on the way: sent once more"
    MISSING = "there is no such thing"
    CONDITION = "the condition of a conditional request does not hold"
    UNSUPPORTED = "the store can't do it"
    RANGE = "the object is shorter than the range"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A row. `{variables}` in the hint stands for the variables that may hold keys."""

    kind: Kind
    what: str
    hint: str


KEYS = "check the access key and secret ({variables}), or the profile"
REGION = (
    "set the region, or the endpoint of its region; machines of a cloud need a bucket in their own region"
)
ENDPOINT = (
    "check the endpoint (AWS_ENDPOINT_URL_S3, or endpoint: in the job file), the network, and the proxy"
)
PROXIES = "check that the endpoint is that of a store, and the proxies on the way"
LATER = "try again later; what arrived is kept"
FEWER = "use fewer workers, or run again later; what arrived is kept"
_OWNER = "ask the owner of the bucket or account"
_REPORT = "report this, with the store's name and version"

_ROWS: tuple[tuple[str, Kind, str, str], ...] = (
    # keys and tokens
    (
        "SignatureDoesNotMatch",
        Kind.REFUSED,
        "the secret key is wrong, or the request was changed on the way",
        KEYS,
    ),
    (
        "InvalidAccessKeyId InactiveAccessKey",
        Kind.REFUSED,
        "the access key is unknown there",
        KEYS + "; is the endpoint the right one?",
    ),
    ("CredentialsNotSupported InvalidSecurity", Kind.REFUSED, "keys of this kind are not accepted", KEYS),
    ("TooManyWrongSignature", Kind.REFUSED, "the store has blocked this key after wrong signatures", KEYS),
    (
        "ExpiredToken TokenRefreshRequired SecurityTokenExpired RequestExpired",
        Kind.REFUSED,
        "the session token has expired",
        "get new temporary credentials and set all three values",
    ),
    (
        "InvalidToken InvalidSecurityToken",
        Kind.REFUSED,
        "the session token is not valid",
        "unset an old token, or set key, secret and token together",
    ),
    (
        "RequestTimeTooSkewed RequestInTheFuture",
        Kind.REFUSED,
        "this machine's clock is wrong by minutes",
        "set the clock (NTP), then run again",
    ),
    # permissions and accounts
    (
        "AccessDenied AccessForbidden UnauthorizedAccess",
        Kind.REFUSED,
        "access denied",
        "ask for the permission, or check which credentials are used ({variables}); an object under retention can't be replaced",
    ),
    (
        "InArrearOrInsufficientBalance Arrearage UserDisable",
        Kind.REFUSED,
        "the account is in arrears",
        "pay the bill or top up the account, then run again",
    ),
    (
        "Unauthorized",
        Kind.REFUSED,
        "the store does not accept this account",
        "finish the account's verification in the console; " + KEYS,
    ),
    (
        "AllAccessDisabled AccountProblem InvalidPayer NotSignedUp FrozenUserId DeregisterUserId UserSuspended",
        Kind.REFUSED,
        "access is disabled for this account or bucket",
        _OWNER,
    ),
    (
        "RequestPayerDenied",
        Kind.REFUSED,
        "the requester pays for this bucket",
        "set AWS_REQUEST_PAYER=requester: the requests are then paid by your account",
    ),
    # buckets and addresses
    (
        "NoSuchBucket",
        Kind.REFUSED,
        "no such bucket",
        "create it, or check its name, the endpoint and the region",
    ),
    (
        "InvalidBucketName InvalidURI BadDomainName",
        Kind.REFUSED,
        "the bucket name is not valid",
        "check the address",
    ),
    (
        "PermanentRedirect TemporaryRedirect Redirect WebsiteRedirect IllegalLocationConstraintException",
        Kind.REFUSED,
        "the bucket lives in another region",
        REGION,
    ),
    (
        "AuthorizationHeaderMalformed AuthorizationQueryParametersError MissingRegion",
        Kind.REFUSED,
        "the request was signed for another region",
        "set the region",
    ),
    (
        "VirtualHostDomainRequired SecondLevelDomainForbidden",
        Kind.REFUSED,
        "the store wants the bucket in the host name",
        "set addressing: virtual",
    ),
    (
        "KeyTooLong KeyTooLongError",
        Kind.REFUSED,
        "the key is too long for this store",
        "shorten the object's name",
    ),
    (
        "InvalidObjectName XMinioInvalidObjectName FsObjectConflict XMinioParentIsObject XMinioObjectExistsAsDirectory",
        Kind.REFUSED,
        "the store does not take this name: it is not valid there, or a folder and a file would have it",
        "rename the object",
    ),
    # the object's state
    (
        "InvalidObjectState ObjectNotInActiveTierError RestoreAlreadyInProgress",
        Kind.REFUSED,
        "the object is archived and can't be read now",
        "restore it in the store's console, wait until that is done, then run again",
    ),
    (
        "ObjectLocked FileImmutable InvalidRetentionPeriod",
        Kind.REFUSED,
        "the object is locked against changes",
        "wait for the end of the retention, or name another folder",
    ),
    (
        "KMS.DisabledException KMS.NotFoundException KMS.InvalidStateException KMS.AccessDeniedException KMS.KeyUnavailableException",
        Kind.REFUSED,
        "the key that encrypts the object can't be used",
        "ask for permission to use the key, or check that it is enabled and in the bucket's region",
    ),
    (
        "InvalidEncryptionAlgorithmError",
        Kind.REFUSED,
        "the object is encrypted with a key of its owner (SSE-C)",
        "copy it to an object without such a key",
    ),
    # space and sizes
    (
        "QuotaExceeded InsufficientStorageSpace XMinioAdminBucketQuotaExceeded",
        Kind.REFUSED,
        "the quota of the bucket or account is used up",
        "free some space there, or raise the quota",
    ),
    (
        "XMinioStorageFull InsufficientStorage 507",
        Kind.REFUSED,
        "the store is full",
        "free some space there, or ask whoever runs it",
    ),
    (
        "EntityTooLarge RequestEntityTooLarge 413",
        Kind.REFUSED,
        "the object is larger than the store, or a proxy before it, takes",
        "split it, or raise that limit",
    ),
    ("EntityTooSmall", Kind.REFUSED, "a part is smaller than the store takes", _REPORT),
    (
        "MetadataTooLarge RequestHeaderSectionTooLarge",
        Kind.REFUSED,
        "the headers are too long for this store",
        _REPORT,
    ),
    (
        "407",
        Kind.REFUSED,
        "the proxy wants a login, or another one",
        "check the user and password in HTTP_PROXY and HTTPS_PROXY",
    ),
    # requests
    ("MissingContentLength 411", Kind.REFUSED, "the store does not take streamed uploads", _REPORT),
    (
        "InvalidPart InvalidPartOrder",
        Kind.REFUSED,
        "parts of the upload were removed while it was running",
        "run again",
    ),
    (
        "MethodNotAllowed 405 ServiceNotSupported",
        Kind.REFUSED,
        "the store does not allow this request here",
        PROXIES,
    ),
    (
        "InvalidRequest",
        Kind.REFUSED,
        "the store does not accept the request",
        "an object encrypted with a key of its owner (SSE-C) can't be read without it; for others check the endpoint and the proxies on the way",
    ),
    (
        "InvalidArgument MalformedXML BadRequest UnsupportedSignature",
        Kind.REFUSED,
        "the store does not understand the request",
        PROXIES,
    ),
    # what may pass
    (
        "SlowDown SlowDownRead SlowDownWrite RequestLimitExceeded TooManyRequests ServiceUnavailable QpsLimitExceeded 429 503",
        Kind.BUSY,
        "the store asks for fewer requests",
        FEWER,
    ),
    (
        "Throttling ThrottlingException BandwidthLimitExceeded",
        Kind.BUSY,
        "the store asks for fewer requests",
        FEWER,
    ),
    (
        "KMS.ThrottlingException KMS.InternalException",
        Kind.TRANSIENT,
        "the store's service of keys failed",
        LATER,
    ),
    (
        "InternalError RequestTimeout RequestTimeoutException OperationAborted ConditionalRequestConflict BucketExpanding ClientDisconnected 408 421 425 499",
        Kind.TRANSIENT,
        "the store failed",
        LATER,
    ),
    (
        "BadDigest InvalidDigest XAmzContentSHA256Mismatch IncompleteBody XAmzContentChecksumMismatch",
        Kind.DAMAGED,
        "the bytes were damaged on the way",
        "",
    ),
    # answers about the object
    ("NoSuchUpload", Kind.MISSING, "the upload in parts was removed while it was running", "run again"),
    ("NoSuchKey NoSuchVersion NotFound 404", Kind.MISSING, "no such object", ""),
    (
        "PreconditionFailed FileAlreadyExists 412",
        Kind.CONDITION,
        "there is an object already, or another version of it",
        "",
    ),
    (
        "NotImplemented ServiceNotImplemented 501",
        Kind.UNSUPPORTED,
        "the store does not support this request",
        ENDPOINT,
    ),
    ("InvalidRange 416", Kind.RANGE, "the object is shorter than the asked range", ""),
    # statuses alone: the answer to a HEAD has no code
    ("401 403", Kind.REFUSED, "the store refused", KEYS),
    ("301 302 307 308", Kind.REFUSED, "the bucket lives in another region", REGION),
)
_MEANINGS = {code: Meaning(kind, what, hint) for codes, kind, what, hint in _ROWS for code in codes.split()}


def meaning_of(code: str, status: int) -> Meaning:
    """What an answer means: by its code, else by its status."""
    known = _MEANINGS.get(code) or _MEANINGS.get(str(status))
    if known:
        return known
    if status >= 500:
        return Meaning(Kind.TRANSIENT, "the store failed", LATER)
    return Meaning(Kind.REFUSED, "the store refused the request", ENDPOINT)
