"""Certificates for servers of tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.process import program


def make_certificate(folder: Path, *addresses: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and further addresses, and its key."""
    names = ",".join(f"IP:{each}" for each in ("127.0.0.1", *addresses))
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", f"subjectAltName={names}"]
    command += [
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]  # what a server has; strict clients take no authority
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key
