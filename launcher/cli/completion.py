"""`launcher completion`."""

from __future__ import annotations

import argparse

HELP = """Print the script that lets a shell complete commands, options, run ids and job files.

  bash:  eval "$(launcher completion bash)"      in ~/.bashrc
  zsh:   eval "$(launcher completion zsh)"       in ~/.zshrc, after compinit
  fish:  launcher completion fish > ~/.config/fish/completions/launcher.fish"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    import sys

    from launcher.completion import SCRIPTS

    sys.stdout.write(SCRIPTS[args.shell])
    return 0
