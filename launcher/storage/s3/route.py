"""Where the fast path's requests go, and with which keys: the address, keys, certificates and proxy that boto3 would use.

Starting boto3 takes a quarter of a second of CPU time. When the environment has keys and an endpoint, and there is no profile,
AWS configuration file or proxy, boto3 would add nothing, so it is not started. Else its client is asked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.client import ClientHolder, Target
from launcher.storage.s3.keychain import ChainCredentials
from launcher.threads import environment

_NEEDS_BOTOCORE = (
    *("aws_profile", "aws_default_profile", "aws_security_token", "aws_credential_expiration"),
    *("http_proxy", "https_proxy", "all_proxy"),
)
_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}


class NoRoute(Exception):
    """Only boto3 can reach this bucket. The text says why."""


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach one bucket. `url` is the bucket's own address, without a slash at its end.

    `credentials` has botocore's method `get_frozen_credentials` and may renew its keys. `ca_bundle` names a file, or is
    None for the usual certificates. `proxy` may hold a password. `quoted` is whether listings are
    asked for with URL-encoded keys.
    """

    url: str
    bucket_in_host: bool
    region: str
    credentials: Any = field(repr=False)
    ca_bundle: str | None
    proxy: str | None = field(repr=False)
    quoted: bool
    requester_pays: bool = False


def find_route(holder: ClientHolder, bucket: str) -> Route:
    """The route that boto3's client would take. Raises NoRoute."""
    target, options = holder.target, holder.options
    keys = _keys_of_environment(holder)
    if keys is not None and target.endpoint:
        bundle = options.ca_bundle or s3_client.bundle_of(os.environ)
        region = target.region or os.environ.get("AWS_DEFAULT_REGION") or s3_client.DEFAULT_REGION
        return _route(target, bucket, target.endpoint, region, keys, bundle, None)
    client = holder.get()
    session = client._endpoint.http_session
    credentials = client._request_signer._credentials
    endpoint = target.endpoint or client.meta.endpoint_url
    if credentials is None:
        raise NoRoute("there are no credentials")
    if session._cert_file or session._verify is False:
        raise NoRoute("the client's TLS settings are boto3's own")
    bundle = session._verify if isinstance(session._verify, str) else None
    proxy = session._proxy_config.proxy_url_for(endpoint)
    return _route(target, bucket, endpoint, client.meta.region_name, credentials, bundle, proxy)


def _route(
    target: Target,
    bucket: str,
    endpoint: str,
    region: str,
    credentials: Any,
    ca_bundle: str | None,
    proxy: str | None,
) -> Route:
    in_host = target.bucket_in_host(bucket)
    parts = urlsplit(endpoint)
    url = f"{parts.scheme}://{bucket}.{parts.netloc}" if in_host else f"{endpoint.rstrip('/')}/{bucket}"
    quoted, pays = target.scheme != "obs", target.requester_pays
    return Route(url, in_host, region, credentials, ca_bundle, proxy, quoted, pays)


def _keys_of_environment(holder: ClientHolder) -> ChainCredentials | None:
    """The keys where botocore would add nothing, else None."""
    given = (*environment().items(), *(holder.options.env or {}).items())
    needs_botocore = any(value and name.lower() in _NEEDS_BOTOCORE for name, value in given)
    unclear = any(os.environ.get(name) == "" for name in s3_client.BUNDLES)
    files = any(_exists(os.environ.get(name) or usual) for name, usual in _FILES.items())
    if needs_botocore or unclear or files or holder.options.profile:
        return None
    return None if holder.chain.current() is None else ChainCredentials(holder.chain)


def _exists(file: str) -> bool:
    """As botocore looks for it; a home folder that may not be read counts as empty."""
    return os.path.exists(os.path.expandvars(os.path.expanduser(file)))  # noqa: PTH110, PTH111
