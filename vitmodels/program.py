"""Arguments that all programs have, the recipe and folders that they name, and exit codes."""

from __future__ import annotations

import _thread
import argparse
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from vitmodels.config import Recipe

EXIT_INTERRUPTED = 130  # as a shell reports a program that Ctrl-C ended
uninterrupted = threading.Lock()
"""Inside `with uninterrupted`, Ctrl-C waits: a process that is started halfway would print a traceback of its own."""


def common_parser(prog: str, text: str, *, data: bool = True, config: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every program of a run has. `config`: the recipe must be named."""
    parser = argparse.ArgumentParser(prog=f"python -m vitmodels.{prog}", description=text)
    default = "" if config else " (default: that of the checkpoint or of its architecture)"
    parser.add_argument(
        "--config",
        required=config,
        type=Path,
        metavar="RECIPE",
        help=f"recipe file, YAML or JSON{default}",
    )
    if data:
        parser.add_argument(
            "--data", type=Path, metavar="DIR", help="folder with train/ and val/ (recipe: data_url)"
        )
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="where results go (default: $LAUNCHER_RUN_DIR)"
    )
    parser.add_argument(
        "--device", choices=("cpu", "ascend"), help="default: Ascend when there is one, else CPU"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one recipe key",
    )
    return parser


def add_weights_options(parser: argparse.ArgumentParser, group: argparse._ActionsContainer) -> None:
    """The options that choose weights; `group` gets the one that names them."""
    group.add_argument(
        "--checkpoint",
        "--weights",
        default="latest",
        metavar="WEIGHTS",
        help="latest, best, step-<n>, a run or checkpoint folder, or a .safetensors, .ckpt, .npz or .pth file; "
        "default: latest",
    )
    parser.add_argument(
        "--parameters", choices=("ema", "raw"), help="default: ema where there are averaged weights, else raw"
    )
    parser.add_argument(
        "--allow-older", action="store_true", help="use an older checkpoint when the newest is damaged"
    )


def add_strict_option(parser: argparse.ArgumentParser) -> None:
    """`--strict`, for programs that match class folders with classes."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="classes without folder or images, and folders that are no class, are errors (default: warnings)",
    )


def read_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with the command line's overrides."""
    from vitmodels.recipe_file import load_recipe

    return load_recipe(args.config, args.overrides)


def run_dir_of(args: argparse.Namespace, default: Path | None = None) -> Path:
    """The run directory, made if need be. Raises UsageError when none is named, or it can't be written to."""
    from vitmodels.errors import UsageError

    named = args.run_dir or os.environ.get("LAUNCHER_RUN_DIR") or default
    if not named:
        raise UsageError("no run directory", hint="add --run-dir DIR or set LAUNCHER_RUN_DIR")
    return writable_folder(Path(named).resolve())


def writable_folder(path: Path) -> Path:
    """The folder, made if need be. Raises UsageError when files can't be written into it."""
    from vitmodels.errors import UsageError

    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"can't write to the folder {path}: {error.strerror}", hint="name another one"
        ) from error
    return path


def data_dir_of(args: argparse.Namespace, recipe: Recipe) -> Path:
    """The data folder. Raises UsageError when none is named or it is missing."""
    from vitmodels.errors import UsageError

    named = args.data or recipe.data_url
    if not named:
        raise UsageError("no data folder", hint="add --data DIR")
    path = Path(named).resolve()
    if not path.is_dir():
        raise UsageError(f"the data folder {path} does not exist")
    return path


def say(text: str) -> None:
    """One line on stdout, at once."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(
        f"{text}\n".encode(encoding, "backslashreplace").decode(encoding)
    )  # names of files may be odd
    sys.stdout.flush()


def finish(run: Callable[[], int], on_error: Callable[[str, str], None] = lambda _kind, _text: None) -> int:
    """The exit code of `run`: expected errors become one message, Ctrl-C one line, defects a traceback and 1.

    `on_error` is called with the kind and the text of the error.
    """
    try:
        watch_interrupts()
        from vitmodels.errors import VitError
    except KeyboardInterrupt:
        interrupted()
    try:
        return run()
    except KeyboardInterrupt:
        interrupted()
    except VitError as error:
        on_error(type(error).__name__, str(error))
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Exception as error:
        on_error(type(error).__name__, f"{error}"[:2000])
        if isinstance(error, OSError) and error.filename is not None:
            sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        else:
            traceback.print_exc()
        return 1


def end(code: int) -> NoReturn:
    """End the process of a program. Python would look for cycles once more, in all of MindSpore: a third of a second."""
    gc.freeze()
    sys.exit(code)


@cache
def watch_interrupts() -> None:
    """Let Ctrl-C reach Python at any time.

    MindSpore puts a handler of its own in place with every graph that it runs, which turns SIGINT into SIGTERM. So
    SIGINT is blocked, and a thread takes it and interrupts the main thread. Call it before numpy and MindSpore are
    imported: their threads inherit the mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_pass_on_interrupts, name="interrupts", daemon=True).start()


def _pass_on_interrupts() -> None:
    while True:
        signal.sigwait({signal.SIGINT})
        with uninterrupted:
            _thread.interrupt_main()


def interrupted() -> NoReturn:
    """Say that Ctrl-C ended the program, and end it with exit code 130. A second Ctrl-C changes nothing.

    The process ends at once: a MindSpore that was imported halfway prints errors or aborts when Python winds up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr.write("interrupted\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)
