"""Where a store is and how to reach it, as a value that plans can hold."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from launcher.errors import StoreError, StoreRefused, UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.registry import Options, parse_url


class StoreAddress(BaseModel):
    """Holds no credentials: those are read from the environment or from `profile` when the store is opened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    ca_bundle: str | None = None
    addressing: str = "auto"

    def open(self, patience_s: float = 60.0, *, upload_bytes_per_s: int | None = None) -> ObjectStore:
        """Opens no connection yet; `patience_s` bounds the retries of each operation. Raises UsageError for a URL that names no store."""
        facts = self.model_dump(exclude={"url"})
        return open_store(self.url, patience_s=patience_s, upload_bytes_per_s=upload_bytes_per_s, **facts)

    def endpoint_in_use(self) -> str:
        """Where requests go, as this address or else the environment says. Empty: no server, AWS itself, or not known."""
        location = parse_url(self.url)
        if location.scheme not in ("s3", "obs"):
            return ""
        from launcher.storage.s3.client import resolve  # other stores need none of it

        with suppress(UsageError):
            facts = self.model_dump(exclude={"url"})
            return resolve(location, Options(**facts)).endpoint or ""
        return ""

    def refuse_objects_above(self, patience_s: float = 60.0) -> None:
        """Raises StoreError when the folder of this address, or one above it, is an object or a file.

        A bucket takes both, and no disk can hold them. An object that may not be asked for is passed over.
        """
        location = parse_url(self.url)
        if location.scheme == "file":
            folders = [Path(location.path), *Path(location.path).parents]
            in_the_way = next(
                (str(each) for each in folders if os.path.lexists(each) and not each.is_dir()), None
            )
        else:
            root = f"{location.scheme}://{location.bucket}"
            in_the_way = self.model_copy(update={"url": root})._object_above(location.path, patience_s)
        if in_the_way:
            raise StoreError(
                f"this is {'a file' if location.scheme == 'file' else 'an object'}, and would be a folder, too",
                where=in_the_way,
                hint="name another target, or rename that one",
            )

    def _object_above(self, path: str, patience_s: float) -> str | None:
        """The URL of the object whose key is `path` or a folder of it; this address is a bucket's."""
        store, names = self.open(patience_s), path.split("/") if path else []
        for count in range(1, len(names) + 1):
            key = "/".join(names[:count])
            with suppress(StoreRefused):
                if store.head(key) is not None:
                    return store.join(key)
        return None

    def child(self, name: str) -> StoreAddress:
        return self.model_copy(update={"url": f"{self.url.rstrip('/')}/{name}"})


def is_clear_text(endpoint: str) -> bool:
    """Whether what is sent there can be read on the way: http, and not to this machine itself."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return False
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    import ipaddress  # a table of runs needs none of it

    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def local_folder(url: str) -> Path | None:
    """The folder that a file:// URL names; None for another URL."""
    return Path(parse_url(url).path) if url.startswith("file:") else None
