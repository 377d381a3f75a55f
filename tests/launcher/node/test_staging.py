"""What staging leaves free on the disk of the cache."""

from pathlib import Path

from launcher.node.staging import _reserve_bytes, disk_bytes
from tests.launcher.backends.modelarts.jobs import make


def test_a_platform_that_empties_a_disk_that_is_nearly_full_gets_its_margin(tmp_path: Path) -> None:
    plan = make(tmp_path).model_copy(update={"cache_dir": str(tmp_path / "not" / "there" / "yet")})
    assert plan.keep_free == 0.1
    assert _reserve_bytes(plan) == int(disk_bytes(tmp_path) * 0.1)
    assert _reserve_bytes(plan.model_copy(update={"keep_free": 0.0})) == 0
