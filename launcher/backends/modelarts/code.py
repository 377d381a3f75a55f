"""The code of a job: launcher, vitmodels and the user's folders in one zip with a digest, uploaded once per content.

<output.url>/.code/<digest>/boot.py      verifies and unpacks code.zip, then starts launcher.backends.modelarts.container
<output.url>/.code/<digest>/code.zip     written first, so that a folder with a boot file is complete
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import launcher
from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.request import BOOT, CODE_DIGEST, code_url
from launcher.errors import PlanError
from launcher.plan.model import Plan
from launcher.storage import ObjectStore

CODE = "code.zip"
REQUIREMENTS = "requirements.txt"
MOST_BYTES = 5 << 30
MANY_BYTES = 50 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = {"__pycache__", "node_modules", "venv"}
_HERE = Path(launcher.__file__).parent


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A zip on this machine. The same files give the same bytes, and so the same digest, whatever their times."""

    path: Path
    digest: str
    bytes: int
    files: int


def packages() -> tuple[Path, ...]:
    """The folders of launcher and vitmodels. Raises PlanError where vitmodels is not beside launcher."""
    vitmodels = _HERE.parent / "vitmodels"
    if not vitmodels.is_dir():
        raise PlanError(f"no package vitmodels beside {_HERE}", hint="install ascend-launcher as a whole")
    return _HERE, vitmodels


def code_files(folders: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Names in the zip and the files behind them. Files and folders with a dot in front stay here: they may hold secrets.

    Raises PlanError for a folder that is not there, or two of one name.
    """
    for package in packages():
        yield from _tree(package, package.name)
    names: set[str] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise PlanError(
                f"{folder} is no folder", where="modelarts.code", hint="name folders with your own code"
            )
        if folder.name in names:
            raise PlanError(
                f"two folders of modelarts.code have the name '{folder.name}'", hint="rename one of them"
            )
        names.add(folder.name)
        yield from _tree(folder, f"code/{folder.name}")


def _tree(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    for where, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _LEFT_OUT)
        for file in sorted(files):
            path = Path(where) / file
            if not file.startswith(".") and not file.endswith(".pyc") and path.is_file():
                yield f"{name}/{path.relative_to(root).as_posix()}", path


def code_bytes(folders: Sequence[str]) -> int:
    """Bytes of all files, before they are packed. Raises PlanError."""
    with _told():
        return sum(path.stat().st_size for _, path in code_files(folders))


@contextmanager
def _told(file: Path | None = None) -> Iterator[None]:
    """A file that can't be read as an error of the job. Raises PlanError."""
    try:
        yield
    except OSError as error:
        raise PlanError(
            f"{error.filename or file or 'a file'} can't be read: {error.strerror or error}",
            where="modelarts.code",
            hint="make it readable, or move it out of these folders",
        ) from error


def make_snapshot(plan: Plan, folder: Path) -> Snapshot:
    """Write code.zip into `folder`. Raises PlanError."""
    path = folder / CODE
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in code_files(options_of(plan).code):
            _add_file(archive, name, source)
            count += 1
        if options_of(plan).requirements:
            text = "\n".join(options_of(plan).requirements) + "\n"
            archive.writestr(_info(REQUIREMENTS), text.encode())
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return Snapshot(path, digest.hexdigest(), path.stat().st_size, count)


def digest_of(plan: Plan) -> str:
    """The digest that a submission would find now; zeros for code that can't be packed, which a submission refuses."""
    if not options_of(plan).code and not options_of(plan).requirements:
        return _plain_digest(plan)
    return _digest(plan)


_of_packages: list[str] = []


def _plain_digest(plan: Plan) -> str:
    """The packages don't change while a command runs."""
    if not _of_packages:
        _of_packages.append(_digest(plan))
    return _of_packages[0]


def _digest(plan: Plan) -> str:
    try:
        if code_bytes(options_of(plan).code) > MOST_BYTES:
            return CODE_DIGEST
        with tempfile.TemporaryDirectory(prefix="launcher-code-") as folder:
            return make_snapshot(plan, Path(folder)).digest
    except (PlanError, OSError):
        return CODE_DIGEST


def _add_file(archive: zipfile.ZipFile, name: str, source: Path) -> None:
    """Block by block. A script that can be started here can be started there. Raises PlanError."""
    with _told(source), source.open("rb") as file:
        facts = os.fstat(file.fileno())
        info = _info(name, 0o755 if facts.st_mode & 0o100 else 0o644)
        info.file_size = facts.st_size
        with archive.open(info, "w") as target:
            shutil.copyfileobj(file, target, 1 << 20)


def _info(name: str, mode: int = 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
    return info


def upload_snapshot(plan: Plan, snapshot: Snapshot) -> bool:
    """Bring it to the store unless it is there. True when something was sent. Raises StoreError. Safe to repeat."""
    store = plan.store.model_copy(update={"url": code_url(plan, snapshot.digest)}).open()
    boot = (_HERE / "backends" / "modelarts" / "boot.py").read_bytes()
    if _is_there(store, CODE, snapshot.bytes) and _is_there(store, BOOT, len(boot)):
        return False
    store.put_file(CODE, snapshot.path)
    store.put(BOOT, boot)
    return True


def _is_there(store: ObjectStore, key: str, size: int) -> bool:
    info = store.head(key)
    return info is not None and info.size == size
