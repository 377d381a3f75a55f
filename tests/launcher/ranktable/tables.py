"""Nodes and platform lists of the tests of rank tables."""

from __future__ import annotations

from pathlib import Path

from launcher.ranktable import (
    DeviceAddress,
    NodeAddress,
    RankTable,
)

SAMPLES = Path(__file__).parents[3] / "rank_tables"


def node(index: int, count: int = 8, *, sdid: bool = False) -> NodeAddress:
    devices = tuple(
        DeviceAddress(k, f"192.168.{100 + k}.{index + 1}", str(100 * index + k) if sdid else "")
        for k in range(count)
    )
    return NodeAddress(f"10.0.0.{index + 1}", devices, super_pod_id=str(index // 2) if sdid else "")


def group_list(*pods: tuple[str, str, int], status: str = "completed") -> dict[str, object]:
    instances = [
        {
            "pod_name": name,
            "server_id": server,
            "devices": [{"device_id": str(k), "device_ip": f"192.168.{k}.{i + 1}"} for k in range(count)],
        }
        for i, (name, server, count) in enumerate(pods)
    ]
    total = sum(count for _, _, count in pods)
    group = {"group_name": "job", "device_count": str(total), "instance_count": str(len(pods))}
    return {"status": status, "group_count": "1", "group_list": [{**group, "instance_list": instances}]}


def ranks(table: RankTable) -> list[tuple[str, int, int]]:
    return [(server.server_id, device.device_id, device.rank_id) for server, device in table.devices()]


V2 = {
    "status": "completed",
    "version": "2.0",
    "rank_count": 4,
    "rank_list": [
        {
            "rank_id": rank,
            "local_id": rank % 2,
            "device_id": rank % 2,
            "device_port": 16666 + rank,
            "level_list": [
                {
                    "net_layer": 0,
                    "net_instance_id": f"rack{rank // 2}",
                    "net_type": "TOPO_FILE_DESC",
                    "net_attr": "",
                    "rank_addr_list": [
                        {"addr_type": "EID", "addr": f"{rank:032x}", "ports": ["1/0"], "plane_id": "plane0"}
                    ],
                }
            ],
        }
        for rank in range(4)
    ],
}
