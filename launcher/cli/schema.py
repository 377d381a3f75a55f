"""`launcher schema`: the JSON Schema of job files, for editors and tools."""

from __future__ import annotations

import argparse

HELP = "Print the JSON Schema (2020-12) of job files, with which editors complete and check them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", action="store_true", help="the schema of recipe files instead")
    parser.epilog = (
        "An editor with YAML support reads it when the job file begins with: "
        "# yaml-language-server: $schema=job.schema.json"
    )


def run(args: argparse.Namespace) -> int:
    import sys

    from launcher.jobfile import schema as jobschema

    sys.stdout.write(jobschema.text(jobschema.recipe_schema() if args.recipe else jobschema.job_schema()))
    return 0
