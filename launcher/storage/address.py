"""Where a store is and how to reach it, as a value that plans can hold."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from launcher.errors import UsageError
from launcher.storage import ObjectStore, open_store
from launcher.storage.registry import Options, parse_url, refuse_console_address


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


def absolute_url(url: str, cwd: Path) -> str:
    """A URL as it is; a path, relative to `cwd`, as a file:// URL. Raises UsageError for an address of OBS's console."""
    refuse_console_address(url)
    if "://" in url:
        return url
    return (cwd / Path(url).expanduser()).resolve().as_uri()


def local_folder(url: str) -> Path | None:
    """The folder that a file:// URL names; None for another URL."""
    return Path(parse_url(url).path) if url.startswith("file:") else None
