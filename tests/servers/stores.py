"""Stores of our own on the test servers."""

from __future__ import annotations

import uuid
from typing import Any

from launcher.storage import ObjectStore, open_store
from tests.servers.s3 import S3Server

BUCKET = "bucket"


def open_on(server: S3Server, **options: Any) -> ObjectStore:
    """A store in a new folder of the server's bucket."""
    options = {"endpoint": server.endpoint, "env": server.env, **options}
    return open_store(f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}", **options)
