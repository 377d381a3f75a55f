"""Whether the Python, the command and the script that a job names exist, before anything starts.

This machine is looked at where the run will be here. For other platforms only what is certain counts: a relative name must be here,
since it is resolved here; a whole path may exist on their machines only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.backends import get_backend
from launcher.findings import Finding, Severity
from launcher.installed import try_imports
from launcher.jobfile.spec import JobSpec
from launcher.plan.model import Plan
from launcher.plan.options import names_above
from launcher.plan.places import Naming
from launcher.plan.script import (
    PYTHON,
    Script,
    is_python,
    mentions,
    modules_of,
    script_of,
    search_path,
    value_of,
    with_python,
)
from launcher.snapshot.select import MOST_BYTES, MOST_FILES, Selection, largest
from launcher.units import show_bytes
from vitmodels.suggest import nearest

_RESUMES = ("{resume}", "LAUNCHER_RESUME", "LAUNCHER_RUN_DIR")
"""With one of these a program is told what to resume from, or keeps the contract."""
_SCRIPTS = (".py", ".sh")
"""Names with such an end are files that a program reads, and never ones that it writes."""
SHOWN = 5
_OUTSIDE_FIX = 'let it write to a relative folder such as ./ckpt, or below "{run_dir}"; else copy it yourself after the run'
_SETTINGS = (".yaml", ".yml", ".toml")


def check_program(spec: JobSpec, plan: Plan, cwd: Path, env: Mapping[str, str]) -> list[Finding]:
    """Findings PF040 to PF043, PF047 and PF049. Reads the script and what it imports; a module that does not lie below `cwd` is asked of its Python."""
    backend = get_backend(plan.backend)
    look = _Look(plan, cwd, env, here=not backend.runs_elsewhere, shared=backend.shares_files)
    if spec.program is None:
        return list(look.command(plan.python, "local.python"))
    first = spec.program[0]
    program = with_python(spec.program, plan.python)
    found = [*look.command(program[0], f"{plan.backend}.python" if first in PYTHON else "program")]
    if script := script_of(program):
        found += look.script(script, "" if found else program[0])
        found += look.above(script, program)
        words = program[program.index(script.word) + 1 :] if script.word in program else ()
    else:
        words = () if is_python(program[0]) else program[1:]
        found += look.scripts(words)
    if finding := _can_resume(spec, cwd, backend.starts_again):
        found.append(finding)
    return [*found, *look.settings(words), *look.outside(spec)]


def check_snapshot(selection: Selection) -> list[Finding]:
    """Findings PF045, PF046 and PF050: what can't be in the snapshot, what must not be, and what is linked in its place."""
    found = []
    if selection.left_behind:
        names = largest(selection.left_behind, selection.folder)
        message = (
            f"the snapshot of {selection.folder} can't hold {_few(names)}: "
            f"at most {show_bytes(MOST_BYTES)} and {MOST_FILES:,} files that can be read"
        )
        fix = "name data in data.url, and what the program does not need in .launcherignore"
        found.append(Finding("PF045", "error", message, "program", fix))
    if selection.secrets:
        names = sorted(selection.secrets)
        linked = "linked, not copied" if names[0] in selection.links else "not in the snapshot"
        message = f"{_few(names)} may hold secrets: {linked}"
        fix = "give secrets to the machines by the environment; rename the file if it holds none"
        severity: Severity = "info" if names[0] in selection.links else "warning"
        found.append(Finding("PF046", severity, message, "program", fix))
    if selection.linked:
        names = largest(selection.linked, selection.folder)
        message = f"{_few(names)}: linked, not copied; what the program writes to it changes your own file and is not uploaded"
        fix = "let the program write to new names, in real folders of its working folder"
        found.append(Finding("PF050", "info", message, "program", fix))
    return found


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _can_resume(spec: JobSpec, cwd: Path, starts_again: bool) -> Finding | None:
    """Whether the program gets the checkpoint to resume from, before a failure shows that it does not."""
    if spec.resume_args or any("{resume}" in value for value in spec.env.values()):
        return None
    if mentions(spec.program or (), cwd, _RESUMES):
        return None
    restarts = spec.retry.max_restarts > 0 or starts_again
    return Finding(
        "PF043",
        "warning" if restarts else "info",
        f"{'a restart' if restarts else '`launcher resume`'} begins from the start, unless the program looks for its checkpoint itself",
        "resume_args",
        'add resume_args: [--resume, "{resume}"] with the option of your program, or read LAUNCHER_RESUME in it',
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """`here`: the run will be on this machine. `shared`: its machines see the files of this one."""

    plan: Plan
    cwd: Path
    env: Mapping[str, str]
    here: bool
    shared: bool

    def command(self, word: str, field: str) -> Iterator[Finding]:
        """The first word of a program. One with a placeholder is known on the machine only."""
        if "{" in word:
            return
        if "/" not in word:
            path = search_path(self.plan.python, self.env.get("PATH", os.defpath))
            if self.here and shutil.which(word, path=self.plan.env.get("PATH", path)) is None:
                message = f"there is no program '{word}' beside {self.plan.python} or on PATH"
                yield Finding("PF040", "error", message, field, "install it, or name it with its whole path")
            return
        path_of = self.cwd / word
        if path_of.is_file() and (os.access(path_of, os.X_OK) or not (self.here or self.shared)):
            return
        if path_of.is_dir():
            what = f"{path_of} is a folder, not a program"
        elif path_of.exists():
            what = f"{path_of} can't be executed"
        else:
            what = f"there is no {path_of}"
        yield from self._missing("PF040", word, what, field, _near(path_of) or "name a program that exists")

    def script(self, script: Script, python: str) -> Iterator[Finding]:
        """What a Python runs. `python`: whom to ask for an installed module; empty: nobody."""
        path = self.cwd / script.word
        if "{" in script.word:
            return
        if script.path(self.cwd) is not None:
            if not script.is_module and path.is_file() and not os.access(path, os.R_OK):
                yield Finding("PF041", "error", f"{path} can't be read", "program", f"chmod +r {script.word}")
            return
        if script.is_module:
            if self.here and python:
                top = script.word.partition(".")[0]
                if try_imports(python, [top], folder=self.cwd, env=dict(self.env)).failed:
                    message = (
                        f"there is no module '{script.word}' in {self.cwd}, nor is it installed in {python}"
                    )
                    yield Finding("PF041", "error", message, "program", "name the module that is to run")
            return
        what = f"{path} is a folder without __main__.py" if path.is_dir() else f"there is no script {path}"
        yield from self._missing("PF041", script.word, what, "program", _near(path) or _RELATIVE)

    def above(self, script: Script, program: Sequence[str]) -> Iterator[Finding]:
        """Files above the folder that a script names itself: ranks work in a copy of the folder, beside which they don't lie."""
        path = script.path(self.cwd)
        if path is None or not os.access(path, os.R_OK):
            return
        root = self.cwd if script.is_module else path.parent
        if names := names_above(modules_of(path, root), program, self.cwd):
            message = f"{script.word} names {', '.join(names[:SHOWN])}, outside of {self.cwd}: the ranks don't find it there"
            fix = "name it in a word of program, or with its whole path; or put it into this folder"
            yield Finding("PF047", "warning", message, "program", fix)

    def outside(self, spec: JobSpec) -> Iterator[Finding]:
        """Places to which the program seems to write and which no upload reaches, and those above the folder."""
        argv = self.plan.steps[0].argv
        given = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in argv}
        try:
            naming = Naming(argv, self.cwd, spec.env, self.env)
            places = naming.places()
        except OSError:  # a script or a settings file that can't be read: others say so
            return
        found: dict[bool, dict[str, None]] = {False: {}, True: {}}
        for each in places:
            path = each.path(self.cwd, naming.variables)
            is_unused = not each.is_of_job and each.label in given
            if path and not is_unused and not self._is_ours(path) and each.is_written(path, here=self.shared):
                found[each.text.startswith("..")][str(each)] = None
        for is_relative, names in found.items():
            if names:
                shown = _few(list(names))
                message = (
                    f"ranks work in a copy of this folder, so {shown} is not the place beside it"
                    if is_relative
                    else f"outside of the working folder: {shown}; what the program writes there is not uploaded"
                )
                yield Finding("PF049", "warning", message, "program", _OUTSIDE_FIX)

    def _is_ours(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in (self.plan.cache_dir, self.plan.work_dir))

    def scripts(self, words: Sequence[str]) -> Iterator[Finding]:
        """Scripts among the words of a program that is no Python: `bash train.sh`, `torchrun train.py`."""
        for word in words:
            if word.endswith(_SCRIPTS) and self._names_nothing(word):
                path = self.cwd / word
                what = f"there is no script {path}"
                yield from self._missing("PF041", word, what, "program", _near(path) or _RELATIVE)
                return

    def settings(self, words: Sequence[str]) -> Iterator[Finding]:
        """Other words that name files which a program reads. Only a warning: the program may look elsewhere."""
        for word in words:
            name = value_of(word)
            if name.endswith((*_SETTINGS, ".py")) and self._names_nothing(name):
                path = self.cwd / name
                message = f"there is no file {path}"
                yield Finding("PF042", "warning", message, "program", _near(path) or _RELATIVE)

    def _names_nothing(self, word: str) -> bool:
        """Whether a word that reads like one file's name is none here."""
        if any(letter.isspace() or letter in "{}$*,;:()'\"" for letter in word):
            return False
        return not (self.cwd / word).exists()

    def _missing(self, rule: str, word: str, what: str, field: str, fix: str) -> Iterator[Finding]:
        certain = self.here or not word.startswith("/")
        if certain:
            yield Finding(rule, "error", what, field, fix)
        elif self.shared:
            fix = "make sure that the machines of the run have it"
            yield Finding(rule, "warning", f"{what} on this machine", field, fix)


_RELATIVE = "names are relative to the folder where you type the command"


def _near(path: Path) -> str:
    """The file that was probably meant."""
    try:
        names = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return f"there is no folder {path.parent} either" if not path.parent.exists() else ""
    near = nearest(path.name, names)
    return f"did you mean {near}?" if near else ""
