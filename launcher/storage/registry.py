"""From a URL to a store. Implementations are imported on first use, so that the command line starts fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from launcher.errors import UsageError
from launcher.jobfile.console import CONSOLE_ADDRESS, obs_address
from launcher.storage.backoff import BackoffPolicy
from launcher.storage.base import ObjectStore
from launcher.storage.keys import check_key

_OPENERS: dict[str, str] = {
    "file": "launcher.storage.file:open_file",
    "memory": "launcher.storage.memory:open_memory",
    "obs": "launcher.storage.s3.store:open_s3",
    "s3": "launcher.storage.s3.store:open_s3",
}


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a store. Those that a scheme has no use for are ignored by it.

    Attributes:
        endpoint: address of an S3-compatible service; None asks the environment
        region: region to sign for; None asks the environment
        profile: profile of the AWS configuration files
        addressing: "path" (host/bucket/key), "virtual" (bucket.host/key) or "auto"
        ca_bundle: file with the certificates to trust instead of the system's
        follow_symlinks: let a listing of `file://` follow symbolic links
        upload_bytes_per_s: no more than this goes out per second, from this store and its folders
        backoff: how often and how long a failed request is repeated
        env: the environment to look into; None is this process's
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: str = "auto"
    ca_bundle: str | None = None
    follow_symlinks: bool = False
    upload_bytes_per_s: int | None = None
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)
    env: Mapping[str, str] | None = field(default=None, repr=False)  # holds secrets


@dataclass(frozen=True, slots=True)
class Location:
    """A URL, taken apart: `bucket` is the bucket or store name (empty for files), `path` has no outer slashes."""

    scheme: str
    bucket: str
    path: str


def schemes() -> list[str]:
    """Every scheme `open_store` understands, sorted."""
    return sorted(_OPENERS)


def refuse_console_address(url: str) -> None:
    """Raises UsageError, with the form to type, for a bucket or object as the console of OBS shows it."""
    if shown := obs_address(url):
        raise UsageError(CONSOLE_ADDRESS, hint=shown.hint)


def absolute_url(url: str, cwd: Path) -> str:
    """A URL as it is; a path, relative to `cwd`, as a file:// URL. Raises UsageError for an address of OBS's console."""
    refuse_console_address(url)
    if "://" in url:
        return url
    return (cwd / Path(url).expanduser()).resolve().as_uri()


def parse_url(url: str) -> Location:
    """Take a URL or plain path apart. Raises UsageError; a message never repeats credentials from a URL."""
    scheme, separator, rest = url.partition("://")
    refuse_console_address(url)
    if not separator:
        if not url:
            raise UsageError(
                "an empty address names no store", hint="give a folder, file://, s3:// or obs://"
            )
        return Location("file", "", str(Path(url).expanduser().absolute()))
    scheme = scheme.lower()
    if scheme not in _OPENERS:
        known = ", ".join(f"{name}://" for name in schemes())
        raise UsageError(f"unknown scheme '{scheme}://'", hint=f"known are {known} and plain paths")
    bucket, _, path = rest.partition("/")
    if "@" in bucket:
        raise UsageError(
            f"a {scheme}:// address must not contain credentials",
            hint="set them in the environment or in a profile; remove everything before '@'",
        )
    if scheme == "file":
        if bucket not in ("", "localhost"):
            raise UsageError(
                f"{url!r} names a host", hint="write file:///absolute/folder, with three slashes"
            )
        return Location("file", "", "/" + unquote(path).strip("/"))
    if not bucket:
        raise UsageError(f"{url!r} names no bucket", hint=f"write {scheme}://bucket/folder")
    path = path.strip("/")
    if path:
        check_key(path, f"{scheme}://{bucket}")
    return Location(scheme, bucket, path)


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    addressing: str = "auto",
    ca_bundle: str | None = None,
    follow_symlinks: bool = False,
    upload_bytes_per_s: int | None = None,
    patience_s: float = 60.0,
    env: Mapping[str, str] | None = None,
) -> ObjectStore:
    """The store rooted at `url`: `file:///folder`, a plain path, `s3://`, `obs://` or `memory://`.

    Opening contacts nobody. `patience_s` bounds the retries of one operation; see Options for the rest.
    Raises UsageError for an address nobody could open.
    """
    location = parse_url(url)
    options = Options(
        endpoint=endpoint,
        region=region,
        profile=profile,
        addressing=addressing,
        ca_bundle=ca_bundle,
        follow_symlinks=follow_symlinks,
        upload_bytes_per_s=upload_bytes_per_s,
        backoff=BackoffPolicy(patience_s=patience_s),
        env=env,
    )
    module, _, name = _OPENERS[location.scheme].partition(":")
    return cast(ObjectStore, getattr(importlib.import_module(module), name)(location, options))
