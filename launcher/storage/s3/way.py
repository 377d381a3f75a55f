"""Where the requests to a bucket go, and who signs them: what botocore would do, found out without it where that is plain.

botocore needs a quarter of a second of a core until its first request. With keys and an endpoint in the environment, no
profile, no configuration file and no proxy, there is nothing that it would add.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.client import ClientHolder, Target
from launcher.storage.s3.sigv4 import Signer
from launcher.storage.s3.wire import Peer

_ASKS_BOTOCORE = (
    *("aws_profile", "aws_default_profile", "aws_security_token", "aws_credential_expiration"),
    *("http_proxy", "https_proxy", "all_proxy"),
)
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
_STANDARD = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class NoWay(Exception):
    """Nothing for requests of our own: a proxy, a client certificate, no credentials."""


@dataclass(frozen=True, slots=True)
class Way:
    """Requests to one bucket. `quoted` is whether a listing is asked for with its keys quoted."""

    signer: Signer
    peer: Peer
    quoted: bool


@dataclass(frozen=True, slots=True)
class _Keys:
    """Credentials that don't change, with the one method of botocore's that is needed."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)

    def get_frozen_credentials(self) -> _Keys:
        return self


def find_way(holder: ClientHolder, bucket: str) -> Way:
    """Where boto3's client would go, and with what. Raises NoWay when that is not for us."""
    keys = _keys_of_environment(holder)
    if keys is not None and holder.target.endpoint:
        bundles = (holder.options.ca_bundle, *(os.environ.get(name) for name in _BUNDLES), True)
        verify = next(each for each in bundles if each is not None)
        region = holder.target.region or os.environ.get("AWS_DEFAULT_REGION") or s3_client.DEFAULT_REGION
        return _way(holder.target, bucket, holder.target.endpoint, keys, region, verify)
    client = holder.get()
    session = client._endpoint.http_session
    credentials = client._request_signer._credentials
    url = holder.target.endpoint or client.meta.endpoint_url
    if credentials is None or session._cert_file or session._proxy_config.proxy_url_for(url):
        raise NoWay
    return _way(holder.target, bucket, url, credentials, client.meta.region_name, session._verify)


def _keys_of_environment(holder: ClientHolder) -> _Keys | None:
    """The keys where the environment alone says everything, else None."""
    env = os.environ if holder.options.env is None else holder.options.env
    asks = any(
        value and name.lower() in _ASKS_BOTOCORE for name, value in (*os.environ.items(), *env.items())
    )
    unclear = any(os.environ.get(name) == "" for name in _BUNDLES)
    files = any(_is_there(os.environ.get(name) or usual) for name, usual in _FILES.items())
    if asks or unclear or files or holder.options.profile:
        return None
    found = s3_client.explicit_keys(holder.target.scheme, holder.options)
    if found:
        token = found.get("aws_session_token")
        return _Keys(found["aws_access_key_id"], found["aws_secret_access_key"], token)
    key, secret, token = (env.get(name) for name in _STANDARD)
    return _Keys(key, secret, token or None) if key and secret else None


def _is_there(file: str) -> bool:
    """As botocore looks for it; a home that may not be looked into has none."""
    return os.path.exists(os.path.expandvars(os.path.expanduser(file)))  # noqa: PTH110, PTH111


def _way(target: Target, bucket: str, url: str, credentials: Any, region: str, verify: Any) -> Way:
    parts = urlsplit(url)
    host, folder = parts.hostname or "", f"/{bucket}/"
    if target.addressing == "virtual":
        host, folder = f"{bucket}.{host}", "/"
    secure = parts.scheme == "https"
    usual = 443 if secure else 80
    port = parts.port or usual
    named = f"[{host}]" if ":" in host else host
    signer = Signer(credentials, region, named if port == usual else f"{named}:{port}", folder)
    tls = _trust(verify) if secure else None
    peer = Peer(host, port, tls, s3_client.CONNECT_TIMEOUT_S, s3_client.READ_TIMEOUT_S)
    return Way(signer, peer, quoted=target.scheme != "obs")


def _trust(verify: Any) -> ssl.SSLContext:
    """botocore's choice of certificates: those named, or those it brings along."""
    from botocore.httpsession import get_cert_path

    if verify is False:
        raise NoWay
    return ssl.create_default_context(cafile=get_cert_path(verify))
