"""`launcher completion`: scripts for three shells, and the candidates that they offer when Tab is pressed.

`launcher __complete WORD...` prints the candidates for the last word, one per line. It must answer at once, so it reads file
names and no file. The lines `:yaml` and `:folders` tell the shell to complete file names itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from launcher.runfolder import paths

if TYPE_CHECKING:
    from launcher.cli import Command

HELP = """Print the script that lets a shell complete commands, options, run ids and job files.

  bash:  eval "$(launcher completion bash)"      in ~/.bashrc
  zsh:   eval "$(launcher completion zsh)"       in ~/.zshrc, after compinit
  fish:  launcher completion fish > ~/.config/fish/completions/launcher.fish"""


YAML, FOLDERS = ":yaml", ":folders"
_RUN_METAVARS = ("RUN", "RUN|FILE")

BASH = """\
# Put this into ~/.bashrc:  eval "$(launcher completion bash)"
_launcher() {
    local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}" found
    found=$(launcher __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
    COMPREPLY=($(compgen -W "$(grep -v '^:' <<<"$found")" -- "$word"))
    if grep -qx ':yaml' <<<"$found"; then
        COMPREPLY+=($(compgen -f -X '!*.y*ml' -- "$word") $(compgen -d -- "$word"))
        compopt -o filenames
    elif grep -qx ':folders' <<<"$found"; then
        COMPREPLY+=($(compgen -d -- "$word"))
        compopt -o filenames
    fi
}
complete -F _launcher launcher
"""

ZSH = """\
# Put this into ~/.zshrc, after compinit:  eval "$(launcher completion zsh)"
_launcher() {
    local -a found
    found=("${(@f)$(launcher __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if (( ${found[(Ie):yaml]} )); then _files -g '*.y(a|)ml'; fi
    if (( ${found[(Ie):folders]} )); then _files -/; fi
    found=("${(@)found:#:*}")
    (( $#found )) && compadd -- "${found[@]}"
}
compdef _launcher launcher
"""

FISH = """\
# Put this into ~/.config/fish/completions/launcher.fish
function __launcher_complete
    set -l words (commandline -opc)[2..] (commandline -ct)
    for line in (launcher __complete $words 2>/dev/null)
        switch $line
            case ':yaml'
                __fish_complete_suffix .yaml
            case ':folders'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end
complete -c launcher -f -a '(__launcher_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def candidates(words: Sequence[str], commands: Mapping[str, Command]) -> list[str]:
    """Candidates for the last of `words`, which may be empty. `commands` is the table of launcher.cli."""
    *before, last = words or [""]
    if not before:
        return [name for name in [*commands, "--help", "--version"] if name.startswith(last)]
    if before[0] not in commands:
        return []
    parser = argparse.ArgumentParser(prog=before[0])
    importlib.import_module(commands[before[0]].module).add_arguments(parser)
    parser = _inner(parser, before[1:])
    option = _value_of(parser, before[-1])
    if option is not None:
        return _values(option, last)
    if last.startswith("-"):
        return sorted(o for a in parser._actions for o in a.option_strings if o.startswith(last))
    values = [
        value for action in parser._actions if not action.option_strings for value in _values(action, last)
    ]
    return list(dict.fromkeys(values))


def _inner(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the sub-command among `words`, for commands that have some (`rank-table lint`)."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word in words:
                if word in action.choices:
                    return _inner(action.choices[word], words[words.index(word) + 1 :])
    return parser


def _value_of(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """The option named by `word`, if it takes a value."""
    for action in parser._actions:
        if word in action.option_strings and action.nargs != 0:
            return action
    return None


def _values(action: argparse.Action, typed: str) -> list[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices if str(choice).startswith(typed)]
    metavar = str(action.metavar or "")
    if metavar in _RUN_METAVARS:
        return run_names(typed) + ([YAML] if metavar == "RUN|FILE" else [])
    if metavar == "FILE":
        return [YAML]
    if metavar == "DIR":
        return [FOLDERS]
    return []


def run_names(typed: str) -> list[str]:
    """Run ids of the index, newest first, and `last`."""
    try:
        names = [name[:-5] for name in os.listdir(paths.home() / "runs") if name.endswith(".json")]  # noqa: PTH208 - quick
    except OSError:
        names = []
    ids = sorted((n for n in names if not n.startswith(".")), key=lambda n: n[-20:], reverse=True)
    return [name for name in ["last", *ids] if name.startswith(typed)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    sys.stdout.write(SCRIPTS[args.shell])
    return 0
