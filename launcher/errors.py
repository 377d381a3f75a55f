"""The errors a user can meet, and the exit code of each family.

    LauncherError                 1   something of ours broke
      NoDevices                   2   this machine's devices can't be listed
      UsageError                  2   the command line or the environment is wrong
        JobFileError              2   the job file is wrong (carries every problem found, each with its place)
        PlanError                 2   the job can't run as asked (devices, counts, space)
      NoSuchRun                   3   no run, or several, match what was typed
      StoreError                  4   the object store did not do what was asked
        StoreUnreachable          4   no answer, or no answer in time
        StoreRefused              4   credentials or permissions
        NotFound                  4   no such object, or an empty data set
        IntegrityError            4   an object is not what its manifest or ETag says
        NoSpace                   4   not enough bytes or inodes on the local disk
      BackendError                5   the back end refused the job or can't be reached
      RunFailed                 100   the run ended FAILED
        NodeTrouble             100   another start of the run, on other machines, may go on

Every error says what happened, where, and what to do next; the command line prints these three
and exits with `exit_code`. Only errors outside this tree are defects, and only they show a traceback.
"""

from __future__ import annotations


class LauncherError(Exception):
    """Base of the tree. `where` is a place a user can open (file:line, URL, host); `hint` is what to do next.

    `rule` is the id of this kind of failure: programs read it, and never the texts.
    """

    exit_code = 1
    rule = ""

    def __init__(self, what: str, *, where: str = "", hint: str = "", rule: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.rule = rule or type(self).rule

    @property
    def headline(self) -> str:
        """What happened and where, without the hint."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __str__(self) -> str:
        return f"{self.headline}\n  hint: {self.hint}" if self.hint else self.headline


class UsageError(LauncherError):
    """The command line or the environment is wrong."""

    exit_code = 2


class NoDevices(LauncherError):
    """This machine's devices can't be listed: a tool is missing, fails, or prints something unknown."""

    exit_code = 2


class PlanError(UsageError):
    """The job can't run as asked."""


class NoSuchRun(LauncherError):
    """No run, or more than one, matches the id that was typed."""

    exit_code = 3


class StoreError(LauncherError):
    """The object store did not do what was asked."""

    exit_code = 4


class StoreUnreachable(StoreError):
    """The store gave no answer, or none in time. Worth a retry."""

    rule = "store-unreachable"


class StoreRefused(StoreError):
    """The store answered, and refused: credentials, permissions, no such bucket."""

    rule = "store-refused"


class NotFound(StoreError):
    """No such object, or a data set without one object."""

    rule = "not-found"


class IntegrityError(StoreError):
    """Bytes differ from what the manifest or the ETag promised."""

    rule = "damaged"


class NoSpace(StoreError):
    """The local disk lacks bytes or inodes."""

    rule = "disk-full"


class BackendError(LauncherError):
    """The back end refused the job or can't be reached."""

    exit_code = 5


class RunFailed(LauncherError):
    """The run ended FAILED."""

    exit_code = 100


class NodeTrouble(RunFailed):
    """A machine of the run was lost, or is to be left out: another start of the run by its platform may go on."""

    rule = "node-lost"
