"""URLs of stores and addresses of services, as a job file may give them: of a known scheme, without credentials."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from launcher.jobfile.console import CONSOLE_ADDRESS, obs_address
from vitmodels.validation.rule import RuleError

URL_SCHEMES = ("file", "s3", "obs")  # memory:// ends with its process, so no job can use it


def _check_url(url: str) -> str:
    if not url.strip():
        raise RuleError(expected="a URL or a path")
    if found := obs_address(url):
        raise RuleError(CONSOLE_ADDRESS, hint=found.hint)
    parts = urlsplit(url)
    if "://" in url and parts.scheme not in URL_SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in URL_SCHEMES)
        raise RuleError(expected=f"a path or a URL of one of {schemes}", found=f"'{parts.scheme}://'")
    if re.match(r"(s3|obs|file):", url) and "://" not in url:
        raise RuleError(f"a URL has two slashes after the colon: {parts.scheme}://…")
    return _no_credentials(url)


def _no_credentials(url: str) -> str:
    parts = urlsplit(url)
    signed = parts.query and "://" in url
    if parts.username or parts.password or signed:
        raise RuleError("credentials don't belong into a URL; set them in the environment or in a profile")
    return url


def _check_endpoint(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise RuleError(expected="an address that begins with http:// or https://")
    return _no_credentials(url)


def _check_tracking_uri(uri: str) -> str:
    if uri.startswith("/"):  # a relative path would be one of the run directory
        return uri
    if urlsplit(uri).scheme not in ("http", "https", "file", "sqlite") or "://" not in uri:
        raise RuleError(
            expected="an address such as https://mlflow.example.com, sqlite:///… or an absolute path"
        )
    return _no_credentials(uri)


TrackingUri = Annotated[str, AfterValidator(_check_tracking_uri)]
StoreUrl = Annotated[str, AfterValidator(_check_url)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
