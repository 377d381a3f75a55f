"""Seeded runs on ModelArts, each the whole way, with faults of the service and of the machines: nothing is lost, nothing made twice.

Several cases run at a time, each with a fake service of its own and all with one S3 server, because a run mostly waits.
"""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from launcher.runs.index import Index
from tests.fakes.modelarts import account_of, exports, fake_modelarts
from tests.fakes.modelarts_hosts import Hosts
from tests.launcher.backends.modelarts.site import QUICK, Site, well
from tests.seeds import campaign, rng_of
from tests.servers.process import Unavailable
from tests.servers.rotation import PAIRS, Rotation, rotating_keys
from tests.servers.s3 import S3Server, rclone_server

pytestmark = pytest.mark.system

AT_ONCE = 5
REFUSED = ("429", "500", "503", "drop", "html", "portal")
UNCLEAR = ("lost", "broken", "torn", "late 0.3")
LOOK_S = 0.5
FAKES = Path(__file__).parents[3] / "fakes"
CARDS = {
    "PATH": f"{FAKES}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "FAKE_ASCEND": str(FAKES / "machines" / "ascend910"),
}
"""A machine with cards, as far as a program that needs none can tell."""


def keys_as_a_file(rotation: Rotation) -> dict[str, str]:
    """What a container has in place of keys in variables."""
    return {
        "S3_ENDPOINT": rotation.endpoint.partition("://")[2],
        "AWS_SHARED_CREDENTIALS_FILE": str(rotation.file),
        "ACCESS_KEY_ID": "",
        "SECRET_ACCESS_KEY": "",
    }


def one(seed: int, s3: S3Server, bucket: Path, folder: Path) -> None:
    """A run of one or two machines, or of two cards with a process each, whose machines are lost and whose programs die,
    by the seed. Every third has temporary keys in a file, which end and are renewed. Raises AssertionError."""
    account = account_of(s3)
    with ExitStack() as stack:
        fake = stack.enter_context(fake_modelarts(account, folder / "containers", times=QUICK))
        site = Site(folder, bucket, fake, exports(fake, account), Index(), look_s=LOOK_S)
        dice = rng_of(f"run {seed}")
        faults = fake.faults
        faults.add("create", *[dice.choice(REFUSED + UNCLEAR) for _ in range(dice.randint(0, 3))])
        for route in ("search", "show", "stages", "metrics"):
            faults.add(route, *[dice.choice(REFUSED) for _ in range(dice.randint(0, 2))])
        nodes = dice.choice((1, 1, 1, 2))
        options = {"restarts": {"jobs": 3}, "endpoint": fake.endpoint}
        if preset := nodes == 1 and dice.random() < 0.2:
            fake.cloud.extra_env |= CARDS
            options |= {"image": None, "engine": "Ascend:mindspore_2.10", "pool_id": "pool-1", "flavor": None}
        elif dice.random() < 0.5:  # a pool of the user's own, with one machine to spare
            fake.cloud.hosts = Hosts(nodes + 1)
            options |= {"pool_id": "pool-1", "flavor": None}
        rotation = None
        if seed % 3 == 0:
            rotation = stack.enter_context(rotating_keys(s3.endpoint, folder / "keys"))
            fake.cloud.extra_env |= keys_as_a_file(rotation)
        entry = site.submit(
            resources={"nodes": nodes, **({"device": "ascend910", "devices_per_node": 2} if preset else {})},
            modelarts=options,
            env={"STEP_S": "0.3"},
        )
        for _ in range(dice.choice((0, 1, 1, 2))):
            time.sleep(dice.uniform(0.5, 4.0))
            if rotation is not None:  # the keys end, and the new ones may come late
                rotation.expire()
                time.sleep(dice.choice((0.0, 1.0)))
                rotation.write()
            faults.add("any", *[dice.choice(REFUSED) for _ in range(dice.randint(0, 3))])
            if site.job(entry).phase == "Running":
                dice.choice((fake.cloud.lose, fake.cloud.crash))(site.job(entry), dice.randrange(nodes))
        well(site, entry)
        assert len(site.jobs(entry)) == 1


@pytest.fixture(scope="module")
def cases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future[None]]]:
    """All seeds that were asked for, begun together."""
    wanted = [
        item.callspec.params["seed"]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function)
    ]
    root = tmp_path_factory.mktemp("faults")
    bucket = root / "s3" / "bucket"
    bucket.mkdir(parents=True)
    with (
        suppress(Unavailable),
        rclone_server(bucket.parent, more_keys=PAIRS) as s3,
        pytest.MonkeyPatch.context() as patch,
    ):
        account = account_of(s3)
        for key, value in {
            "HUAWEICLOUD_SDK_AK": account.ak,
            "HUAWEICLOUD_SDK_SK": account.sk,
            "HUAWEICLOUD_SDK_PROJECT_ID": account.project_id,
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "NO_PROXY": "127.0.0.1",
            "LAUNCHER_HOME": str(root / "home"),
            "LAUNCHER_NO_AGENCY": "1",
        }.items():
            patch.setenv(key, value)
        for name in ("PATIENCE_S", "CHECK_S"):  # a busy machine answers late
            patch.setattr(f"launcher.backends.modelarts.backend.{name}", 60.0)
        patch.setattr("launcher.backends.modelarts.backend.PAUSE_S", 0.0)
        folders = {seed: root / f"case-{seed}" for seed in wanted}
        for folder in folders.values():
            folder.mkdir()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield {seed: pool.submit(one, seed, s3, bucket, folder) for seed, folder in folders.items()}
            pool.shutdown(cancel_futures=True)
        return
    yield {}


@pytest.mark.random
@pytest.mark.parametrize("seed", campaign(1, 30))
def test_nothing_is_lost_and_nothing_made_twice(cases: dict[int, Future[None]], seed: int) -> None:
    if not cases:
        pytest.skip("NOT TESTED, no S3 server")
    cases[seed].result()
