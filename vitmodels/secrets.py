"""Which names of settings look as if their value were a secret. One list, for what is refused and for what is starred out."""

from __future__ import annotations

import re

PATTERN = (
    r"(?:SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_?KEY|API_?KEY|PRIVATE_KEY|CREDENTIAL|SIGNATURE"
    r"|(?:\b|_)(?:AK|SK|PWD|AUTH)(?![A-Za-z0-9_]))"
)
_NAME = re.compile(PATTERN, re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_NAMED_VALUE = re.compile(
    rf"{PATTERN}\w*['\"]?\s*[:=]\s*(\"[^\"]*\"?|'[^']*'?|[^\s,}}'\"]+)",
    re.IGNORECASE,
)


def looks_secret(name: str) -> bool:
    """True for AWS_SECRET_ACCESS_KEY, WANDB_API_KEY, MYSQL_PWD and their like."""
    return _NAME.search(name) is not None


def mask(text: str) -> str:
    """The text with credentials starred out, as long as before: user info of URLs, values of secret-looking names."""
    text = _USER_INFO.sub(lambda match: "*" * len(match[0]), text)
    return _NAMED_VALUE.sub(lambda m: m[0][: m.start(1) - m.start()] + "*" * len(m[1]), text)
