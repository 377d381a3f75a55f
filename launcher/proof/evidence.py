"""One file to attach to a report: the proofs, what is known of the machine, and the runs behind them without their weights."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.devices.probe import Probe
from launcher.disk import replacing, write_all
from launcher.doctor.machine import device_checks, machine_checks
from launcher.errors import LauncherError, NotFound
from launcher.proof.bench import Bench
from launcher.proof.model import Proof
from launcher.runs.folder import RunFolder
from vitmodels.secrets import mask

FILE_BYTES = 1 << 20
"""Of a longer file the end is kept."""
_KEPT = (".json", ".jsonl", ".log", ".txt", ".yaml", ".csv")
_TOOLS = (("info",), ("info", "-m"))


def write_evidence(path: Path, bench: Bench, proofs: Sequence[Proof], table: str) -> None:
    """Write a tar.gz, whole or not at all. Secrets in texts are starred out. Raises StoreError, OSError."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in _texts(bench, proofs, table):
            data = mask(text).encode()
            info = tarfile.TarInfo(f"{bench.group}/{name}")
            info.size, info.mtime = len(data), int(time.time())
            archive.addfile(info, io.BytesIO(data))
    with replacing(path) as handle:
        write_all(handle, buffer.getvalue())


def _texts(bench: Bench, proofs: Sequence[Proof], table: str) -> Iterator[tuple[str, str]]:
    yield "table.txt", table + "\n"
    yield "proofs.json", _json([proof.to_dict() for proof in proofs])
    chip = "ascend910" if bench.on_cpu else bench.chip
    checks = [*machine_checks(), *device_checks(chip, asked=not bench.on_cpu)]
    yield "doctor.json", _json([check.to_dict() for check in checks])
    probe = Probe()
    for words in _TOOLS:
        try:
            yield f"npu-smi-{'-'.join(words)}.txt", probe.run(probe.npu_smi, *words)
        except LauncherError as error:
            yield f"npu-smi-{'-'.join(words)}.txt", f"{error}\n"
    for root in sorted((bench.folder / "work").glob("*/")):
        yield from _run_texts(root)


def _run_texts(root: Path) -> Iterator[tuple[str, str]]:
    folder = RunFolder(root)
    for name, size in folder.sizes("").items():
        if name.endswith(_KEPT):
            with suppress(NotFound):  # removed since the folder was read
                data = folder.read(name, max(0, size - FILE_BYTES))
                yield f"runs/{root.name}/{name}", data.decode("utf-8", "replace")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
