"""Ctrl-C of a command that waits."""

import signal
from collections.abc import Iterator

import pytest

from launcher.cli.ctrlc import CtrlC


class Finalised:
    """Gets a Ctrl-C where Python drops the exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def by_default() -> Iterator[None]:
    """Neither blocked nor ignored, whatever a test before has left."""
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_a_ctrl_c_ends_the_wait_at_once() -> None:
    with CtrlC(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ctrl_c_that_python_dropped_is_remembered() -> None:
    with CtrlC() as ctrl_c:
        ctrl_c.check()
        thing = Finalised()
        del thing
        with pytest.raises(KeyboardInterrupt):
            ctrl_c.check()


def test_a_ctrl_c_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with CtrlC() as ctrl_c:
        signal.raise_signal(signal.SIGINT)
        ctrl_c.check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
