"""A run directory as a training program leaves it, with random contents."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path


class RunDir:
    """Writes what the contract with training programs says, complete-or-absent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def checkpoint(self, step: int, *, files: int = 2, size: int = 2000) -> Path:
        """A complete set."""
        final = self.root / "checkpoints" / f"step-{step}"
        folder = final.with_name(f".tmp-step-{step}-1")
        folder.mkdir(parents=True)
        entries = []
        for number in range(files):
            data = os.urandom(size)
            (folder / f"part-{number}.bin").write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            entries.append({"name": f"part-{number}.bin", "size": size, "sha256": digest})
        manifest = {
            "format": 1,
            "step": step,
            "epoch": step // 10,
            "arch": "tiny",
            "files": entries,
            "metrics": {},
        }
        (folder / "manifest.json").write_text(json.dumps({**manifest, "kind": "train-state"}))
        if final.exists():
            shutil.rmtree(final)
        folder.rename(final)
        return final

    def drop(self, step: int) -> None:
        """What keep_checkpoint_max does."""
        gone = self.root / "checkpoints" / f".gone-step-{step}"
        (self.root / "checkpoints" / f"step-{step}").rename(gone)
        shutil.rmtree(gone)

    def best(self, step: int, top1: float = 0.9) -> None:
        """best.json, replaced atomically."""
        self.write("checkpoints/best.json", json.dumps({"step": step, "top1": top1}))

    def write(self, key: str, text: str) -> Path:
        """Any file, complete or absent."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name("." + path.name)
        temporary.write_text(text)
        return temporary.replace(path)

    def append(self, key: str, text: str) -> None:
        """A growing file."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder that is not hidden."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
