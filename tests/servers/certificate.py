"""Certificates for servers of tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.process import program


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += [
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]  # what a server has; strict clients take no authority
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key
