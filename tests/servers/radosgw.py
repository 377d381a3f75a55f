"""Ceph radosgw with one monitor and one store in memory: a production S3 server, on loopback, in a temporary folder.

Needs root and the Debian packages radosgw, ceph-mon and ceph-osd; nothing outside the folder is touched.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers.certificate import make_certificate
from tests.servers.ports import free_port
from tests.servers.process import Unavailable, accepts, program, running, wait_until
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.waiting import PATIENCE_S

_CONF = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}/0
public_addr = 127.0.0.1
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
ms_client_mode = crc
ms_cluster_mode = crc
ms_service_mode = crc
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 0
osd_crush_chooseleaf_type = 0
{place}
run_dir = {root}/run
admin_socket = {root}/run/$name.asok
log_file = {root}/log/$name.log
mon_data = {root}/mon
osd_data = {root}/osd
keyring = {root}/keyring
rgw_dns_name = s3.test
rgw_frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} ssl_certificate={cert} ssl_private_key={key}
"""


_IN_MEMORY = "osd_objectstore = memstore\nmemstore_device_bytes = 4294967296"
_ON_DISK = "osd_objectstore = bluestore\nbluestore_block_size = {bytes}"


@contextmanager
def radosgw_server(disk_bytes: int = 0) -> Iterator[S3Server]:
    """Start it; takes about 10 s. Objects are in memory, or in a sparse file of so many bytes. Raises Unavailable where it can't run."""
    if os.geteuid() != 0:
        raise Unavailable("radosgw needs root here")
    tools = {
        name: program(name)
        for name in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph")
    }
    with (
        tempfile.TemporaryDirectory(prefix="radosgw-", ignore_cleanup_errors=True) as folder,
        ExitStack() as stack,
    ):
        root, log = Path(folder), Path(folder) / "output.log"
        for name in ("mon", "osd", "run", "log"):
            (root / name).mkdir()
        (root / "keyring").touch()
        fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
        port, tls_port, mon_port = free_port(), free_port(), free_port()
        cert, key = make_certificate(root)
        conf = root / "ceph.conf"
        place = _ON_DISK.format(bytes=disk_bytes) if disk_bytes else _IN_MEMORY
        conf.write_text(
            _CONF.format(
                fsid=fsid,
                place=place,
                mon_port=mon_port,
                root=root,
                port=port,
                tls_port=tls_port,
                cert=cert,
                key=key,
            )
        )
        env = {**os.environ, "CEPH_CONF": str(conf)}

        def do(name: str, *arguments: str) -> None:
            result = subprocess.run(
                [tools[name], *arguments],
                env=env,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            if result.returncode:
                raise Unavailable(f"{name} failed: {result.stderr[-500:]}")

        address = f"[v2:127.0.0.1:{mon_port}]"
        do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, f"{root}/monmap")
        do("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{root}/monmap")
        stack.enter_context(running([tools["ceph-mon"], "-i", "a", "-f"], log, env))
        do("ceph", "osd", "new", osd_id)
        do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        stack.enter_context(running([tools["ceph-osd"], "-i", "0", "-f"], log, env))
        do(
            "radosgw-admin",
            *("user", "create", "--uid=t", "--display-name=t"),
            *(f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}"),
        )
        stack.enter_context(running([tools["radosgw"], "-n", "client.rgw", "-f"], log, env))
        wait_until(lambda: accepts(port) and accepts(tls_port), "radosgw", log)
        yield S3Server(
            f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, f"https://127.0.0.1:{tls_port}", str(cert)
        )
