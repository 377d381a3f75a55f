"""Where the requests to a bucket go, and who signs them: what botocore would do, found out without it where that is plain.

botocore needs a quarter of a second of a core until its first request. With keys and an endpoint in the environment, no
profile, no configuration file and no proxy, there is nothing that it would add.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher.storage import s3_client
from launcher.storage.s3_client import ClientHolder, Target
from launcher.storage.sigv4 import Signer
from launcher.storage.wire import Peer

_ASKS_BOTOCORE = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION"),
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)
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
        verify = holder.options.ca_bundle or os.environ.get("AWS_CA_BUNDLE")
        verify = verify or os.environ.get("REQUESTS_CA_BUNDLE")
        region = holder.target.region or s3_client.DEFAULT_REGION
        return _way(holder.target, bucket, holder.target.endpoint, keys, region, verify or True)
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
    files = (Path(os.environ.get(name) or usual).expanduser() for name, usual in _FILES.items())
    asks = any(os.environ.get(name) or env.get(name) for name in _ASKS_BOTOCORE)
    if asks or holder.options.profile or any(file.exists() for file in files):
        return None
    found = s3_client.explicit_keys(holder.target.scheme, holder.options)
    if found:
        token = found.get("aws_session_token")
        return _Keys(found["aws_access_key_id"], found["aws_secret_access_key"], token)
    key, secret, token = (env.get(name) for name in _STANDARD)
    return _Keys(key, secret, token or None) if key and secret else None


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
