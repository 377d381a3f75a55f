"""An obstore client of one bucket, with the address, keys, certificates and proxy of a route."""

from __future__ import annotations

import functools
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

from launcher.disk import fsync_folder, os_error, part_name, write_all
from launcher.portable import PLAIN_FILE
from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.route import NoRoute, Route

log = logging.getLogger(__name__)

REQUEST_S = 120
"""A request ends after so long, however steadily its bytes drip."""
IDLE_S = 20
"""A connection that was idle for longer is not used again: the server may have closed it."""
IDLE_CONNECTIONS = 64
KEYS_S = 600
"""Keys that renew themselves are asked for again after half of this time."""


class _KeySource:
    """What obstore asks for keys. Credentials renew themselves before their keys expire."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def __call__(self) -> dict[str, Any]:
        """The keys of this moment; obstore asks again some minutes before `expires_at`."""
        keys = self._credentials.get_frozen_credentials()
        renewed = datetime.now(timezone.utc) + timedelta(seconds=KEYS_S)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": renewed,
        }


class Whole(NamedTuple):
    """obstore's `meta` and `attributes`, which it makes anew at each look, and the bytes, or None."""

    meta: Any
    attributes: Any
    data: Any


@dataclass(frozen=True, slots=True)
class ObstoreClient:
    """`get` is obstore's function for `store`; `failed` is raised for lost connections and answers like 503."""

    store: Any
    get: Any
    failed: type[Exception]

    def whole(self, key: str, size: int) -> Whole:
        """A whole object, without the bytes of one that has another size or key."""
        answer = self.get(self.store, key)
        meta = answer.meta
        fits = meta["size"] == size and meta["path"] == key
        return Whole(meta, answer.attributes, answer.bytes() if fits else None)

    def head(self, key: str) -> Any:
        """obstore's answer to a HEAD."""
        return self.get(self.store, key, options={"head": True})

    def part(self, key: str, start: int, length: int) -> tuple[Any, bytes]:
        """obstore's answer and at most `length` bytes from `start`."""
        answer = self.get(self.store, key, options={"range": (start, start + length)})
        return answer, bytes(answer.bytes())


def open_obstore(route: Route, bucket: str) -> ObstoreClient:
    """Contacts nobody. Raises NoRoute when obstore is missing or refuses the settings."""
    try:
        import obstore
        from obstore import exceptions
        from obstore.store import S3Store
    except ImportError as error:
        _report_missing()
        raise NoRoute("obstore is not installed") from error
    options, make_store = _client_options(route), cast(Any, S3Store)
    try:
        store = make_store(
            bucket,
            # obstore reads the environment by itself; this spelling wins over all variables with an endpoint.
            aws_endpoint_url_s3=route.url if route.bucket_in_host else route.url.rpartition("/")[0],
            region=route.region,
            virtual_hosted_style_request=route.bucket_in_host,
            skip_signature=False,
            s3_express=False,
            request_payer=route.requester_pays,
            client_options=options,
            retry_config={"max_retries": 0},
            credential_provider=_KeySource(route.credentials),
        )
    except Exception as error:  # its texts may repeat the settings
        raise NoRoute(f"obstore refuses the settings ({type(error).__name__})") from None
    return ObstoreClient(store, obstore.get, exceptions.GenericError)


def _client_options(route: Route) -> dict[str, Any]:
    """Raises NoRoute when the certificates can't be read."""
    options: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": f"{s3_client.CONNECT_TIMEOUT_S}s",
        "read_timeout": f"{int(s3_client.READ_TIMEOUT_S * 1000)}ms",
        "timeout": f"{REQUEST_S}s",
        "pool_idle_timeout": f"{IDLE_S}s",
        "pool_max_idle_per_host": str(IDLE_CONNECTIONS),
    }
    if route.ca_bundle:
        options["root_certificate"] = _certificates(route.ca_bundle)
    if route.proxy:
        return options | {"proxy_url": route.proxy}
    # Without a proxy obstore looks for one in the environment, and reads NO_PROXY in a way of its own.
    return options | {"proxy_url": "http://localhost", "proxy_excludes": "*,0.0.0.0/0,::/0"}


@functools.cache
def _report_missing() -> None:
    """Once per process."""
    log.warning(
        "obstore is not installed: boto3 alone serves the store, with six times the CPU time per small object"
    )


def _certificates(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise NoRoute("the file with certificates can't be read") from error


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN_FILE


def write_body(path: str, data: Any, *, fsync: bool) -> bool:
    """Under the part name, then renamed. False when that name is taken: by another process, or left by one."""
    folder, _, name = path.rpartition("/")
    part = f"{folder}/{part_name(name)}"
    try:
        handle = os.open(part, _NEW, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise os_error(error, path) from error
    try:
        try:
            if os.write(handle, data) != len(data):
                os.lseek(handle, 0, os.SEEK_SET)
                write_all(handle, memoryview(data))
            if fsync:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(part, path)  # noqa: PTH105  # a third of the time of the method, a million times
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108
        if isinstance(error, OSError):
            raise os_error(error, path) from error
        raise
    if fsync:
        fsync_folder(Path(folder))
    return True
