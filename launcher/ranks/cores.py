"""Chooses the cores that each rank of a machine is pinned to: equal, disjoint slices, inside one NUMA node if possible."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SYSFS = Path("/sys/devices/system")


def usable_cores() -> list[int]:
    """Cores this process may use, which a container or a scheduler may have limited."""
    return sorted(os.sched_getaffinity(0))


def numa_nodes(sysfs: Path = SYSFS) -> list[list[int]]:
    """Cores of each NUMA node, threads of one physical core side by side; empty where the kernel shows none."""
    nodes = []
    for folder in sorted((sysfs / "node").glob("node[0-9]*"), key=lambda path: int(path.name[4:])):
        cores = parse_cpulist(_read(folder / "cpulist"))
        if cores:  # a node may hold memory only
            nodes.append(sorted(cores, key=lambda core: (_first_sibling(sysfs, core), core)))
    return nodes


def share_cores(
    cores: Sequence[int], ranks: int, numa: Sequence[Sequence[int]] = ()
) -> list[tuple[int, ...]]:
    """Equal slices of `cores`, in rank order; no pinning (empty tuples) with one rank or fewer cores than ranks.

    With as many ranks per NUMA node everywhere, no slice crosses a node. With fewer ranks than nodes a rank
    gets whole nodes. Else slices follow each other in the order of the nodes.

    >>> share_cores([0, 1, 2, 3], 2)
    [(0, 1), (2, 3)]
    >>> share_cores(range(8), 4, numa=[[0, 2, 4, 6], [1, 3, 5, 7]])
    [(0, 2), (4, 6), (1, 3), (5, 7)]
    """
    if ranks == 1 or len(cores) < ranks:
        return [()] * ranks
    usable = set(cores)
    nodes = [[core for core in node if core in usable] for node in numa]
    known = {core for node in nodes for core in node}
    nodes = [node for node in nodes if node]
    if known != usable:
        nodes = [sorted(usable)]
    if ranks % len(nodes) == 0:
        share = ranks // len(nodes)
        if all(len(node) >= share for node in nodes):
            return _equally_many([part for node in nodes for part in _slices(node, share)])
    return _slices([core for node in nodes for core in node], ranks)


def nearest(slices: Sequence[tuple[int, ...]], near: Sequence[int]) -> list[tuple[int, ...]]:
    """The slices of `share_cores` in another order: ranks get them by the NUMA node that their device is connected to.

    `near` has the kernel's number of that node for each rank; as long as one is not known (-1), nothing changes.

    >>> nearest([(0,), (1,), (2,), (3,)], [1, 1, 0, 0])
    [(2,), (3,), (0,), (1,)]
    """
    if len(near) != len(slices) or any(node < 0 for node in near):
        return list(slices)
    order = sorted(range(len(slices)), key=lambda rank: (near[rank], rank))
    place = {rank: index for index, rank in enumerate(order)}
    return [slices[place[rank]] for rank in range(len(slices))]


def parse_cpulist(text: str) -> list[int]:
    """`0-3,8,10-11` as the kernel writes it.

    >>> parse_cpulist("0-2,8")
    [0, 1, 2, 8]
    """
    cores: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            cores.extend(range(int(first), int(last or first) + 1))
    return cores


def _slices(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    each = len(cores) // count
    return [tuple(cores[i * each : (i + 1) * each]) for i in range(count)]


def _equally_many(slices: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Slices of the same size: the slowest rank sets the pace, so more cores for some ranks do not help."""
    least = min(map(len, slices))
    return [each[:least] for each in slices]


def _first_sibling(sysfs: Path, core: int) -> int:
    siblings = parse_cpulist(_read(sysfs / "cpu" / f"cpu{core}" / "topology" / "thread_siblings_list"))
    return min(siblings, default=core)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
