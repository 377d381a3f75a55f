"""The programs of a job: those of vitmodels for its task, or the user's own program."""

from __future__ import annotations

from pathlib import Path

from launcher.jobfile.spec import JobSpec
from launcher.plan.code import file_digest
from launcher.plan.machines import Machines
from launcher.plan.model import Step
from launcher.plan.programwords import placed_words
from launcher.plan.script import is_file, with_python
from launcher.runfolder.paths import RunDir
from launcher.snapshot.select import Selection
from vitmodels.config import Recipe


def steps_of(
    spec: JobSpec,
    recipe: Recipe | None,
    machines: Machines,
    run_dir: RunDir,
    cwd: Path,
    selection: Selection | None,
) -> tuple[Step, ...]:
    """The programs of the task, in order."""
    if spec.program is not None:
        program = with_python(spec.program, machines.python)
        argv = placed_words(program, cwd, machines, selection)
        started = "nodes" if spec.per == "node" else "all"
        return (Step(name=spec.task, argv=argv, ranks=started, resume_args=spec.resume_args or ()),)
    assert recipe is not None, "a job without a program has a recipe"
    device = "cpu" if spec.resources.device == "cpu" else "ascend"
    words = ("--config", run_dir.recipe.as_posix(), "--run-dir", run_dir.root.as_posix(), "--device", device)
    return _Programs(machines.python, words).steps(spec, recipe, run_dir)


class _Programs:
    """The programs of vitmodels, with the words that all of them take."""

    def __init__(self, python: str, common: tuple[str, ...]) -> None:
        self._python, self._common = python, common

    def steps(self, spec: JobSpec, recipe: Recipe, run_dir: RunDir) -> tuple[Step, ...]:
        formats = spec.after.export or (("MINDIR",) if spec.task in ("export", "infer") else ())
        exports = self._exports(spec, recipe, formats, run_dir) if formats else ()
        evaluate = Step(
            name="eval", argv=self._argv("evaluate", "--data", "{data}", "--checkpoint", "latest")
        )
        if spec.task == "eval":
            return (evaluate,)
        if spec.task != "train":
            return exports
        train = Step(name="train", argv=self._argv("train", "--data", "{data}"))
        return (train, *([evaluate] if spec.after.eval else []), *exports)

    def _exports(
        self, spec: JobSpec, recipe: Recipe, formats: tuple[str, ...], run_dir: RunDir
    ) -> tuple[Step, ...]:
        """The export, and an evaluation of what it wrote, where that can run here."""
        argv = self._argv("export", "--checkpoint", "latest", "--format", ",".join(formats))
        export = Step(name="export", argv=argv, ranks="first")
        if "MINDIR" not in formats or not spec.data.url:
            return (export,)
        exported = (run_dir.root / "export" / f"{recipe.arch}.mindir").as_posix()
        argv = self._argv("evaluate", "--data", "{data}", "--exported", exported)
        return export, Step(name="eval-mindir", argv=argv, ranks="first")

    def _argv(self, name: str, *extra: str) -> tuple[str, ...]:
        return (self._python, "-m", f"vitmodels.{name}", *self._common, *extra)


def sources_of(steps: tuple[Step, ...]) -> dict[str, str]:
    """SHA-256 of the files that a program's words name, without the executable: a Python may differ between machines."""
    words = {word for step in steps for word in step.argv[1:] if word.startswith("/") and is_file(Path(word))}
    return {word: file_digest(Path(word)) for word in sorted(words)}
