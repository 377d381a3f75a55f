"""A training that is killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import vitmodels
from launcher.proof.bench import Bench, Outcome
from launcher.proof.model import Proof
from launcher.submission.rehearse import make_images

LIMIT_S = 150.0
CLASSES = 2
RECIPE = Path(vitmodels.__file__).parent / "configs" / "tnt_digits.yaml"
SETTINGS = ("epochs=4", "batch_size=4", "eval_batch_size=4", "warmup_length=1")


def prove_resume(bench: Bench) -> Iterator[Proof]:
    """A small TNT trains twice, for four epochs; the second time it is killed after a checkpoint."""
    claim = "a killed training resumes to the last bit"
    make_images(bench.folder / "images", CLASSES)
    options = {
        "data": {"url": str(bench.folder / "images"), "cache_dir": str(bench.folder / "cache")},
        "retry": {"max_restarts": 1, "backoff": "1s"},
    }
    device = "cpu" if bench.on_cpu else "ascend"
    training = ["--", "--config", str(RECIPE), "--data", "{data}", "--device", device]
    training += [word for setting in SETTINGS for word in ("--set", setting)]
    whole = bench.run("whole", ["train", *training], LIMIT_S, options=options)
    if not whole.succeeded:
        yield whole.failed(claim)
        return
    killed = bench.run("killed", ["train", "--die", *training], LIMIT_S, options=options)
    if not killed.succeeded:
        yield killed.failed(claim)
        return
    yield _compared(claim, whole, killed)


def _compared(claim: str, whole: Outcome, killed: Outcome) -> Proof:
    runs = (whole.run.id, killed.run.id)
    step = next((each.resumed_step for each in reversed(killed.view.attempts) if each.resumed_step), None)
    if len(killed.view.attempts) < 2 or step is None:
        return Proof(claim, "differs", "it was not resumed from a checkpoint", runs)
    last, killed_last = _last_step(whole), _last_step(killed)
    expected, actual = _arrays(whole, last), _arrays(killed, killed_last)
    changed = sorted(
        name for name in expected.keys() | actual.keys() if actual.get(name) != expected.get(name)
    )
    figures = {"last_step": last, "resumed_step": step, "arrays": len(expected), "changed": changed}
    if not expected or changed or killed_last != last:
        text = f"resumed from step {step}; at step {killed_last} of {last} {len(changed)} of {len(expected)} arrays differ"
        return Proof(claim, "differs", text, runs, figures)
    text = f"killed, resumed from step {step}: the {len(expected)} arrays of step {last} are the same, bit for bit"
    return Proof(claim, "shown", text, runs, figures)


def _last_step(outcome: Outcome) -> int:
    manifests = [n for n in outcome.folder.sizes("checkpoints/") if n.endswith("/manifest.json")]
    return max((outcome.folder.json(name)["step"] for name in manifests), default=-1)


def _arrays(outcome: Outcome, step: int) -> dict[str, str]:
    """Digests of the weights and of the optimiser's state by file and name: the files also hold metadata, in any order."""
    digests = {}
    for name in outcome.folder.sizes(f"checkpoints/step-{step}/"):
        if name.endswith(".safetensors"):
            for array, digest in array_digests(outcome.folder.read(name)).items():
                digests[f"{Path(name).name} {array}"] = digest
    return digests


def array_digests(data: bytes) -> dict[str, str]:
    """SHA-256 of each array of a safetensors file, with its type and shape."""
    start = 8 + int.from_bytes(data[:8], "little")
    digests = {}
    for name, array in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, end = array["data_offsets"]
            kind = f"{array['dtype']} {array['shape']} ".encode()
            digests[name] = hashlib.sha256(kind + data[start + first : start + end]).hexdigest()
    return digests
