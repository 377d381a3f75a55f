"""The options of `launcher rank-table`; `rank_table_commands` carries its subcommands out."""

from __future__ import annotations

import argparse

from launcher.cli.common import count, seconds

HELP = "Make, check and draw HCCL rank tables (rank_tables/README.md explains their fields)."

_CHIPS = ("ascend910", "ascend910b", "atlas-a3", "ascend310p", "ascend950", "ascend850", "ascend350", "cpu")
"""A test compares it with CHIPS, which is not imported for the sake of a fast `--help`."""
_EPILOG = """exit codes: 0 fine, 2 wrong usage or lint errors, 5 a machine of the allocation did not answer

examples:
  launcher rank-table generate -o hccl_8p.json                      this machine, all its devices
  launcher rank-table generate --device_num "[0,4)" --server_ip 10.0.0.5
  launcher rank-table generate --addresses machines.yaml -o hccl.json
  launcher rank-table merge 'node*.json' -o hccl_2s_16p.json
  launcher rank-table convert "$RANK_TABLE_FILE" --wait 600 -o hccl.json
  launcher rank-table lint hccl.json --chip ascend910 --ranks 16
  launcher rank-table lint --explain RT007
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands on the parser of `launcher rank-table`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(dest="rank_table_command", required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="make a table"))
    _add_lint(commands.add_parser("lint", help="check tables, or explain a rule"))
    _add_merge(commands.add_parser("merge", help="join tables, ranks renumbered"))
    _add_convert(commands.add_parser("convert", help="rewrite any known form, group_list too"))
    _add_show(commands.add_parser("show", help="draw servers, devices and ranks"))


def run(args: argparse.Namespace) -> int:
    """Carry out the subcommand. Raises LauncherError; otherwise returns the exit code."""
    from launcher.cli import rank_table_commands as commands

    command = {
        "generate": commands.generate_command,
        "lint": commands.lint_command,
        "merge": commands.merge_command,
        "convert": commands.convert_command,
        "show": commands.show_command,
    }[args.rank_table_command]
    return command(args)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--chip",
        choices=(*_CHIPS, "auto"),
        default="ascend910",
        help="default: %(default)s; auto: as npu-smi names it",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--addresses", metavar="FILE", help="machines and addresses from YAML or JSON")
    source.add_argument(
        "--allocation",
        metavar="BACKEND",
        help="ask every machine that this shell holds on a back end's platform",
    )
    source.add_argument("--plan", metavar="FILE", help="placeholder table of a plan.json")
    devices = parser.add_mutually_exclusive_group()
    devices.add_argument("--devices", metavar="IDS", help="physical ids, as 0-3 or 0,2 (default: all)")
    devices.add_argument(
        "--device_num", "--device-num", metavar="[A,B)", help="logical ids, as in hccl_tools"
    )
    parser.add_argument(
        "--visible_devices", "--visible-devices", metavar="IDS", help="physical ids of logical 0, 1, ..."
    )
    parser.add_argument(
        "--server_ip", "--server-ip", default="", help="this machine's address for the others"
    )
    parser.add_argument("--hccn_conf", "--hccn-conf", metavar="FILE", help="instead of the machine's own")
    parser.add_argument(
        "--super_pod", "--super-pod", default="", metavar="ID", help="Atlas A3: name of the pod"
    )
    _add_output(parser)


def _add_lint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="a table, or the folder that holds it")
    parser.add_argument("--chip", choices=_CHIPS, help="default: what the version suggests")
    parser.add_argument("--ranks", type=count, metavar="N", help="ranks that the run needs")
    parser.add_argument("--nodes", type=count, metavar="N", help="machines that the run needs")
    parser.add_argument("--here", action="store_true", help="compare with this machine's devices too")
    parser.add_argument(
        "--server_ip", "--server-ip", default="", help="this machine's server_id, with --here"
    )
    parser.add_argument("--explain", metavar="RULE", help="explain a rule, RT007, or `all`")
    parser.add_argument("--json", action="store_true", help="findings as JSON")


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="in this order; a quoted pattern ('node*.json') stands for its files by number",
    )
    parser.add_argument("--chip", choices=_CHIPS, help="default: what the version suggests")
    _add_output(parser)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a table, or the folder that holds it")
    parser.add_argument("--to", choices=("1.0", "1.2", "1.3", "2.0"), help="version (default: as it is)")
    parser.add_argument("--wait", type=seconds, metavar="SECONDS", help="wait until it is completed")
    parser.add_argument("--chip", choices=_CHIPS, help="default: what the version suggests")
    _add_output(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a table, or the folder that holds it")
    parser.add_argument(
        "--servers", type=count, default=32, metavar="N", help="draw at most N (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="the table as JSON, in its own version")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        "--save_path",
        metavar="PATH",
        help="file, or folder to name it in (default: stdout)",
    )
    parser.add_argument("--force", action="store_true", help="write it even when lint finds errors")
    parser.add_argument("--json", action="store_true", help="table, findings and path in one JSON object")
