"""The machines of an allocation, asked through `srun`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.backends.slurm.allocation import allocated
from launcher.cli import main
from launcher.errors import BackendError, UsageError
from launcher.ranktable.sources import Choice

FAKES = Path(__file__).parents[3] / "fakes"
MACHINES = FAKES / "machines"

SRUN = """#!/bin/sh
# Runs the task once a node, the last node first, each on its own machine of tests/fakes.
nodes=${1#--nodes=}
[ "$2 $3" = "--ntasks=$nodes --ntasks-per-node=1" ] || { echo "srun: unexpected $*" >&2; exit 1; }
shift 4
k=$nodes
while [ $k -gt 0 ]; do
    k=$((k - 1))
    echo "srun: some banner"
    SLURM_NODEID=$k FAKE_ASCEND="$MACHINES/$(echo "$FAKE_NODES" | cut -d, -f$((k + 1)))" "$@"
done
"""


@pytest.fixture
def allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A Slurm allocation of the machines named."""

    def make(names: str) -> None:
        srun = tmp_path / "srun"
        srun.write_text(SRUN)
        srun.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{FAKES}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(FAKES.parents[1]))
        monkeypatch.setenv("MACHINES", str(MACHINES))
        monkeypatch.setenv("FAKE_NODES", names)
        monkeypatch.setenv("SLURM_JOB_NUM_NODES", str(names.count(",") + 1))

    return make


@pytest.mark.system
def test_a_slurm_allocation_is_asked_in_node_order(allocation: Callable[[str], None]) -> None:
    allocation("ascend910,unconfigured")
    nodes = allocated("ascend910", Choice(visible=(0,)))
    assert [node.devices[0].device_ip for node in nodes] == ["192.168.100.101", "-.-.-.-"]


@pytest.mark.system
def test_a_slurm_node_that_fails_is_named(allocation: Callable[[str], None]) -> None:
    allocation("ascend910,nowhere")
    with pytest.raises(BackendError, match=r"1 of 2 nodes answered: .*npu-smi info -m"):
        allocated("ascend910", Choice())


def test_slurm_without_an_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    monkeypatch.delenv("SLURM_NNODES", raising=False)
    with pytest.raises(UsageError, match="no Slurm allocation"):
        allocated("ascend910", Choice())


def test_the_command_asks_the_back_end_that_is_named(
    allocation: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allocation("ascend910")
    assert main(["rank-table", "generate", "--allocation", "slurm", "-o", str(tmp_path / "table.json")]) == 0
    assert "192.168.100.101" in (tmp_path / "table.json").read_text()
    assert main(["rank-table", "generate", "--allocation", "local"]) == 2
    assert "no allocations" in capsys.readouterr().err
