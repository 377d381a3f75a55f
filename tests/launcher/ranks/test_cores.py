"""Slices of cores, over made-up machines."""

from pathlib import Path

import pytest

from launcher.ranks.cores import nearest, numa_nodes, parse_cpulist, share_cores


def machine(folder: Path, nodes: dict[int, str], siblings: dict[int, str] | None = None) -> Path:
    """A sysfs tree: NUMA nodes with their cpulists, and thread siblings by core."""
    for node, cpulist in nodes.items():
        place = folder / "node" / f"node{node}"
        place.mkdir(parents=True)
        (place / "cpulist").write_text(f"{cpulist}\n")
    for core, text in (siblings or {}).items():
        place = folder / "cpu" / f"cpu{core}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{text}\n")
    return folder


def test_eight_ranks_of_a_kunpeng_stay_inside_their_nodes(tmp_path: Path) -> None:
    """192 cores on 8 nodes of 24."""
    numa = numa_nodes(machine(tmp_path, {n: f"{24 * n}-{24 * n + 23}" for n in range(8)}))
    slices = share_cores(range(192), 8, numa)
    assert slices == [tuple(range(24 * n, 24 * n + 24)) for n in range(8)]
    for pair in zip(share_cores(range(192), 16, numa), range(16), strict=True):
        assert {core // 24 for core in pair[0]} == {pair[1] // 2}


def test_hyper_threads_of_one_core_belong_to_one_rank(tmp_path: Path) -> None:
    """Two sockets of two cores, with the second threads numbered from 4."""
    siblings = {core: f"{core % 4},{core % 4 + 4}" for core in range(8)}
    numa = numa_nodes(machine(tmp_path, {0: "0-1,4-5", 1: "2-3,6-7"}, siblings))
    assert share_cores(range(8), 4, numa) == [(0, 4), (1, 5), (2, 6), (3, 7)]


def test_a_limited_set_of_cores_is_respected_and_shared_equally(tmp_path: Path) -> None:
    numa = numa_nodes(machine(tmp_path, {0: "0-7", 1: "8-15"}))
    slices = share_cores([0, 1, 2, 3, 8, 9], 2, numa)
    assert slices == [(0, 1), (8, 9)]  # the slower one would set the pace


def test_fewer_ranks_than_nodes_and_odd_numbers_get_equal_slices(tmp_path: Path) -> None:
    numa = numa_nodes(machine(tmp_path, {n: f"{4 * n}-{4 * n + 3}" for n in range(4)}))
    assert share_cores(range(16), 2, numa) == [tuple(range(8)), tuple(range(8, 16))]
    slices = share_cores(range(16), 3, numa)
    assert [len(each) for each in slices] == [5, 5, 5]
    assert len({core for each in slices for core in each}) == 15


def test_ranks_get_the_cores_next_to_their_devices(tmp_path: Path) -> None:
    """Cards 0-3 on the second socket, as on many servers."""
    numa = numa_nodes(machine(tmp_path, {0: "0-7", 1: "8-15"}))
    slices = share_cores(range(16), 8, numa)
    near = nearest(slices, [1, 1, 1, 1, 0, 0, 0, 0])
    assert near == [(8, 9), (10, 11), (12, 13), (14, 15), (0, 1), (2, 3), (4, 5), (6, 7)]
    assert nearest(slices, [1, 1, 1, -1, 0, 0, 0, 0]) == slices
    assert nearest([()], [0]) == [()]


def test_memory_only_nodes_and_unknown_cores_do_no_harm(tmp_path: Path) -> None:
    numa = numa_nodes(machine(tmp_path, {0: "0-3", 1: ""}))
    assert numa == [[0, 1, 2, 3]]
    assert share_cores([0, 1, 2, 3, 64, 65], 2, numa) == [(0, 1, 2), (3, 64, 65)]
    assert numa_nodes(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("cores", "ranks", "expected"),
    [
        ([0, 1, 2, 3], 2, [(0, 1), (2, 3)]),
        ([4, 5, 6], 2, [(4,), (5,)]),
        ([0, 1], 4, [(), (), (), ()]),
        ([0, 1], 1, [()]),
    ],
)
def test_without_nodes_cores_are_sliced_in_order(
    cores: list[int], ranks: int, expected: list[tuple[int, ...]]
) -> None:
    assert share_cores(cores, ranks) == expected


def test_cpulists() -> None:
    assert parse_cpulist("0-2,8,10-11\n") == [0, 1, 2, 8, 10, 11]
    assert parse_cpulist("") == []
