"""A URL comes in (`file://`, `s3://`, `obs://`, `memory://`); an ObjectStore goes out, the same protocol for all of them."""

from __future__ import annotations

from launcher.storage.base import ObjectInfo, ObjectStore, Pace
from launcher.storage.registry import open_store, schemes

__all__ = ["ObjectInfo", "ObjectStore", "Pace", "open_store", "schemes"]
