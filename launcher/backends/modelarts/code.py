"""The code of a job in the store: launcher, vitmodels and the user's folders, uploaded once per content.

<output.url>/.code/<digest>/boot.py      verifies and unpacks code.zip, then starts launcher.backends.modelarts.container
<output.url>/.code/<digest>/code.zip     written first, so that a folder with a boot file is complete

The user's folders are packed once, when a run is submitted. A resume or a retry of it takes them from there, whatever the folders hold by then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.request import BOOT, CODE_DIGEST, code_url
from launcher.errors import IntegrityError, PlanError
from launcher.plan.code import CODE, Archive, code_digest, code_files, rewrite_archive, write_archive
from launcher.plan.model import Plan, SubmittedCode
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
    with _errors_of_the_job():
        return write_archive(folder / CODE, options_of(plan).code, _texts(plan))


def _texts(plan: Plan) -> dict[str, str]:
    requirements = options_of(plan).requirements
    return {REQUIREMENTS: "\n".join(requirements) + "\n"} if requirements else {}


def keep_code(plan: Plan) -> Plan:
    """The plan with the digest of its own folders, which are uploaded now unless that was done. Raises PlanError, StoreError."""
    if plan.own_code is not None or not options_of(plan).code:
        return plan
    with tempfile.TemporaryDirectory(prefix="launcher-code-") as folder:
        archive = make_archive(plan, Path(folder))
        upload_archive(plan, archive)
    kept = SubmittedCode(digest=archive.digest, launcher=code_digest())
    return plan.model_copy(update={"own_code": kept})


def store_code(plan: Plan) -> str:
    """Upload what an attempt runs: launcher's code of now, the user's folders of the submission. Returns its digest.

    Raises PlanError, IntegrityError, StoreError. Safe to repeat.
    """
    if plan.own_code is not None and plan.own_code.launcher == code_digest():
        _put_boot(_kept(plan, plan.own_code))
        return plan.own_code.digest  # the boot file compares it with the content
    with tempfile.TemporaryDirectory(prefix="launcher-code-") as folder:
        archive = _archive_again(plan, Path(folder)) if plan.own_code else make_archive(plan, Path(folder))
        upload_archive(plan, archive)
    return archive.digest


def _archive_again(plan: Plan, folder: Path) -> Archive:
    """The archive of a submission by another launcher, with the code of this one. Raises IntegrityError, StoreError."""
    assert plan.own_code is not None, "only such runs have one"
    earlier = folder / "earlier.zip"
    _kept(plan, plan.own_code).get_file(CODE, earlier, sha256=plan.own_code.digest)
    with _errors_of_the_job():
        return rewrite_archive(folder / CODE, earlier, _texts(plan))


def _kept(plan: Plan, own: SubmittedCode) -> ObjectStore:
    """The folder of the submitted code. Raises IntegrityError when it is gone."""
    store = plan.store.model_copy(update={"url": code_url(plan, own.digest)}).open()
    if store.head(CODE) is None:
        raise IntegrityError(
            "the code that the run was submitted with is not in the store any more",
            where=store.join(CODE),
            hint="submit the job again",
        )
    return store


def digest_of(plan: Plan) -> str:
    """The digest that a submission would compute now; zeros for code that a submission refuses."""
    if plan.own_code is not None:
        return plan.own_code.digest
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
    if _has(store, CODE, archive.bytes):
        return _put_boot(store)
    store.put_file(CODE, archive.path)
    _put_boot(store)
    return True


def _put_boot(store: ObjectStore) -> bool:
    """Upload the boot file unless the store has it. True when it was sent."""
    boot = Path(__file__).with_name(BOOT).read_bytes()
    if _is(store, BOOT, boot):
        return False
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
