"""Keys for OBS from the agency of a Huawei cloud machine, which its metadata service hands out and renews."""

from __future__ import annotations

import functools
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from launcher.jsontext import parse_json

log = logging.getLogger(__name__)

ENDPOINT = "http://169.254.169.254"
TIMEOUT_S = 3.0
SWITCH = "LAUNCHER_NO_AGENCY"


class NoAgency(Exception):
    """The machine has no agency, or is not a machine of the cloud."""


def agency_credentials(env: Mapping[str, str]) -> Any:
    """botocore's credentials that renew themselves; None where there is no agency. Asks once per process, up to some seconds."""
    return None if env.get(SWITCH) else _credentials(ENDPOINT)


@functools.cache
def _credentials(endpoint: str) -> Any:
    from botocore.credentials import RefreshableCredentials

    try:
        first = _keys(endpoint)
    except NoAgency as error:
        log.debug("no agency: %s", error)
        return None
    return RefreshableCredentials.create_from_metadata(first, lambda: _keys(endpoint), "agency")


def _keys(endpoint: str) -> dict[str, str]:
    """Raises NoAgency."""
    ttl = {"X-Metadata-Token-Ttl-Seconds": "21600"}
    try:
        token = {"X-Metadata-Token": _ask("PUT", f"{endpoint}/meta-data/latest/api/token", ttl)}
    except urllib.error.HTTPError:  # machines of the older kind have no such tokens
        token = {}
    except (OSError, ValueError) as error:
        raise NoAgency(str(error)) from error
    try:
        credential = parse_json(_ask("GET", f"{endpoint}/openstack/latest/securitykey", token))["credential"]
        return {
            "access_key": str(credential["access"]),
            "secret_key": str(credential["secret"]),
            "token": str(credential["securitytoken"]),
            "expiry_time": str(credential["expires_at"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoAgency(type(error).__name__) from error


def _ask(method: str, url: str, headers: Mapping[str, str]) -> str:
    """One request to the metadata service, never through a proxy: its address is local to this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, method=method, headers=dict(headers))  # noqa: S310 - a fixed address
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text
