"""Ranks that meet as torch.distributed does: rank 0 listens at MASTER_ADDR:MASTER_PORT, the others connect and say who they are."""

import json
import os
import socket
import time
from pathlib import Path

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK")
me = {name: int(os.environ[name]) for name in NAMES}
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if me["RANK"] == 0:
    with socket.create_server(address) as server:
        seen = [me]
        while len(seen) < me["WORLD_SIZE"]:
            with server.accept()[0] as peer, peer.makefile() as lines:
                seen.append(json.loads(lines.readline()))
    agents = sorted(name for name in os.environ if name.startswith("TORCHELASTIC_"))
    cluster = sorted(
        name for name in os.environ if name.startswith("MS_") and name != "MS_COMPILER_CACHE_PATH"
    )
    folder = Path(os.environ["LAUNCHER_RUN_DIR"]) / "eval"
    folder.mkdir()
    found = {"ranks": sorted(seen, key=lambda each: each["RANK"]), "agents": agents, "cluster": cluster}
    (folder / "ring.json").write_text(json.dumps(found))
else:
    while True:
        try:
            with socket.create_connection(address, timeout=60) as peer:
                peer.sendall(json.dumps(me).encode() + b"\n")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
