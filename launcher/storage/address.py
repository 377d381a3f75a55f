"""Where a store is and how to reach it, as a value that plans can hold."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from launcher.storage import ObjectStore, open_store
from launcher.storage.registry import parse_url, refuse_console_address


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

    def child(self, name: str) -> StoreAddress:
        return self.model_copy(update={"url": f"{self.url.rstrip('/')}/{name}"})


def absolute_url(url: str, cwd: Path) -> str:
    """A URL as it is; a path, relative to `cwd`, as a file:// URL. Raises UsageError for an address of OBS's console."""
    refuse_console_address(url)
    if "://" in url:
        return url
    return (cwd / Path(url).expanduser()).resolve().as_uri()


def local_folder(url: str) -> Path | None:
    """The folder that a file:// URL names; None for another URL."""
    return Path(parse_url(url).path) if url.startswith("file:") else None
