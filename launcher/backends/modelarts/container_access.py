"""The first requests of a container to the run's folder: may it list, read, write and delete there, and with which keys?"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping

from launcher.errors import StoreError, StoreRefused
from launcher.storage import ObjectStore
from launcher.storage.registry import Options
from launcher.storage.s3.keychain import key_chain
from launcher.units import show_duration

log = logging.getLogger("launcher.backends.modelarts.container")

AGENCY = (
    "the containers work with the agency of ModelArts: in the console, Permission Management, give it the right to list, read, write "
    "and delete in this bucket (OBS OperateAccess)"
)


def keys_words(env: Mapping[str, str], client: str) -> str:
    """Where the keys are from, and until when they are good; never the keys."""
    if client == "moxing":
        return "through moxing, which has keys of its own"
    keys = key_chain("obs", Options(env=env)).current()
    if keys is None:
        return "with no keys in variables or files; the agency of the machine is asked"
    ends = keys.expires_at
    left = f", good for another {show_duration(max(0.0, ends - time.time()))}" if ends is not None else ""
    return f"with {'temporary ' if keys.token else ''}keys from {keys.origin}{left}"


def check_access(store: ObjectStore, node: int) -> None:
    """Raises StoreError, with what is missing, before the run depends on it. A delete that is refused is a warning."""
    key = f"launches/check-{node}-{secrets.token_hex(4)}"
    data = secrets.token_bytes(16)
    step = "list"
    try:
        next(iter(store.list("launches/")), None)
        step = "write"
        store.put(key, data)
        step = "read"
        back = store.read(key)
    except StoreRefused as error:
        raise StoreRefused(
            f"this container may not {step} in the run's folder: {error.what}", where=error.where, hint=AGENCY
        ) from error
    if back != data:
        log.warning("what was written to %s reads differently", store.url)
    try:
        store.delete(key)
    except StoreError as error:
        log.warning(
            "this container may not delete in the run's folder, so old checkpoints stay: %s", error.what
        )
        return
    log.info("the run's folder can be listed, written, read and deleted in")
