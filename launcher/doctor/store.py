"""Checks of one object store: reached, allowed to list, write and remove; and is the clock right?"""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path

from launcher.disk import digest_file
from launcher.errors import LauncherError, StoreError
from launcher.findings import Finding
from launcher.storage import ObjectStore
from launcher.storage.address import StoreAddress, is_clear_text
from launcher.storage.brake import PART_BYTES
from launcher.storage.file import FileStore
from launcher.storage.registry import Options
from launcher.storage.s3.keychain import key_chain
from launcher.storage.s3.store import S3Store
from launcher.units import show_duration

PATIENCE_S = 6.0
FAST = 1 << 40
"""A limit for uploads that never slows one down; with any limit parts are small."""
SKEW_WARN_S = 60.0
SKEW_FAIL_S = 900.0
"""S3 and OBS refuse requests whose time is further off than this."""


def store_checks(label: str, address: StoreAddress, *, write: bool) -> list[Finding]:
    """`write` puts, reads and removes a small object and one in parts. Blocks for some seconds when the store does not answer.

    An object whose name is that of a folder to write to is an error, and nothing is written."""
    findings = [_credentials(label, address)] if address.url.startswith(("s3:", "obs:")) else []
    try:
        store = address.open(PATIENCE_S)
        started = time.monotonic()
        first = next(iter(store.list()), None)
    except LauncherError as error:
        return [*findings, _failed(f"{label}: list", error)]
    took = time.monotonic() - started
    what = "something is there" if first else "empty so far"
    findings.append(Finding(f"{label}: list", "ok", f"{address.url}, {what}, {1000 * took:.0f} ms"))
    if is_clear_text(endpoint := address.endpoint_in_use()):
        fix = "use an https:// endpoint"
        findings.append(Finding(f"{label}: encryption", "warning", f"{endpoint} is not encrypted", fix=fix))
    if write:
        try:
            address.refuse_objects_above(PATIENCE_S)
        except StoreError as error:
            return [*findings, _failed(f"{label}: folder", error)]
        findings += _write(label, store)
        if not isinstance(store, FileStore) and all(each.severity != "error" for each in findings):
            findings.append(_write_in_parts(label, address))
    return findings


def _credentials(label: str, address: StoreAddress) -> Finding:
    """Where the credentials come from. Their values are never shown."""
    name = f"{label}: credentials"
    scheme = address.url.partition(":")[0]
    keys = key_chain(scheme, Options(profile=address.profile)).current()
    if address.profile:
        return Finding(name, "ok", f"profile {address.profile}")
    if keys is not None:
        kind = ", temporary" if keys.token else ""
        return Finding(name, "ok", f"from {keys.origin}{kind}")
    fix = "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a profile"
    return Finding(
        name, "warning", "neither in the environment nor in a profile; the machine's own role may do", fix=fix
    )


def _write(label: str, store: ObjectStore) -> list[Finding]:
    key = f".runs/.doctor-{secrets.token_hex(4)}"
    data = secrets.token_bytes(64)
    try:
        before = time.time()
        store.put(key, data)
        after = time.time()
        back, info = store.read(key), store.head(key)
    except StoreError as error:
        return [_failed(f"{label}: write", error)]
    finally:
        removed = _remove(store, key)
    checks = [Finding(f"{label}: write", "ok", "put, read back, removed")]
    if back != data:
        checks = [
            Finding(
                f"{label}: write", "error", "what was read back differs", fix="look for a proxy in between"
            )
        ]
    elif not removed:
        checks = [_left(f"{label}: write", store.join(key))]
    if info is not None and info.mtime:
        checks.append(_clock(label, info.mtime, before, after))
    return checks


def _write_in_parts(label: str, address: StoreAddress) -> Finding:
    """A large object takes other requests than a small one, which may be refused on their own, and has another ETag."""
    name, key = f"{label}: write in parts", f".runs/.doctor-{secrets.token_hex(4)}"
    try:
        store = address.open(PATIENCE_S, upload_bytes_per_s=FAST)
        with tempfile.TemporaryDirectory(prefix="launcher-doctor-") as folder:
            sent, back = Path(folder) / "sent", Path(folder) / "back"
            sent.write_bytes(secrets.token_bytes(PART_BYTES + 1))
            try:
                store.put_file(key, sent)
                info = store.get_file(key, back)
            finally:
                removed = _remove(store, key)
            same = digest_file(sent) == digest_file(back)
    except StoreError as error:
        return _failed(name, error)
    if not same:
        return Finding(name, "error", "what was read back differs", fix="look for a proxy in between")
    if not info.sha256 and isinstance(store, S3Store):
        text = "put and read back, but the store has dropped its metadata, the sha256 among them"
        return Finding(name, "warning", text, fix="look for a proxy that removes headers x-amz-meta-*")
    if not removed:
        return _left(name, store.join(key))
    return Finding(name, "ok", f"{PART_BYTES + 1} bytes put, read back, removed")


def _left(name: str, url: str) -> Finding:
    fix = f"remove {url} by hand; runs work without, but a failed submit can't clean up after itself"
    return Finding(name, "warning", "put and read back, but it can't be removed", fix=fix)


def _clock(label: str, stored: float, before: float, after: float) -> Finding:
    """Stores report whole seconds, so a difference of one second is none."""
    skew = stored - after if stored > after else min(0.0, stored + 1 - before)
    name = f"{label}: clock"
    text = f"{show_duration(abs(skew))} {'behind' if skew > 0 else 'ahead of'} the store"
    fix = "set the clock: timedatectl set-ntp true"
    if abs(skew) >= SKEW_FAIL_S:
        return Finding(name, "error", f"{text}; requests are refused", fix=fix)
    if abs(skew) >= SKEW_WARN_S:
        return Finding(name, "warning", text, fix=fix)
    return Finding(name, "ok", "within a minute of the store's")


def _remove(store: ObjectStore, key: str) -> bool:
    try:
        store.delete(key)
    except StoreError:
        return False
    return True


def _failed(name: str, error: LauncherError) -> Finding:
    text = f"{error.where}: {error.what}" if error.where else error.what
    return Finding(
        name, "error", text.split("\n", 1)[0], fix=error.hint or "check address, endpoint and credentials"
    )
