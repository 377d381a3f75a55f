"""Two real S3 servers on loopback: `rclone serve s3` (quick, lax) and Ceph radosgw (a production server, strict)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.certificate import make_certificate
from tests.servers.ports import free_port
from tests.servers.process import accepts, program, running, wait_until

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key-0123456789"


@dataclass(frozen=True)
class S3Server:
    """Where a server listens and who may use it. `tls_endpoint` and `ca_bundle` are empty without TLS."""

    endpoint: str
    access_key: str
    secret_key: str
    tls_endpoint: str = ""
    ca_bundle: str = ""

    @property
    def env(self) -> dict[str, str]:
        """Variables that make `launcher` use this server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def shows(self, bucket: str, prefix: str) -> bool:
        """Whether the server shows what was written to its folder behind its back: it looks into one anew after a second."""
        return bool(self.client().list_objects_v2(Bucket=bucket, Prefix=prefix).get("KeyCount"))

    def client(self) -> Any:
        """A plain boto3 client, to look at the server past our own code."""
        import boto3
        from botocore.config import Config

        maker: Any = boto3.client
        return maker(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=32,
            ),
        )


@contextmanager
def rclone_server(
    folder: Path,
    *,
    etag_hash: str = "auto",
    host: str = "127.0.0.1",
    port: int = 0,
    tls: bool = False,
    more_keys: Mapping[str, str] | None = None,
) -> Iterator[S3Server]:
    """Serve a folder by S3: each sub-folder of `folder` is a bucket, at once and without an upload.

    With `tls` it speaks only that. `more_keys`: secrets of further access keys.
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="rclone-") as work:
        log = Path(work) / "log"
        command = [program("rclone"), "serve", "s3", "--config", "/dev/null", "--addr", f"{host}:{port}"]
        command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--vfs-cache-mode", "off", "--no-checksum"]
        command += ["--dir-cache-time", "1s"]  # with 0s the server spins: 2 s of CPU per request
        for key, secret in (more_keys or {}).items():
            command += ["--auth-key", f"{key},{secret}"]
        if etag_hash != "auto":
            command += ["--etag-hash", etag_hash]
        scheme, bundle = "http", ""
        if tls:
            cert, key = make_certificate(Path(work))
            command += ["--cert", str(cert), "--key", str(key)]
            scheme, bundle = "https", str(cert)
        with running([*command, str(folder)], log) as process:
            wait_until(lambda: process.poll() is not None or accepts(port, host), "rclone serve s3", log)
            wait_until(lambda: process.poll() is None, "rclone serve s3", log, timeout_s=0.1)
            address = f"{scheme}://{host}:{port}"
            yield S3Server(address, ACCESS_KEY, SECRET_KEY, address if tls else "", bundle)


def __getattr__(name: str) -> Any:
    """`radosgw_server` lives in a module of its own."""
    if name == "radosgw_server":
        from tests.servers.radosgw import radosgw_server

        return radosgw_server
    raise AttributeError(name)
