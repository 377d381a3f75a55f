"""A boto3 client for S3 and OBS, with the settings that are safe on both."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from launcher.errors import StoreRefused, UsageError
from launcher.storage.registry import Location, Options
from launcher.storage.s3.errors import Edge
from launcher.storage.s3.keychain import ChainCredentials, KeyChain, key_chain
from launcher.storage.s3.renewing import patient, usual_credentials
from launcher.storage.s3.settings import (
    bypasses_proxy,
    check_bucket,
    check_bundle,
    check_endpoint,
    check_proxy,
    check_region,
    speaks_tls,
)

MAX_CONNECTIONS = 64
CONNECT_TIMEOUT_S = 10
DEFAULT_REGION = "us-east-1"
READ_TIMEOUT_S = 25  # OBS drops a connection that is idle for 30 s

_HOST_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_PAYER = "AWS_REQUEST_PAYER"
PAYER_HEADER = "x-amz-request-payer"
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
_AWS_WORDS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_OBS_WORDS = (
    f"HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, ACCESS_KEY_ID and SECRET_ACCESS_KEY, or {_AWS_WORDS}"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and how to spell addresses. `endpoint` is None for AWS itself.

    `requester_pays`: each request says that whoever makes it pays, as buckets of the kind "requester pays" want.
    """

    scheme: str
    endpoint: str | None
    region: str | None
    addressing: str
    requester_pays: bool = False

    def bucket_in_host(self, bucket: str) -> bool:
        """Whether requests name the bucket in the host, as boto3 decides: only a plain name fits a certificate."""
        return self.addressing != "path" and bool(_HOST_BUCKET.fullmatch(bucket))

    @property
    def edge(self) -> Edge:
        """The same, for messages."""
        words = _OBS_WORDS if self.scheme == "obs" else _AWS_WORDS
        return Edge(self.endpoint or "the AWS endpoint of the region", words)


def resolve(location: Location, options: Options) -> Target:
    """Find endpoint, region and address style from the options, then the environment. Raises UsageError."""
    check_bucket(location.bucket, location.scheme)
    env = _environment(options)
    region = options.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    endpoint = options.endpoint or next((env[name] for name in _ENDPOINT_VARIABLES if env.get(name)), None)
    if location.scheme == "obs" and not endpoint:
        endpoint = env.get("OBS_ENDPOINT") or (f"https://obs.{region}.myhuaweicloud.com" if region else None)
        if not endpoint:
            raise UsageError(
                "an obs:// address needs an endpoint",
                where=f"obs://{location.bucket}",
                hint="set AWS_ENDPOINT_URL_S3 or endpoint: in the job file, or the region (AWS_REGION=cn-north-4)",
            )
    if endpoint:
        endpoint = _checked(endpoint, secure=env.get("S3_USE_HTTPS", "1") != "0")
    check_proxy(endpoint or "https://s3.amazonaws.com")
    if region:
        check_region(region)
    bundle = options.ca_bundle or bundle_of(os.environ)
    if bundle and not (endpoint or "").startswith("http://"):
        check_bundle(bundle)
    if options.addressing not in ("auto", "path", "virtual"):
        raise UsageError(f"addressing {options.addressing!r}", hint="one of auto, path, virtual")
    addressing = options.addressing
    if addressing == "auto" and endpoint:
        addressing = "virtual" if location.scheme == "obs" and _has_domain(endpoint) else "path"
    if endpoint and ("." in location.bucket or urlsplit(endpoint).path):
        addressing = "path"
    return Target(location.scheme, endpoint, region, addressing, _pays(env.get(_PAYER, "")))


def _pays(word: str) -> bool:
    if word not in ("", "requester"):
        raise UsageError(f"{_PAYER}={word}", hint="set it to requester, or unset it")
    return bool(word)


def bundle_of(env: Mapping[str, str]) -> str | None:
    """The file with certificates that the environment names, as botocore looks for it."""
    return next((env[name] for name in BUNDLES if name in env), None)


def _environment(options: Options) -> Mapping[str, str]:
    return os.environ if options.env is None else options.env


