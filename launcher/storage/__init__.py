"""Object stores behind one protocol: `file://`, `s3://`, `obs://`, `memory://`."""

from __future__ import annotations

from launcher.storage.base import ObjectInfo, ObjectStore, Pace
from launcher.storage.registry import open_store, schemes

__all__ = ["ObjectInfo", "ObjectStore", "Pace", "open_store", "schemes"]
