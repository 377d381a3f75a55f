"""What must be true of a store at any moment, whoever was killed."""

from __future__ import annotations

import hashlib

from launcher.runfolder.manifest import parse_set_manifest
from launcher.runfolder.sets import read_latest, remote_sets
from launcher.storage import ObjectStore


def check_sets(store: ObjectStore) -> None:
    """The promise to a reader at any moment: each set with a manifest is whole, and LATEST names such a one."""
    steps = set()
    for step, names in remote_sets(store).items():
        if "manifest.json" in names:
            manifest = parse_set_manifest(store.read(f"checkpoints/step-{step}/manifest.json"), "")
            for entry in manifest.files:
                data = store.read(f"checkpoints/step-{step}/{entry.key}")
                assert hashlib.sha256(data).hexdigest() == entry.sha256
            steps.add(step)
    latest = read_latest(store)
    assert latest is None or latest.step in steps