def _checked(endpoint: str, *, secure: bool) -> str:
    if "://" not in endpoint:
        endpoint = f"{'https' if secure else 'http'}://{endpoint}"
    check_endpoint(endpoint)
    return endpoint.rstrip("/")


def _has_domain(endpoint: str) -> bool:
    """True when bucket.host can be a name at all: not for an IP address, nor for localhost."""
    host = urlsplit(endpoint).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host
    return False


def make_client(target: Target, options: Options, chain: KeyChain) -> Any:
    """Build a client that signs with the keys of `chain`, where it has some. It retries nothing itself, and sends no checksums that OBS does not know."""
    import botocore.exceptions
    import botocore.session

    env = _environment(options)
    try:
        core = botocore.session.Session(profile=options.profile or env.get("AWS_PROFILE"))
        core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
        if target.endpoint:  # only AWS machines have a metadata service; elsewhere asking it costs seconds
            core.get_component("credential_provider").remove("iam-role")
        region = target.region or core.get_config_variable("region")
    except botocore.exceptions.ProfileNotFound as error:
        raise StoreRefused(f"profile {options.profile!r} does not exist", hint="see ~/.aws/config") from error
    session: Any = core
    if chain.current() is not None:
        session._credentials = ChainCredentials(chain)
    elif usual_credentials(core) is None and target.scheme == "obs":
        from launcher.storage.s3.agency import agency_credentials

        session._credentials = patient(agency_credentials(env))
    client: Any = core.create_client(  # boto3's session does the same and loads more
        "s3",
        endpoint_url=target.endpoint,
        region_name=region or DEFAULT_REGION,
        verify=options.ca_bundle,
        config=_client_config(target),
    )
    if target.endpoint:
        client.meta.events.register("before-call.s3", _stay_here)
    if target.requester_pays:
        client.meta.events.register("before-sign.s3", _offer_to_pay)
    if target.scheme == "obs":
        # A store that ignores encoding-type returns plain keys; one that half-knows it repeats pages for ever.
        from botocore.handlers import set_list_objects_encoding_type_url

        client.meta.events.unregister(
            "before-parameter-build.s3.ListObjects", set_list_objects_encoding_type_url
        )
    return client


def _stay_here(context: dict[str, Any], **_: Any) -> None:
    """A redirect is an error, not followed: botocore looks for AWS regions, and asks for ever where the answer stays 301."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _offer_to_pay(request: Any, **_: Any) -> None:
    request.headers[PAYER_HEADER] = "requester"


def _client_config(target: Target) -> Any:
    import botocore.config

    style: Any = {"addressing_style": target.addressing}
    direct = bool(target.endpoint and bypasses_proxy(target.endpoint))
    return botocore.config.Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=MAX_CONNECTIONS,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=style,
        proxies={} if direct else None,  # None: botocore looks into the environment
        user_agent_extra="ascend-launcher",
    )


@functools.cache
def _loader(data_path: str | None) -> Any:
    """Descriptions of services, read once per process: reading them takes ten times as long as the rest of a client."""
    import botocore.loaders

    return botocore.loaders.create_loader(data_path)


class ClientHolder:
    """One client per process, made on first use: a client inherited over fork is broken in silent ways."""

    def __init__(self, target: Target, options: Options) -> None:
        self.target = target
        self.options = options
        self.chain = key_chain(target.scheme, options)
        self._lock = threading.Lock()
        self._pid = 0
        self._client: Any = None
        self._keyless = False
        self._tls_probe: bool | None = None
        self.honours_conditions = False
        """Whether a conditional PUT is known to have been refused, as it should."""

    def get(self) -> Any:
        """The client of this process. Safe from several threads."""
        with self._lock:
            late = self._keyless and self.chain.current() is not None
            if self._pid != os.getpid() or late:
                self._keyless = self.chain.current() is None
                self._client = make_client(self.target, self.options, self.chain)
                self._pid = os.getpid()
            return self._client

    def speaks_tls(self) -> bool:
        """Whether a server with an http:// endpoint speaks TLS; asked once, after a connection broke."""
        endpoint = self.target.endpoint or ""
        if self._tls_probe is None:
            self._tls_probe = endpoint.startswith("http://") and speaks_tls(endpoint)
        return self._tls_probe
