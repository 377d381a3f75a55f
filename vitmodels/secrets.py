"""Which names of settings look as if their value were a secret. One list, for what is refused and for what is starred out."""

from __future__ import annotations

import re
from typing import Any

PATTERN = (
    r"(?:SECRET|PASSWORD|PASSWD|TOKEN|ACCESS[_-]?KEY|API[_-]?KEY|PRIVATE[_-]KEY|SIGNING_KEY|CREDENTIAL|SIGNATURE"
    r"|(?:\b|_)(?:AK|SK|PWD|AUTH)(?![A-Za-z0-9_]))"
)
_NAME = re.compile(PATTERN, re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_PATH = re.compile(r"(://[^/?#\s'\"]*)([/?#][^\s'\"]*)")
_HIDDEN = re.compile(r"\$\{\w+\}|[^/${]+|[${]")
_TARGETS = ("webhook", "apprise", "command")
"""Keys of `notify.to`."""
_QUOTED = r"\"[^\"]*\"?|'[^']*'?"
_VALUES = (
    re.compile(
        rf"(?:^|(?<=\s))-{{1,2}}[\w-]*{PATTERN}[\w-]*\s+(?!-)({_QUOTED}|\S+)", re.IGNORECASE
    ),  # --token x
    re.compile(r"(?:\bauthorization['\"]?\s*[:=]\s*['\"]?\w+|\bbearer)\s+([^\s'\"]+)", re.IGNORECASE),
    # token=x; not `secretKeyRef:` and `secretName:` of a manifest, nor a switch
    re.compile(
        rf"{PATTERN}(?!_?(?:name|key_?ref|ref)s?\b)\w*['\"]?[^\S\n]*[:=][^\S\n]*(?!(?:true|false|null)\b)({_QUOTED}|[^\s,{{}}'\"\[]+)",
        re.IGNORECASE,
    ),
)
_STORES = (
    *("AWS_", "S3_", "OBS_", "HUAWEI", "HWCLOUD", "HW_", "OS_", "MINIO_", "CREDENTIAL_", "RCLONE_"),
    *("GOOGLE_", "AZURE_", "ALIBABA_", "ALIYUN_", "OSS_", "COS_", "TENCENTCLOUD_"),
)
_STORE_NAMES = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SECURITY_TOKEN", "LAUNCHER_SIGNING_KEY", "KUBECONFIG")
_WAYS = ("PROFILE", "CONFIG_FILE", "ROLE_ARN", "CONTAINER_", "_KEY")
"""Where credentials are, or for whom they are given out."""


def opens_store(name: str) -> bool:
    """True for variables with credentials of a store or a cloud, or with the way to them: AWS_PROFILE, HUAWEICLOUD_SDK_SK."""
    of_store = name.startswith(_STORES) and (looks_secret(name) or any(way in name for way in _WAYS))
    return name in _STORE_NAMES or of_store


def looks_secret(name: str) -> bool:
    """True for AWS_SECRET_ACCESS_KEY, WANDB_API_KEY, MYSQL_PWD and their like."""
    return _NAME.search(name) is not None


def mask(text: str) -> str:
    """The text with credentials starred out, as long as before: user info of URLs, values of secret-looking names."""
    text = _USER_INFO.sub(lambda match: "*" * len(match[0]), text)
    for values in _VALUES:
        text = values.sub(
            lambda match: match[0][: match.start(1) - match.start()] + "*" * len(match[1]), text
        )
    return text


def mask_paths(text: str) -> str:
    """The same, with the paths of its URLs starred out, too: those of chat services are keys. `${NAME}` stays."""
    return mask(_PATH.sub(lambda match: match[1] + _HIDDEN.sub(_stars, match[2]), text))


def _stars(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith("${") else "*" * len(match[0])


def mask_values(value: Any) -> Any:
    """The same, with what looks like a secret starred out in every text."""
    if isinstance(value, dict):
        return {key: _masked_value(key, each) for key, each in value.items()}
    if isinstance(value, list):
        before = ["", *value]
        return [_masked_word(word, each) for word, each in zip(before, value, strict=False)]
    return mask(value) if isinstance(value, str) else value


def _masked_value(key: str, value: Any) -> Any:
    if isinstance(value, str) and looks_secret(key):
        return "*" * len(value)
    return mask_paths(value) if isinstance(value, str) and key in _TARGETS else mask_values(value)


def _masked_word(before: Any, word: Any) -> Any:
    """A word of a command: the value of an option stands in the word after it."""
    option = isinstance(before, str) and before.startswith("-") and "=" not in before
    if option and isinstance(word, str) and not word.startswith("-") and looks_secret(before):
        return "*" * len(word)
    return mask_values(word)
