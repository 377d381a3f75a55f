"""The errors that the programs of this package raise on purpose, and the exit code of each family.

    VitError                 1   something of ours broke
      UsageError             2   the command line or the environment is wrong
        RecipeError          2   the recipe is wrong
          UnknownArch        2   no architecture of that name
      DataError              1   the data set is not what training needs
        ResumeError          2   the checkpoint in the run directory belongs to another training
      CheckpointError        1   a checkpoint is missing or is not what its manifest says
      RunDirBusy             1   another training uses the run directory
      Diverged               1   the loss or the weights are not finite any more
      ExportError            1   a model can't be written in, or read from, the wanted format
      NotSupported           1   this device or this MindSpore can't do what was asked

Programs print the message of these on stderr without a traceback and exit with `exit_code`.
Exit code 75 ("stopped by a signal, resume me") is not an error and has no class.
"""

from __future__ import annotations

from vitmodels.document.problem import Problem, listing_of
from vitmodels.suggest import listing

EXIT_RESUME = 75


class VitError(Exception):
    """Base of the tree. `hint` says what to do next."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  hint: {self.hint}" if self.hint else self.what


class UsageError(VitError):
    """The command line or the environment is wrong."""

    exit_code = 2


class RecipeError(UsageError, ValueError):
    """The recipe has an unknown key, a value out of range, or two values that exclude each other.

    `problems` has every problem with its place when a whole recipe was read.
    """

    def __init__(self, what: str, *, hint: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(what, hint=hint)
        self.problems = problems

    def __str__(self) -> str:
        return listing_of(self.problems) if self.problems else super().__str__()


class UnknownArch(RecipeError):
    """No architecture of that name. `nearest` are those with similar names; `known` are all."""

    def __init__(self, name: str, *, nearest: tuple[str, ...], known: tuple[str, ...]) -> None:
        self.nearest = nearest
        hint = f"did you mean {listing(nearest)}?" if nearest else f"known are: {', '.join(known)}"
        super().__init__(f"no architecture is called {name!r}", hint=hint)


class ResumeError(UsageError):
    """The checkpoint in the run directory belongs to another training."""


class RunDirBusy(VitError):
    """Another training uses the run directory."""


class DataError(VitError):
    """The data set is not what training needs."""


class CheckpointError(VitError):
    """A checkpoint is missing, torn, or belongs to another model."""


class Diverged(VitError):
    """The loss or the weights are not finite any more; such weights are neither evaluated nor saved."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"error: {what}: the training diverged, and these weights are not saved",
            hint="lower base_lr, or lengthen warmup_length, and start anew",
        )


class ExportError(VitError):
    """A model can't be written in, or read from, the wanted format."""


class NotSupported(VitError):
    """This device or this MindSpore can't do what was asked."""
