"""The code of a job in the store: launcher, vitmodels and the user's folders, uploaded once per content.

<output.url>/.code/<digest>/boot.py      verifies and unpacks code.zip, then starts launcher.backends.modelarts.container
<output.url>/.code/<digest>/code.zip     written first, so that a folder with a boot file is complete
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.request import BOOT, CODE_DIGEST, code_url
from launcher.errors import PlanError
from launcher.plan.code import CODE, Archive, code_digest, code_files, write_archive
from launcher.plan.model import Plan
from launcher.storage import ObjectStore

REQUIREMENTS = "requirements.txt"
MOST_BYTES = 5 << 30
MANY_BYTES = 50 << 20


def code_bytes(plan: Plan) -> int:
    """Bytes of all files, before they are compressed. Raises PlanError."""
    with _errors_of_the_job():
        return sum(path.stat().st_size for _, path in code_files(options_of(plan).code))


def make_archive(plan: Plan, folder: Path) -> Archive:
    """Write code.zip into `folder`. Raises PlanError."""
    options = options_of(plan)
    texts = {REQUIREMENTS: "\n".join(options.requirements) + "\n"} if options.requirements else {}
    with _errors_of_the_job():
        return write_archive(folder / CODE, options.code, texts)


def digest_of(plan: Plan) -> str:
    """The digest that a submission would compute now; zeros for code that a submission refuses."""
    options = options_of(plan)
    if not options.code and not options.requirements:
        return code_digest()
    try:
        if code_bytes(plan) > MOST_BYTES:
            return CODE_DIGEST
        with tempfile.TemporaryDirectory(prefix="launcher-code-") as folder:
            return make_archive(plan, Path(folder)).digest
    except (PlanError, OSError):
        return CODE_DIGEST


def upload_archive(plan: Plan, archive: Archive) -> bool:
    """Upload it unless the store has it. True when something was sent. Raises StoreError. Safe to repeat."""
    store = plan.store.model_copy(update={"url": code_url(plan, archive.digest)}).open()
    boot = Path(__file__).with_name(BOOT).read_bytes()
    if _has(store, CODE, archive.bytes) and _is(store, BOOT, boot):
        return False
    store.put_file(CODE, archive.path)
    store.put(BOOT, boot)
    return True


def _has(store: ObjectStore, key: str, size: int) -> bool:
    info = store.head(key)
    return info is not None and info.size == size


def _is(store: ObjectStore, key: str, data: bytes) -> bool:
    """The boot file verifies everything else, and nothing verifies the boot file but this."""
    return _has(store, key, len(data)) and store.read(key) == data


@contextmanager
def _errors_of_the_job() -> Iterator[None]:
    """A folder or file that can't be packed becomes a PlanError that names the field of the job file."""
    try:
        yield
    except PlanError as error:
        error.where = error.where or "modelarts.code"
        raise
    except OSError as error:
        raise PlanError(
            f"{error.filename or 'a file'} can't be read: {error.strerror or error}",
            where="modelarts.code",
            hint="make it readable, or move it out of these folders",
        ) from error
