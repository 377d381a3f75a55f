"""Staging on paper: `python -m benchmarks.scale.staging`. Seconds until each of many machines has ImageNet, and the requests that it takes.

The store gives each account so many bits and requests per second (OBS's default); the line of a machine is the other limit. Disks and the CPU of unpacking
are left out. Only the first three ways exist; in the last one a machine that has a shard hands it on to others, so that the store sends each shard once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FILES, BYTES, SHARDS = 1_281_167, 140e9, 140
STORE_BITS_PER_S, STORE_GETS_PER_S = 16e9, 10_000
NODES = (8, 64, 1024)
LINES_BITS_PER_S = (10e9, 100e9)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to stage. Per machine: `requests` to the store, and `received` bytes; `sent` bytes leave the store in all."""

    name: str
    requests: float
    sent: float
    received: float
    hops: int = 0

    def seconds(self, nodes: int, line_bits_per_s: float) -> float:
        """The slowest of the limits; a shard that is handed on takes the time of one shard for each hop."""
        limits = (
            self.sent * 8 / STORE_BITS_PER_S,
            self.requests * nodes / STORE_GETS_PER_S,
            self.received * 8 / line_bits_per_s,
        )
        return max(limits) + self.hops * BYTES / SHARDS * 8 / line_bits_per_s


def ways(nodes: int) -> list[Way]:
    """All ways for so many machines. Of more machines than shards some get none, unless the shards are made smaller."""
    shards = max(SHARDS, nodes)
    return [
        Way("full copy of the files", FILES, nodes * BYTES, BYTES),
        Way("full copy of shards", SHARDS, nodes * BYTES, BYTES),
        Way("`placement: shard`", shards / nodes, BYTES, BYTES / nodes),
        Way("shards handed on (not built)", SHARDS / nodes, BYTES, BYTES, math.ceil(math.log2(nodes))),
    ]


def table() -> str:
    """In Markdown: a row for each number of machines and each way."""
    lines = [
        "| nodes | way | requests in all | s at 10 Gb/s | s at 100 Gb/s |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for nodes in NODES:
        for way in ways(nodes):
            seconds = " | ".join(f"{way.seconds(nodes, line):,.0f}" for line in LINES_BITS_PER_S)
            lines.append(f"| {nodes:,} | {way.name} | {way.requests * nodes:,.0f} | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
