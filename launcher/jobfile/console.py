"""Recognise the https address that the OBS console shows for a bucket or object, and give its obs:// form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

CONSOLE_ADDRESS = "this is how the console of OBS shows an address"

_SERVICE = (
    r"obs(?:\.(?P<region>[a-z0-9-]+))?\.(?:myhuaweicloud\.(?:com|cn|eu)|otc\.t-systems\.com)(?::[0-9]+)?"
)
_ADDRESS = rf"(?:(?:https?|obs|s3)://)?(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?{_SERVICE}(?:/(?P<path>[^?#]*))?(?:[?#].*)?"
_DOMAINS = ("myhuaweicloud.", "t-systems.")
"""One of them is in each such address. So the expression, which takes milliseconds to compile, is needed for few texts."""


@dataclass(frozen=True, slots=True)
class ObsAddress:
    """A bucket of OBS and a path in it. `region` is empty where the address names none."""

    bucket: str
    path: str
    region: str

    @property
    def url(self) -> str:
        return f"obs://{self.bucket}/{self.path}".rstrip("/")

    @property
    def hint(self) -> str:
        """What to type instead."""
        where = f" (region: {self.region})" if self.region else ""
        return f"write {self.url}{where}"


def obs_address(text: str) -> ObsAddress | None:
    """The bucket and path of a console's address, as host name or as first folder; None for anything else.

    >>> obs_address("https://pets.obs.cn-north-4.myhuaweicloud.com/train/a%20b").url
    'obs://pets/train/a b'
    """
    if not any(domain in text.lower() for domain in _DOMAINS):
        return None
    match = re.fullmatch(_ADDRESS, text.strip(), re.IGNORECASE)
    if match is None:
        return None
    bucket, path = match["bucket"] or "", unquote(match["path"] or "")
    if not bucket:
        bucket, _, path = path.partition("/")
    return ObsAddress(bucket.lower(), path.strip("/"), (match["region"] or "").lower()) if bucket else None
