"""The access keys of a store: from variables and files in order, and other ones once the store refuses them.

A platform may hand out temporary keys as a file that it writes again, so nothing here is read only once. Where there are no keys
of this kind (a role, single sign-on, a cloud machine), botocore or the agency looks for them, and renews them itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from launcher.storage.registry import Options
from launcher.storage.s3.keyfile import ELSEWHERE, KeyFile, Keys, expanded, read_section
from launcher.storage.s3.settings import check_keys

OBS_CREDENTIALS = (
    ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"),
    ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SECURITY_TOKEN"),
)
_STANDARD = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SHARED, PROFILES = "AWS_SHARED_CREDENTIALS_FILE", "CREDENTIAL_PROFILES_FILE"
"""Variables with the name of a file of keys."""
_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")


class Source(Protocol):
    """Where keys may be."""

    def keys(self, env: Mapping[str, str]) -> Keys | None:
        """The keys of this moment; None where there are none."""

    def forget(self) -> None:
        """Look again at the next call."""


class KeyVariables:
    """Key, secret and token in variables."""

    def __init__(self, key: str, secret: str, token: str) -> None:
        self._key, self._secret, self._token = key, secret, token
        self._keys: Keys | None = None

    def keys(self, env: Mapping[str, str]) -> Keys | None:
        """See Source. The same value as before while the variables are the same: every request asks."""
        access, secret = env.get(self._key), env.get(self._secret)
        if not (access and secret):
            return None
        token, last = env.get(self._token) or None, self._keys
        if last is None or (last.access_key, last.secret_key, last.token) != (access, secret, token):
            last = self._keys = Keys(access, secret, token, f"{self._key} in the environment")
        return last

    def forget(self) -> None:
        """Variables are always read."""


class KeyChain:
    """The first keys that the store has not refused. Any thread may use it."""

    def __init__(self, sources: Sequence[Source], env: Mapping[str, str]) -> None:
        self._sources, self._env = tuple(sources), env
        self._refused: set[Keys] = set()
        self._checked: Keys | None = None
        self._lock = threading.Lock()

    def current(self) -> Keys | None:
        """The keys of this moment: a file that has changed is read. Raises StoreRefused for keys that can't be any."""
        with self._lock:
            keys = self._best()
        if keys is not None and keys is not self._checked:  # a look at every character, so once
            check_keys(keys)
            self._checked = keys
        return keys

    def after_refusal(self, keys: Keys | None, *, of_keys: bool) -> Keys | None:
        """The keys to try after the store refused `keys`; None when there are no others.

        `of_keys`: the store said that the keys are wrong, rather than that they may not do this; then another source counts, too.
        """
        with self._lock:
            for source in self._sources:
                source.forget()
            if of_keys and keys is not None:
                self._refused.add(keys)
            other = self._best()
            if other is None or other == keys or other in self._refused:
                self._refused.clear()
                return None
            return other

    def _best(self) -> Keys | None:
        """The first that were not refused, else the first. Files of later sources are not looked at."""
        first = None
        for source in self._sources:
            keys = source.keys(self._env)
            if keys is not None and not (self._refused and keys in self._refused):
                return keys
            first = first or keys
        return first


class ChainCredentials:
    """A chain in the place of botocore's credentials: every request is signed with the keys of its moment."""

    method = "launcher"
    account_id = None

    def __init__(self, chain: KeyChain) -> None:
        self._chain = chain

    @property
    def access_key(self) -> str:
        return self.get_frozen_credentials().access_key

    @property
    def secret_key(self) -> str:
        return self.get_frozen_credentials().secret_key

    @property
    def token(self) -> str | None:
        return self.get_frozen_credentials().token

    def get_frozen_credentials(self) -> Keys:
        """See botocore's credentials."""
        return self._chain.current() or Keys("", "", None)

    def get_deferred_property(self, name: str) -> object:
        """See botocore's credentials."""
        return lambda: getattr(self, name, None)


def key_chain(scheme: str, options: Options) -> KeyChain:
    """The chain of a store's scheme and options. Reads nothing yet."""
    env = os.environ if options.env is None else options.env
    profile = options.profile or env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE") or ""
    sources: list[Source] = []
    if scheme == "obs" and not options.profile:
        sources += [KeyVariables(*names) for names in OBS_CREDENTIALS]
    if options.env is not None or not profile:
        sources.append(KeyVariables(*_STANDARD))
        if env.get("AWS_SECURITY_TOKEN") and not env.get(_STANDARD[2]):
            sources[-1] = KeyVariables(*_STANDARD[:2], "AWS_SECURITY_TOKEN")
    if scheme == "obs" and not profile:
        sources.append(KeyFile(sdk_profile(env), "basic"))
    if not any(env.get(name) for name in _ROLES) and not _has_a_role(env, profile):
        sources.append(KeyFile(env.get(SHARED) or "~/.aws/credentials", profile or "default"))
    if env.get(PROFILES) and not profile:
        sources.append(KeyFile(env[PROFILES]))
    return KeyChain(sources, env)


def sdk_profile(env: Mapping[str, str] = os.environ) -> str:
    """Where Huawei's SDK has its credentials."""
    return env.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE") or f"{env.get('HOME', '~')}/.huaweicloud/credentials"


def _has_a_role(env: Mapping[str, str], profile: str) -> bool:
    """Whether AWS's configuration file names another way to keys for the profile, which botocore goes."""
    path = expanded(env.get("AWS_CONFIG_FILE") or "~/.aws/config")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    section = read_section(text, f"profile {profile}" if profile and profile != "default" else "default")
    return any(section.get(name) for name in ELSEWHERE)
