"""Small objects through obstore, a client in Rust: a fifth of boto3's CPU per object, and no GIL around the wire.

It is the quick way and never the only one. One request, one look at size, ETag and digest; whatever is not plainly
good is left to the careful way of `s3.py`, which retries, resumes, honours Retry-After and knows what to say.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher.errors import StoreUnreachable, UsageError
from launcher.storage import s3_client
from launcher.storage.base import ObjectInfo, Pace
from launcher.storage.download import Wanted
from launcher.storage.localfs import fsync_folder, mapped, part_name, write_all
from launcher.storage.retry import Retrying, RetryPolicy, StoreBusy

ENGINES = ("auto", "obstore", "boto3")
ENGINE_VARIABLE = "LAUNCHER_S3_ENGINE"
WHOLE_BYTES = 2 << 20
"""Objects up to this size are held in memory as a whole, one per worker."""
CAREFUL_S = 10.0
"""So long everything goes the careful way after a 429 or 503: only there Retry-After can be read."""
DISTRUST = 3
"""Wrong digests that the careful way did not confirm, or failures in a row, before this engine is given up."""
TOTAL_TIMEOUT_S = 120
RUNTIME_THREADS = "TOKIO_WORKER_THREADS"
CREDENTIALS_LAST = timedelta(minutes=10)

_STATUS = re.compile(r"status code: (\d{3})")


def wanted_engine(env: Mapping[str, str]) -> str:
    """The one place that chooses: "obstore" or "boto3". Raises UsageError for a word that is neither."""
    word = env.get(ENGINE_VARIABLE) or "auto"
    if word not in ENGINES:
        raise UsageError(f"{ENGINE_VARIABLE}={word}", hint=f"one of {', '.join(ENGINES)}")
    installed = importlib.util.find_spec("obstore") is not None
    if word == "obstore" and not installed:
        raise UsageError(
            f"{ENGINE_VARIABLE}=obstore, but obstore is not installed",
            hint="pip install 'ascend-launcher[fast]', or unset it: boto3 does the same, slower",
        )
    return "obstore" if installed and word != "boto3" else "boto3"


@dataclass(frozen=True, slots=True)
class Bad:
    """Why the careful way is needed. `digest` is True when size and ETag were right and the bytes were not."""

    digest: bool = False


class FastGets:
    """Downloads from one bucket. Any thread may call `fetch`; a forked child is sent the careful way."""

    def __init__(self, holder: s3_client.ClientHolder, bucket: str, policy: RetryPolicy) -> None:
        self._holder = holder
        self._bucket = bucket
        self._policy = policy
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._store: Any = None
        self._off = False
        self._careful_until = 0.0
        self._suspect = 0
        self._failures = 0
        self.fetched = 0
        """How many objects came this way."""

    def usable(self, size: int) -> bool:
        """Whether an object of this size should come this way now."""
        return (
            size <= WHOLE_BYTES
            and not self._off
            and time.monotonic() >= self._careful_until
            and self._pid == os.getpid()
        )

    def fetch(
        self, key: str, path: Path, wanted: Wanted, *, fsync: bool, pace: Pace | None
    ) -> ObjectInfo | Bad:
        """One try. `key` is that of the bucket. After a failure of the line or the store it has waited already.

        Raises StoreUnreachable when `pace` was stopped meanwhile, NoSpace and the like for the local disk.
        """
        try:
            store = self._opened()
            result = _get(store, key)
            data = result.bytes()
        except Exception as error:  # whatever it is, the careful way meets it again and names it
            return self._failed(error, wanted, pace)
        meta = result.meta
        info = ObjectInfo(
            wanted.expect.key if wanted.expect else key,
            meta["size"],
            (meta["e_tag"] or "").strip('"'),
            meta["last_modified"].timestamp(),
        )
        bad = _flaw(info, data, wanted)
        if bad is not None:
            return bad
        if not _write(path, data, fsync=fsync):
            return Bad()
        self.fetched += 1
        self._failures = 0
        return info

    def was_right(self) -> None:
        """The careful way took bytes whose digest this engine refused: encryption, or a line that flips bits."""
        self._suspect += 1
        self._off = self._off or self._suspect >= DISTRUST

    def _failed(self, error: Exception, wanted: Wanted, pace: Pace | None) -> Bad:
        status = int(found[1]) if (found := _STATUS.search(str(error))) else 0
        if status in (401, 403, 404) or isinstance(error, (ValueError, FileNotFoundError)):
            return Bad()
        self._failures += 1
        self._off = self._off or self._failures >= DISTRUST * 8
        if status in (429, 503):
            self._careful_until = time.monotonic() + CAREFUL_S
            Retrying(self._policy, pace).wait(StoreBusy("the store is busy", where=wanted.where))
        else:
            Retrying(self._policy, pace).wait(StoreUnreachable("the request failed", where=wanted.where))
        return Bad()

    def _opened(self) -> Any:
        with self._lock:
            if self._store is None:
                self._store = _open(self._holder, self._bucket)
            return self._store


def _get(store: Any, key: str) -> Any:
    import obstore

    return obstore.get(store, key)


def _flaw(info: ObjectInfo, data: Any, wanted: Wanted) -> Bad | None:
    expect = wanted.expect
    if len(data) != info.size or (expect is not None and info.size != expect.size):
        return Bad()
    if expect is not None and info.etag and expect.etag and info.etag != expect.etag:
        return Bad()
    if info.md5 is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() != info.md5:
        return Bad(digest=True)
    if wanted.sha256 is not None and hashlib.sha256(data).hexdigest() != wanted.sha256:
        return Bad(digest=True)
    return None


def _write(path: Path, data: Any, *, fsync: bool) -> bool:
    """Under the part name, then renamed. False when that name is taken: by another process, or left by one."""
    folder, name = os.path.split(path)
    part = os.path.join(folder, part_name(name))  # noqa: PTH118  # pathlib costs more than the system call
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with mapped(path):
        try:
            handle = os.open(part, flags, 0o666)
        except FileExistsError:
            return False
        try:
            try:
                write_all(handle, memoryview(data))
                if fsync:
                    os.fsync(handle)
            finally:
                os.close(handle)
            os.rename(part, path)  # noqa: PTH104  # a third of the time of the method, a million times
        except BaseException:
            with suppress(OSError):
                os.unlink(part)  # noqa: PTH108
            raise
        if fsync:
            fsync_folder(path.parent)
    return True


def _open(holder: s3_client.ClientHolder, bucket: str) -> Any:
    """An obstore client that goes where the boto3 client goes, with its credentials, certificates and timeouts."""
    from obstore.store import S3Store

    _start_runtime()
    client = holder.get()
    signer = client._request_signer
    target = holder.target
    options: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=s3_client.CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=s3_client.READ_TIMEOUT_S),
        "timeout": timedelta(seconds=TOTAL_TIMEOUT_S),
        "pool_idle_timeout": timedelta(seconds=s3_client.READ_TIMEOUT_S),
        "user_agent": "ascend-launcher",
    }
    certificates = client._endpoint.http_session._verify
    if isinstance(certificates, str):
        options["root_certificate"] = Path(certificates).read_bytes()
    where: dict[str, Any] = {"virtual_hosted_style_request": False}
    if target.endpoint:
        where["endpoint"] = target.endpoint
        if target.addressing == "virtual":
            parts = urlsplit(target.endpoint)
            where = {
                "endpoint": f"{parts.scheme}://{bucket}.{parts.netloc}",
                "virtual_hosted_style_request": True,
            }
    return S3Store(
        bucket,
        region=client.meta.region_name,
        credential_provider=lambda: _credentials(signer),
        client_options=options,
        retry_config={"max_retries": 0},
        **where,
    )


def _start_runtime() -> None:
    """Let obstore's runtime have one thread, in place of one per core of the machine.

    More only hand the work to each other, which costs 7 % of the CPU on two cores; one serves more than a machine's
    workers ask for. It starts with the first call of all, here one that stays in memory.
    """
    import obstore
    from obstore.store import MemoryStore

    if RUNTIME_THREADS in os.environ:
        return
    os.environ[RUNTIME_THREADS] = "1"
    try:
        obstore.put(MemoryStore(), "start", b"")
    finally:
        os.environ.pop(RUNTIME_THREADS, None)


def _credentials(signer: Any) -> dict[str, Any]:
    """What boto3 would sign with now; it is asked again when they may have been renewed."""
    chosen = signer._credentials
    frozen = chosen.get_frozen_credentials()
    renewable = hasattr(chosen, "refresh_needed")
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + CREDENTIALS_LAST if renewable else None,
    }
