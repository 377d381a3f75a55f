"""Which names of settings look as if their value were a secret. One list, for what is refused and for what is starred out."""

from __future__ import annotations

import re

PATTERN = (
    r"(?:SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_?KEY|API_?KEY|PRIVATE_KEY|CREDENTIAL|SIGNATURE"
    r"|(?:\b|_)(?:AK|SK|PWD|AUTH)(?![A-Za-z0-9_]))"
)
_NAME = re.compile(PATTERN, re.IGNORECASE)


def looks_secret(name: str) -> bool:
    """True for AWS_SECRET_ACCESS_KEY, WANDB_API_KEY, MYSQL_PWD and their like."""
    return _NAME.search(name) is not None
