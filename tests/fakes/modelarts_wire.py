"""The wire of the fake ModelArts: signatures, errors, and the SDK's classes as the judge of a request's fields."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

CLOCK_S = 0.0
"""How much the clock of the service is ahead of that of its callers."""


@dataclass(frozen=True)
class Account:
    """Who may use the service, and what the containers get to reach OBS with."""

    ak: str
    sk: str
    project_id: str
    token: str = ""
    s3_endpoint: str = ""
    s3_key: str = ""
    s3_secret: str = ""


class Refused(Exception):
    """An answer with an error of the service."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self) -> dict[str, str]:
        return {"error_code": self.code, "error_msg": self.message}


def bad(code: str, message: str) -> Refused:
    return Refused(400, f"ModelArts.{code}", message)


def verify(account: Account, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
    """Check `SDK-HMAC-SHA256` as documented. Raises Refused."""
    lower = {key.lower(): value.strip() for key, value in headers.items()}
    match = re.fullmatch(
        r"SDK-HMAC-SHA256 Access=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})",
        lower.get("authorization", ""),
    )
    if not match:
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: no signature")
    if match[1] != account.ak:
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: AK does not exist")
    _check_time(lower.get("x-sdk-date", ""))
    names = match[2].split(";")
    if not {"host", "x-sdk-date"} <= set(names):
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: host and date not signed")
    parts = urlsplit(target)
    path = "/".join(quote(unquote(piece), safe="~") for piece in parts.path.split("/"))
    query = "&".join(
        f"{quote(key, safe='~')}={quote(value, safe='~')}"
        for key, value in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    canonical = "\n".join(
        [
            method,
            path if path.endswith("/") else f"{path}/",
            query,
            *(f"{name}:{lower.get(name, '')}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    text = f"SDK-HMAC-SHA256\n{lower['x-sdk-date']}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    expected = hmac.new(account.sk.encode(), text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, match[3]):
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: verify signature fail")
    if lower.get("x-security-token", "") != account.token:
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: wrong security token")


def _check_time(text: str) -> None:
    try:
        when = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: no date") from None
    if abs((datetime.now(timezone.utc) - when).total_seconds() + CLOCK_S) > 900:
        raise Refused(401, "APIGW.0301", "Incorrect IAM authentication information: date out of range")


def as_sdk(type_name: str, value: Any, where: str = "") -> Any:
    """`value` as the SDK's own class, field by field. Raises ValueError for a field or a type that the class does not have."""
    import huaweicloudsdkmodelarts.v1 as sdk

    place = where or type_name
    if match := re.fullmatch(r"list\[(.*)\]", type_name):
        _require(isinstance(value, list), place, type_name)
        return [as_sdk(match[1], item, f"{place}[{n}]") for n, item in enumerate(value)]
    if match := re.fullmatch(r"dict\(str, (.*)\)", type_name):
        _require(isinstance(value, dict), place, type_name)
        return {key: as_sdk(match[1], item, f"{place}.{key}") for key, item in value.items()}
    plain = {"str": str, "int": int, "bool": bool, "float": float}.get(type_name)
    if plain is not None:
        _require(type(value) is plain, place, type_name)
        return value
    model = getattr(sdk, type_name)
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    _require(isinstance(value, dict), place, type_name)
    unknown = sorted(set(value) - set(names))
    _require(not unknown, place, f"{type_name}, which has no {unknown}")
    fields = {
        names[key]: as_sdk(model.openapi_types[names[key]], item, f"{place}.{key}")
        for key, item in value.items()
    }
    return model(**fields)


def _require(fine: bool, place: str, wanted: str) -> None:
    if not fine:
        raise ValueError(f"{place} is no {wanted}")


def round_trip(type_name: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the SDK itself would send for the body, through its own classes."""
    from huaweicloudsdkcore.utils.http_utils import sanitize_for_serialization

    sent: dict[str, Any] = sanitize_for_serialization(as_sdk(type_name, body))
    return sent
