"""The error codes of S3, OBS and other stores: what each means, whether it can pass, and what to do. One row per meaning.

The codes are from the published lists of Amazon S3, Huawei OBS, Aliyun OSS, Tencent COS, Google, Backblaze, MinIO and Ceph; a new
one is one word here.
"""

from __future__ import annotations

from dataclasses import replace

from launcher.storage.s3.kinds import ENDPOINT, FEWER, KEYS, LATER, PROXIES, REGION, Kind, Meaning

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
        "InvalidAccessKeyId InvalidAccessKey InactiveAccessKey XMinioAdminInvalidAccessKey AuthenticationRequired",
        Kind.REFUSED,
        "the access key is unknown there",
        KEYS + "; is the endpoint the right one?",
    ),
    ("CredentialsNotSupported InvalidSecurity", Kind.REFUSED, "keys of this kind are not accepted", KEYS),
    ("TooManyWrongSignature", Kind.REFUSED, "the store has blocked this key after wrong signatures", KEYS),
    (
        "ExpiredToken TokenRefreshRequired SecurityTokenExpired RequestExpired RequestIsExpired KMS.ExpiredTokenException",
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
        "AccessDenied AccessForbidden UnauthorizedAccess UnauthorizedAccessError AccessForbidden.BlackList ForbiddenByBlackList EndpointNotAllowed SecurityPolicyViolated OrgPolicyViolation XMinioInsufficientPermissions",
        Kind.REFUSED,
        "access denied",
        "ask for the permission, or check which credentials are used ({variables}); an object under retention can't be replaced; where the requester pays, set AWS_REQUEST_PAYER=requester",
    ),
    (
        "InArrearOrInsufficientBalance Arrearage UserDisable ArrearsError AccountArrears BillingDisabled PaymentRequired 402",
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
        "AllAccessDisabled AccountProblem AccountDisabled DeactivatedAccount UserProjectAccountProblem InvalidPayer NotSignedUp FrozenUserId DeregisterUserId UserSuspended InvalidBucketState BucketNotActive BucketFrozen",
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
        "KeyTooLong KeyTooLongError RequestURITooLong 414",
        Kind.REFUSED,
        "the key is too long for this store",
        "shorten the object's name",
    ),
    (
        "InvalidObjectName XMinioInvalidObjectName FsObjectConflict FileGatewayObjectConflict PathConflict XMinioParentIsObject XMinioObjectExistsAsDirectory",
        Kind.REFUSED,
        "the store does not take this name: it is not valid there, or a folder and a file would have it",
        "rename the object",
    ),
    (
        "NoSuchHost NoSuchTenant NoSuchUser NoSuchAccount NoSuchRegion NoSuchCustomDomain NoSuchWebsiteConfiguration",
        Kind.REFUSED,
        "the store knows no such account, host or region",
        ENDPOINT,
    ),
    (
        "RequestIsNotHttps HttpsRequired SecureTransportRequired XMinioInsecureClientRequest",
        Kind.REFUSED,
        "the store wants TLS",
        "write the endpoint with https://",
    ),
    # the object's state
    (
        "InvalidObjectState ObjectNotInActiveTierError RestoreAlreadyInProgress",
        Kind.REFUSED,
        "the object is archived and can't be read now",
        "restore it in the store's console, wait until that is done, then run again",
    ),
    (
        "ObjectLocked ObjectLock FileImmutable WormObjectForbidden InvalidRetentionPeriod RetentionPolicyNotMet ObjectUnderActiveHold",
        Kind.REFUSED,
        "the object is locked against changes",
        "wait for the end of the retention, or name another folder",
    ),
    (
        "KMS.DisabledException KMS.NotFoundException KMS.InvalidStateException KMS.KMSInvalidStateException KMS.InvalidKeyUsageException KMS.IncorrectKeyException KMS.UnsupportedOperationException KMS.AccessDeniedException KMS.KeyUnavailableException KMSNotConfigured KmsServiceNotEnabled KmsKeyAccessDenied CloudKmsKeyDisabled",
        Kind.REFUSED,
        "the key that encrypts the object can't be used",
        "ask for permission to use the key, or check that it is enabled and in the bucket's region",
    ),
    (
        "InvalidEncryptionAlgorithmError MissingSecurityHeader ResourceIsEncryptedWithCustomerEncryptionKey CustomerEncryptionKeyIsIncorrect",
        Kind.REFUSED,
        "the object is encrypted with a key of its owner (SSE-C)",
        "copy it to an object without such a key",
    ),
    (
        "UnavailableForLegalReasons SensitiveObject 451",
        Kind.REFUSED,
        "the store may not deliver this for legal reasons",
        _OWNER,
    ),
    ("XMinioObjectTampered", Kind.REFUSED, "the object is damaged in the store", "copy it there again"),
    # space and sizes
    (
        "QuotaExceeded BucketQuotaExceeded PutOverQuota InsufficientStorageSpace StorageCapExceeded DownloadCapExceeded TransactionCapExceeded XMinioAdminBucketQuotaExceeded",
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
        "MetadataTooLarge RequestHeaderSectionTooLarge 431 494",
        Kind.REFUSED,
        "the headers are too long for this store",
        _REPORT,
    ),
    (
        "407 511 NetworkAuthenticationRequired",
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
        "SlowDown SlowDownRead SlowDownWrite BusyError RequestLimitExceeded RateLimitExceeded UserRateLimitExceeded TooManyRequests ServiceUnavailable QpsLimitExceeded MetaOperationQpsLimitExceeded 429 503 509",
        Kind.BUSY,
        "the store asks for fewer requests",
        FEWER,
    ),
    (
        "Throttling ThrottlingException BandwidthLimitExceeded DownloadTrafficRateLimitExceeded UploadTrafficRateLimitExceeded",
        Kind.BUSY,
        "the store asks for fewer requests",
        FEWER,
    ),
    (
        "KMS.ThrottlingException KMS.InternalException KMS.KMSInternalException",
        Kind.TRANSIENT,
        "the store's service of keys failed",
        LATER,
    ),
    (
        "InternalError BackendError XMinioServerNotInitialized XMinioBackendDown XMinioRequestTimedout XMinioReadQuorum XMinioWriteQuorum RequestTimeout RequestTimeoutException OperationAborted ConditionalRequestConflict BucketExpanding ClientDisconnected 408 421 425 499",
        Kind.TRANSIENT,
        "the store failed",
        LATER,
    ),
    (
        "BadDigest InvalidDigest InvalidSHA1Digest XAmzContentSHA256Mismatch IncompleteBody XAmzContentChecksumMismatch",
        Kind.DAMAGED,
        "the bytes were damaged on the way",
        "",
    ),
    # answers about the object
    ("NoSuchUpload", Kind.MISSING, "the upload in parts was removed while it was running", "run again"),
    ("NoSuchKey NoSuchVersion NotFound 404", Kind.MISSING, "no such object", ""),
    (
        "PreconditionFailed FileAlreadyExists ObjectAlreadyExists 304 412",
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
    (
        "301 302 303 307 308",
        Kind.REFUSED,
        "the answer sends elsewhere, to another region or address",
        f"{REGION}; {PROXIES}",
    ),
)
_MEANINGS = {code: Meaning(kind, what, hint) for codes, kind, what, hint in _ROWS for code in codes.split()}
_UNKNOWN = "the store's documentation says what this code means; else "


def meaning_of(code: str, status: int) -> Meaning:
    """What an answer means: by its code, else by its status."""
    if code in _MEANINGS:
        return _MEANINGS[code]
    if known := _MEANINGS.get(str(status)):
        meaning = known
    elif status >= 500:
        meaning = Meaning(Kind.TRANSIENT, "the store failed", LATER)
    else:
        meaning = Meaning(Kind.REFUSED, "the store refused the request", ENDPOINT)
    named = meaning.kind is Kind.REFUSED and bool(code) and not code.isdigit()
    return replace(meaning, hint=_UNKNOWN + meaning.hint) if named else meaning
