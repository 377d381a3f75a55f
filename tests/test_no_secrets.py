"""No file of this repository holds a key: tracked files are searched for the shapes that keys have."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHAPES = {
    "access key of AWS": rb"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    "private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{200,}",
    "token of GitHub": rb"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36}",
    "token of GitLab": rb"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20}",
    "token of Slack": rb"(?<![A-Za-z0-9])xox[abposr]-[0-9A-Za-z-]{10,}",
    "token of Hugging Face": rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}",
    "key of a PyPI account": rb"pypi-AgE[A-Za-z0-9_-]{50,}",
    "password in a URL": rb"(?:https?|s3|obs)://[^\s/:@\"'{}<>$]+:[^\s/@\"'{}<>$*]{12,}@(?!example|127|localhost|proxy|host|store|bucket)",
    "web token": rb"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
}
EXAMPLES = {b"AKIAIOSFODNN7EXAMPLE", b"ASIAIOSFODNN7EXAMPLE"}
"""Keys of the vendor's own documentation."""


def found_in(data: bytes) -> list[str]:
    """Kinds of keys in a file."""
    return [
        kind
        for kind, shape in SHAPES.items()
        if any(match[0] not in EXAMPLES for match in re.finditer(shape, data))
    ]


def test_no_tracked_file_holds_a_key() -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(
        b"\0"
    )
    files = [path for name in names if name and (path := ROOT / name.decode()).is_file()]
    assert files
    assert {
        path.relative_to(ROOT).as_posix(): kinds for path in files if (kinds := found_in(path.read_bytes()))
    } == {}


def test_keys_are_found() -> None:
    letters = b"Q7" * 40
    made = {
        "access key of AWS": b"AKIA" + letters[:16],
        "private key": b"-----BEGIN RSA " + b"PRIVATE KEY-----\n" + letters * 4,
        "token of GitHub": b"ghp_" + letters[:36],
        "token of GitLab": b"glpat-" + letters[:20],
        "token of Slack": b"xoxb-" + letters[:20],
        "token of Hugging Face": b"hf_" + letters[:34],
        "key of a PyPI account": b"pypi-AgE" + letters,
        "password in a URL": b"https://me:" + letters[:14] + b"@files.company.com",
        "web token": b".".join([b"eyJ" + letters[:30]] * 2 + [letters[:30]]),
    }
    assert {kind: kind in found_in(b"key = " + text + b"\n") for kind, text in made.items()} == dict.fromkeys(
        SHAPES, True
    )
