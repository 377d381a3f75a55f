"""A job file for a script of the user's own, with what its text shows: `launcher init --program train.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.errors import UsageError
from launcher.plan.options import Option, Seen, seen_in
from launcher.plan.script import frameworks_of

_PLAIN = re.compile(r"[A-Za-z0-9./_-]*[A-Za-z./_-][A-Za-z0-9./_-]*")


def program_job(script: str, *, name: str | None, backend: str, cwd: Path) -> str:
    """The text of the job file. Raises UsageError for a script that can't be read."""
    path = cwd / script
    try:
        seen = seen_in(path)
    except OSError as error:
        what = f"the script can't be read: {error.strerror}"
        raise UsageError(what, where=script, hint="name the script that you run with python") from error
    frameworks = frameworks_of(["python", script], cwd)
    title = name or re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem)[:64] or "program"
    return "\n".join(_lines(script, title, backend, seen, frameworks, cwd)) + "\n"


def _lines(
    script: str, name: str, backend: str, seen: Seen, frameworks: Sequence[str], cwd: Path
) -> Iterator[str]:
    yield f"# A job of ascend-launcher for {script}. `launcher check FILE` says whether all is well."
    yield f"name: {name}"
    words = ["python", script, *(_filled(seen.data, "{data}") if seen.data else ())]
    if seen.distributed and seen.distributed.is_flag:
        yield f"# With more than one rank add {seen.distributed.word} to program."
    yield f"program: {_flow(words)}"
    if seen.resume:
        yield f"resume_args: {_flow(_filled(seen.resume, '{resume}'))}   # added when there is a checkpoint"
    else:
        yield "# The script has no option for a checkpoint to resume from: a restart would begin from the start."
        yield '#resume_args: [--resume, "{resume}"]'
    if frameworks:
        yield f"requires: {_flow(frameworks)}"
    if seen.data:
        yield "data:"
        yield f"  url: {_word(_data_url(seen.data, cwd))}   # fills {{data}}: a folder, or obs:// or s3://"
    yield "resources:"
    yield f"  backend: {backend}"
    yield "  device: cpu                # or ascend910, ascend910b, atlas-a3"
    several = "" if seen.forms_group else "   # more would each train for itself: the script forms no group"
    yield f"  devices_per_node: 1{several}"
    yield "output: {url: runs}"
    yield "retry: {max_restarts: 1}" if seen.resume else "#retry: {max_restarts: 1}"
    if seen.has_loss_monitor and seen.epochs and type(seen.epochs.default) is int:
        yield f"progress: {{total_epochs: {seen.epochs.default}}}   # default of {seen.epochs.word}; gives the time left"


def _filled(option: Option, value: str) -> tuple[str, ...]:
    """An option with its value, or the value alone for a positional argument."""
    return (option.word, value) if option.word.startswith("-") else (value,)


def _data_url(option: Option, cwd: Path) -> str:
    default = option.default
    return default if isinstance(default, str) and default and (cwd / default).exists() else "data"


def _flow(words: Sequence[str]) -> str:
    return f"[{', '.join(map(_word, words))}]"


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
