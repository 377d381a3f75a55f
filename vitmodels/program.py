"""Arguments that all programs have, the recipe and folders that they name, and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from vitmodels.config import Recipe
from vitmodels.errors import UsageError, VitError
from vitmodels.recipe_file import load_recipe


def common_parser(prog: str, text: str, *, data: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every program of a run has."""
    parser = argparse.ArgumentParser(prog=f"python -m vitmodels.{prog}", description=text)
    parser.add_argument(
        "--config", required=True, type=Path, metavar="RECIPE", help="recipe file, YAML or JSON"
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


def read_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with the command line's overrides."""
    return load_recipe(args.config, args.overrides)


def run_dir_of(args: argparse.Namespace) -> Path:
    """The run directory, made if need be. Raises UsageError when none is named."""
    named = args.run_dir or os.environ.get("LAUNCHER_RUN_DIR")
    if not named:
        raise UsageError("no run directory", hint="add --run-dir DIR or set LAUNCHER_RUN_DIR")
    path = Path(named).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def data_dir_of(args: argparse.Namespace, recipe: Recipe) -> Path:
    """The data folder. Raises UsageError when none is named or it is missing."""
    named = args.data or recipe.data_url
    if not named:
        raise UsageError("no data folder", hint="add --data DIR")
    path = Path(named).resolve()
    if not path.is_dir():
        raise UsageError(f"the data folder {path} does not exist")
    return path


def say(text: str) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def finish(run: Callable[[], int], on_error: Callable[[str, str], None] = lambda _kind, _text: None) -> int:
    """The exit code of `run`: expected errors become one message, defects a traceback and 1.

    `on_error` is called with the kind and the text of the error.
    """
    try:
        return run()
    except VitError as error:
        on_error(type(error).__name__, str(error))
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Exception as error:
        on_error(type(error).__name__, f"{error}"[:2000])
        traceback.print_exc()
        return 1
