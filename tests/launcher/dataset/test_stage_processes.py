"""Several processes that stage the same data set, and processes that die."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.dataset.plain import StageProgress, stage
from launcher.errors import StoreUnreachable
from launcher.storage import open_store
from tests.launcher.dataset.trees import fill, read_tree
from tests.seeds import examples
from tests.servers.faults import Faults, delay
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on
from tests.waiting import PATIENCE_S, wait_until

STAGER = """
import sys, time
from pathlib import Path
from launcher.dataset.plain import stage
from launcher.storage import open_store
staged = stage(open_store(sys.argv[1]), Path(sys.argv[2]), workers=3, timeout_s=400)
print(staged.reused, staged.files)
"""


def start_stager(url: str, cache: Path, server: S3Server) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STAGER, url, str(cache)],
        env={**os.environ, **server.env},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_one_fetches_and_the_others_wait(radosgw: S3Server, faults: Faults, tmp_path: Path) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    tree = fill(store, files=20)
    faults.clear()
    faults.add(delay(0.1), path=".jpg")
    processes = [
        start_stager(store.url, tmp_path, S3Server(faults.endpoint, radosgw.access_key, radosgw.secret_key))
        for _ in range(3)
    ]
    wait_until(lambda: faults.count("GET", ".jpg"), "one of them fetches")
    seen: list[StageProgress] = []
    here = stage(store, tmp_path, progress=seen.append)
    outputs = [process.communicate(timeout=PATIENCE_S)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    fetchers = [output[0] for output in outputs].count("False") + (not here.reused)
    assert fetchers == 1
    assert faults.count("GET", ".jpg") == len(tree)
    assert read_tree(here.path) == tree
    if here.reused and seen:
        assert "process" in (seen[0].waiting_for or "")


@pytest.mark.usefixtures("engine")
def test_killed_at_random_moments_the_next_one_finishes(
    radosgw: S3Server, faults: Faults, tmp_path: Path, rng: random.Random
) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint)
    tree = fill(store, files=24)
    store.put("big.bin", tree.setdefault("big.bin", os.urandom(9 << 20)))
    faults.add(delay(0.05), path=".jpg")
    server = S3Server(faults.endpoint, radosgw.access_key, radosgw.secret_key)
    for _ in range(examples(2, 20)):
        process = start_stager(store.url, tmp_path, server)
        wait_until(lambda: list(tmp_path.glob("datasets/*/boot_id")))
        time.sleep(rng.uniform(0.0, 0.35))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for digest in tmp_path.glob("datasets/*/files"):
            for key, data in read_tree(digest).items():
                if not key.rpartition("/")[2].startswith("."):
                    assert data == tree[key], "a wrong file under a final name"
            if (digest.parent / "COMPLETE.json").exists():
                assert read_tree(digest) == tree
                shutil.rmtree(digest.parent)  # begin anew
    staged = stage(store, tmp_path)
    assert read_tree(staged.path) == tree, "and no part is left"


@pytest.mark.system
def test_waiting_has_an_end_too(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    fill(store)
    digest = stage(store, tmp_path).digest
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom launcher.disk import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    lock = tmp_path / "datasets" / f"{digest}.lock"
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        seen: list[StageProgress] = []
        with pytest.raises(StoreUnreachable, match="out of time"):
            stage(store, tmp_path, timeout_s=0.5, progress=seen.append)
        assert seen[0].waiting_for
    finally:
        holder.kill()
        holder.communicate()
    assert stage(store, tmp_path, timeout_s=PATIENCE_S).reused, "the lock went with its holder"


def test_after_a_crash_of_the_machine_contents_are_read_again(tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}")
    tree = fill(store)
    staged = stage(store, tmp_path)
    home = staged.path.parent
    (home / "COMPLETE.json").unlink()
    (home / "boot_id").write_text("an earlier boot")
    torn = staged.path / "train/c1/1.jpg"
    torn.write_bytes(b"\0" * torn.stat().st_size)  # right size, never written out
    assert read_tree(stage(store, tmp_path).path) == tree
