"""A signature of plan.json: it proves that the plan was made with a key of this home or of the team.

The key of a home is the file `signing.key` in `$LAUNCHER_HOME`, made with the first signature. `LAUNCHER_SIGNING_KEY` is a key that
several people share: it signs in place of the home's, and both are accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from launcher.disk import mapped, replacing, write_all
from launcher.errors import UsageError
from launcher.portable import set_mode
from launcher.runfolder.paths import home
from launcher.runfolder.smallfiles import read_small

VARIABLE = "LAUNCHER_SIGNING_KEY"
KEY_FILE = "signing.key"
SHORTEST = 16
_PURPOSE = b"ascend-launcher plan 1\0"


def sign(plan: bytes, env: Mapping[str, str] = os.environ) -> bytes:
    """The content of the signature file. Makes the key of the home where there is none. Raises UsageError, StoreError."""
    return _mac(_team_key(env) or _home_key(home(env), make=True) or b"", plan) + b"\n"


def is_ours(plan: bytes, signature: bytes, env: Mapping[str, str] = os.environ) -> bool:
    """Whether one of our keys made the signature. Raises UsageError, StoreError."""
    keys = [key for key in (_team_key(env), _home_key(home(env), make=False)) if key]
    return any(hmac.compare_digest(_mac(key, plan), signature.strip()) for key in keys)


def _mac(key: bytes, plan: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + plan, hashlib.sha256).hexdigest().encode()


def _team_key(env: Mapping[str, str]) -> bytes | None:
    value = env.get(VARIABLE, "")
    if value and len(value) < SHORTEST:
        raise UsageError(
            f"a key of {len(value)} characters is too short; it needs {SHORTEST}",
            where=VARIABLE,
            hint="python3 -c 'import secrets; print(secrets.token_hex(32))' makes one",
        )
    return value.encode() or None


def _home_key(folder: Path, *, make: bool) -> bytes | None:
    path = folder / KEY_FILE
    with mapped(path):
        with suppress(FileNotFoundError):
            return _checked(path, read_small(path))
        if not make:
            return None
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (
            suppress(FileExistsError),
            replacing(path, new=True) as handle,
        ):  # else another command has made it
            set_mode(handle, 0o600)
            write_all(handle, secrets.token_hex(32).encode() + b"\n")
        return _checked(path, read_small(path))


def _checked(path: Path, text: bytes) -> bytes:
    key = text.strip()
    if len(key) < SHORTEST:
        raise UsageError(
            "this is no key: it was cut off or written by something else",
            where=str(path),
            hint="remove it: a new one is made, and `--trust` continues earlier runs",
        )
    return key
