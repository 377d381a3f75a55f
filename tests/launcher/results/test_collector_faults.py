"""Collecting while a store fails, lies or comes back, and while the program is killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.errors import StoreRefused, StoreUnreachable
from launcher.results.collector import Collector
from launcher.results.restore import restore_latest
from launcher.runfolder.sets import remote_sets
from launcher.storage import open_store
from tests.launcher.results.whole import check_sets
from tests.seeds import examples
from tests.servers.faults import Faults, reset, status
from tests.servers.rundir import RunDir
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


def test_an_outage_is_reported_and_heals(radosgw: S3Server, faults: Faults, run: RunDir) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    collector = Collector(run.root, store, attempt=1)
    run.checkpoint(10)
    collector.sync()
    run.checkpoint(20)
    run.write("eval/last.json", "{}")
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        faults.add(reset, method=method)
    report = collector.sync()
    assert report.error
    assert {each.key for each in report.pending} == {"checkpoints/step-20", "eval/last.json"}
    assert report.latest_step == 10
    with pytest.raises(StoreUnreachable) as caught:
        collector.sync(final=True, budget_s=0.5)
    assert "not safe in the store yet: checkpoints/step-20" in str(caught.value)
    faults.clear()
    assert collector.sync(final=True).latest_step == 20
    check_sets(store)


def test_final_waits_for_a_store_that_comes_back(radosgw: S3Server, faults: Faults, run: RunDir) -> None:
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    run.checkpoint(10)
    faults.add(status(500, "InternalError"), method="PUT", times=3)
    assert Collector(run.root, store, attempt=1).sync(final=True, budget_s=300).complete


def test_refused_is_not_retried_for_long(radosgw: S3Server, run: RunDir) -> None:
    store = open_on(radosgw, env={**radosgw.env, "AWS_SECRET_ACCESS_KEY": "wrong"})
    run.checkpoint(10)
    collector = Collector(run.root, store, attempt=1)
    assert "secret key is wrong" in collector.sync().error
    with pytest.raises(StoreRefused):
        collector.sync(final=True, budget_s=10_000)


def test_damage_on_the_way_is_never_committed(radosgw: S3Server, faults: Faults, run: RunDir) -> None:
    """The list after the upload shows other sizes or ETags: no manifest, no LATEST."""
    store = open_on(radosgw, endpoint=faults.endpoint, patience_s=0.2)
    run.checkpoint(10)
    direct = open_store(store.url, endpoint=radosgw.endpoint, env=radosgw.env)

    def spoil(answer: object) -> None:
        direct.put("checkpoints/step-10/part-0.bin", b"spoiled")

    faults.add(spoil, method="HEAD", path="part-1.bin", times=1)
    collector = Collector(run.root, store, attempt=1)
    report = collector.sync()
    assert [each.key for each in report.pending] == ["checkpoints/step-10"]
    assert report.latest_step is None
    assert collector.sync(final=True).latest_step == 10
    check_sets(direct)


def test_killed_at_random_moments_the_store_is_always_whole(
    rclone: S3Server, run: RunDir, tmp_path: Path, rng: random.Random
) -> None:
    store = open_on(rclone)
    kills = examples(4, 40)
    for number in range(1, kills + 1):
        run.checkpoint(number, files=4, size=50_000)
        run.best(number)
        if number > 3:
            run.drop(number - 3)
        process = subprocess.Popen(
            [sys.executable, "-c", UPLOADER, store.url, str(run.root)],
            env={**os.environ, **rclone.env},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check_sets(store)
    collector = Collector(run.root, store, attempt=1)
    collector.sync(final=True)
    collector.commit({})
    assert sorted(remote_sets(store)) == [kills - 2, kills - 1, kills]
    assert restore_latest(store, tmp_path / "new") == kills


UPLOADER = """
import sys
from pathlib import Path
from launcher.results.collector import Collector
from launcher.storage import open_store
collector = Collector(Path(sys.argv[2]), open_store(sys.argv[1]), attempt=1)
print("ready", flush=True)
collector.sync(final=True)
collector.commit({})
"""
