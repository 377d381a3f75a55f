"""The first program in a container: verify the code beside this file, unpack it once per container, start it.

Needs nothing but Python's own library, and ends with an error where Python is too old. Installs nothing, unless the code holds
a list of requirements, which it does when the job file asked for that. May be started again in the same
container, and once per card.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

PYTHON = (3, 10)
BAD_CODE = 2
OPTIONAL = ("plan", "endpoint", "region", "client")


def fail(message: str) -> None:
    """End the program with exit code 2: another start would fail the same way."""
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()
    sys.exit(BAD_CODE)


def parse(argv: list[str]) -> argparse.Namespace:
    """Ignores the channels and parameters that the platform adds."""
    parser = argparse.ArgumentParser(prog="boot", allow_abbrev=False)
    for name in ("run", "attempt", "code"):
        parser.add_argument(f"--{name}", required=True)
    for name in OPTIONAL:
        parser.add_argument(f"--{name}", default="")
    return parser.parse_known_args(argv)[0]


def sha256(path: Path) -> str:
    """The digest of a whole file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def unpack(archive: Path, digest: str) -> Path:
    """The folder with the code. The first process unpacks it; a folder under its final name is complete."""
    import fcntl  # not on the laptops that read the constants above

    parent = Path(os.environ.get("MA_MOUNT_PATH") or tempfile.gettempdir()) / "ascend-launcher"
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / digest[:32]
    with (parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        actual = sha256(archive)
        if actual != digest:
            fail(f"{archive} is not the code of this job: sha256 {actual}, expected {digest}")
        part = parent / f"{target.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                Path(file.extract(info, part)).chmod((info.external_attr >> 16) & 0o777 or 0o644)
        install(part)
        part.rename(target)
    return target


def install(folder: Path) -> None:
    """Install the job file's requirements, if there are any that the image does not have."""
    requirements = folder / "requirements.txt"
    if not requirements.exists():
        return
    wanted = requirements.read_text(encoding="utf-8").splitlines()
    is_satisfied = image_check(folder).is_satisfied
    options = ("-i", "-f", "--")  # where pip looks, and no package
    lacking = [line for line in wanted if not line.startswith(options) and not is_satisfied(line)]
    if not lacking:
        sys.stdout.write("the image has all that modelarts.requirements names; nothing is installed\n")
        return
    sys.stdout.write(
        f"installing what modelarts.requirements names and the image lacks: {', '.join(lacking)}\n"
    )
    sys.stdout.flush()
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements)]
    code = subprocess.call([*command, "--target", str(folder / "site")])
    if code:
        fail(
            f"pip ended with {code}; put the packages into the image, or give the container a way to an index"
        )


def check_python() -> None:
    """Ends the program where Python is too old for launcher."""
    if sys.version_info < PYTHON:
        version = ".".join(map(str, sys.version_info[:2]))
        needed = ".".join(map(str, PYTHON))
        fail(
            f"Python {version} in this image; launcher needs {needed} or newer (modelarts.python names another)"
        )


def check_image(folder: Path) -> None:
    """Ends the program where the image can't run launcher."""
    sys.path[:0] = [str(path) for path in search_path(folder)]
    check = image_check(folder)
    good, lines = check.report(check.BASE)
    for line in lines:
        sys.stdout.write(f"image: {line}\n")
    if not good:
        missing = ", ".join(lack.need.module for lack in check.lacks(check.BASE) if not lack.need.without)
        fail(
            f"this image lacks {missing}; take one made with docs/modelarts.md, "
            "or name them in modelarts.requirements"
        )


def image_check(folder: Path) -> Any:
    """The module launcher.imagecheck of the unpacked code, which needs no package."""
    spec = spec_from_file_location("imagecheck", folder / "launcher" / "imagecheck.py")
    assert spec is not None and spec.loader is not None, "the name ends with .py"
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def search_path(folder: Path) -> list[Path]:
    """launcher and vitmodels, installed packages, the user's folders and what lies in them."""
    own = folder / "code"
    inner = sorted(path for path in own.iterdir() if path.is_dir()) if own.is_dir() else []
    return [folder, folder / "site", own, *inner]


def main(argv: list[str]) -> None:
    """Becomes `launcher.backends.modelarts.container`: the same process, so the platform's signals arrive."""
    check_python()
    args = parse(argv)
    archive = Path(__file__).resolve().parent / "code.zip"
    if not archive.exists():
        fail(f"{archive} is not here: the code folder of the job did not arrive as a whole")
    folder = unpack(archive, args.code)
    check_image(folder)
    places = [*map(str, search_path(folder)), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    command = [
        sys.executable,
        "-m",
        "launcher.backends.modelarts.container",
        "--run",
        args.run,
        "--attempt",
        args.attempt,
    ]
    command += ["--code", str(folder)]
    for name in OPTIONAL:
        if getattr(args, name):
            command += [f"--{name}", getattr(args, name)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - no shell


if __name__ == "__main__":
    main(sys.argv[1:])
