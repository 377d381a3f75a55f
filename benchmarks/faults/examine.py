"""Everything that can be wrong after a disturbed run."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import re
import time
from pathlib import Path

from benchmarks.faults.injections import FAULTS
from benchmarks.faults.run import Run
from launcher.errors import IntegrityError
from launcher.ranks.orphans import MARK
from launcher.runfolder.manifest import parse_set_manifest
from launcher.runfolder.states import State
from launcher.runs.view import RunView
from launcher.storage import ObjectStore

COUNTER_STARTS = b"starts after step"
LEAVE_S = 90.0
"""How long processes that were asked to end may take, on a busy machine."""


def examine(run: Run, view: RunView, safe: set[int], reference: dict[str, str], fault: str) -> list[str]:
    """One line per thing that is wrong."""
    wrong = []
    if view.state is not State.SUCCEEDED:
        wrong.append(f"hung or failed: {view.state} {view.phase}: {view.reason}")
    deadline = time.monotonic() + LEAVE_S
    while (left := _left_over(run)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        wrong.append(f"orphans: {left}")
    while (owners := _held_locks(run)) and time.monotonic() < deadline:
        time.sleep(0.2)  # one that another run on the machine has just taken does not name its owner yet
    if owners:
        wrong.append(f"locks left: {owners}")
    for reason in run.reasons:
        if "defect" in reason or not re.search(FAULTS[fault].reason, reason):
            wrong.append(f"misjudged: {reason}")
    return wrong + _check_attempts(run, view) + _check_store(run, view, safe, reference)


def _held_locks(run: Run) -> list[str]:
    return run.platform.held_locks(run.entry, run.entry.run_id.rsplit("-", 3)[0])


def _left_over(run: Run) -> dict[str, int]:
    """Any process that carries the run's mark, or runs its node program or keeper."""
    found = run.pids()
    mark = f"{MARK}={run.entry.run_id}:".encode()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(each.startswith(mark) for each in (path / "environ").read_bytes().split(b"\0")):
                found[f"marked {path.name}"] = int(path.name)
    return found


def _check_attempts(run: Run, view: RunView) -> list[str]:
    """Attempts that two node programs had: a number that is there twice, or ranks that started twice in one."""
    store = run.entry.store.open()
    numbers = [each.attempt for each in view.attempts]
    wrong = [f"double attempt: {numbers}"] if len(set(numbers)) != len(numbers) else []
    for info in store.list("logs/"):
        if info.key.endswith("/rank-0.log") and store.read(info.key).count(COUNTER_STARTS) > 1:
            wrong.append(f"double attempt: ranks started twice, {info.key}")
    return wrong


def _check_store(run: Run, view: RunView, safe: set[int], reference: dict[str, str]) -> list[str]:
    """Torn and lost: sets, manifests, and the final parameters."""
    store = run.entry.store.open()
    held = {info.key for info in store.list()}
    sets = sorted(
        key for key in held if key.startswith("checkpoints/step-") and key.endswith("/manifest.json")
    )
    wrong = [each for key in sets for each in _check_set(store, key, held)]
    there = {int(key.split("/")[1].removeprefix("step-")) for key in sets}
    if lost := safe - there:
        wrong.append(f"lost: steps {sorted(lost)} were reported as safe")
    if view.state is State.SUCCEEDED:
        manifest = json.loads(store.read("MANIFEST.json"))
        for entry in manifest["files"]:
            key = entry["name"]
            if key not in held or hashlib.sha256(store.read(key)).hexdigest() != entry["sha256"]:
                wrong.append(f"torn: {key} is not what MANIFEST.json says")
        try:
            wrong += _compare(fingerprint(run), reference)
        except ValueError as error:
            wrong.append(f"torn: {error}")
    return wrong


def _check_set(store: ObjectStore, key: str, held: set[str]) -> list[str]:
    """A checkpoint whose files are not what its manifest says, or that can't be loaded."""
    wrong = []
    prefix = key.removesuffix("manifest.json")
    try:
        files = parse_set_manifest(store.read(key), key).files
    except IntegrityError:
        return [f"torn: {key}"]
    for entry in files:
        data = store.read(prefix + entry.key) if prefix + entry.key in held else b""
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            wrong.append(f"torn: {prefix}{entry.key}")
        elif entry.key.endswith(".safetensors"):
            from safetensors.numpy import load

            load(data)
    return wrong


def _compare(final: dict[str, str], reference: dict[str, str]) -> list[str]:
    differing = sorted(key for key in final if reference and final[key] != reference.get(key))
    if not differing:
        return []
    words = "differs in rounding from" if _close(final, reference) else "different from"
    return [f"{words} the undisturbed run: {', '.join(differing)}"]


def _close(final: dict[str, str], reference: dict[str, str]) -> bool:
    """Same steps, and losses that agree to 1e-4: what the last bits of an operator do, but not a lost or repeated step."""
    rows, others = (
        ast.literal_eval(final.get("losses", "[]")),
        ast.literal_eval(reference.get("losses", "[]")),
    )
    return (
        bool(rows)
        and [row[:2] for row in rows] == [row[:2] for row in others]
        and all(abs(a[2] - b[2]) < 1e-4 * b[2] for a, b in zip(rows, others, strict=True))
    )


def fingerprint(run: Run) -> dict[str, str]:
    """Digests of the newest checkpoint's files, the losses, and the accuracies, from the store."""
    store = run.entry.store.open()
    latest = json.loads(store.read("checkpoints/LATEST"))
    manifest = json.loads(store.read(f"{latest['path']}/manifest.json"))
    found = {entry["name"]: entry["sha256"] for entry in manifest["files"]} | {"step": str(latest["step"])}
    if store.head("metrics.jsonl"):
        rows = [json.loads(line) for line in store.read("metrics.jsonl").splitlines()]
        found["losses"] = str([(row["epoch"], row["step"], row["loss"], row["top1"]) for row in rows])
    for info in store.list("eval/"):
        found[info.key] = str(json.loads(store.read(info.key))["top1"])
    return found
