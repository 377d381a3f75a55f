"""What an error code of a store can mean, and the advice that several codes share."""

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
