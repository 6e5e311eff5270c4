# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu report``, to the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_json
from ucmmu.command import Command
from ucmmu.exit_codes import ExitCode, Failure

_EXAMPLES = """\
The page needs nothing but itself: no network, no other file.  The first FILE is looked at most
closely; curves and tables have all of them.  Plots need matplotlib and jinja2
(pip install 'ucmmu[plots]').

examples:
  ucmmu run --trace hello.trace hello
  ucmmu report hello.trace -o report.html
  ucmmu report hello.trace --png plots
  ucmmu report hello.trace --json -"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a trace of `ucmmu run --trace`")
    parser.add_argument("-o", "--output", metavar="PAGE", help="write the page there, - for stdout")
    parser.add_argument(
        "--png", metavar="DIR", help="write each plot as a picture into DIR, which is made"
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.output is None and arguments.png is None and arguments.json is None:
        raise Failure(ExitCode.USAGE, "nothing to write: say -o PAGE, --png DIR or --json FILE")
    from ucmmu.reading.report.command import report

    return report(
        arguments.files, output=arguments.output, png=arguments.png, json_target=arguments.json
    )


COMMAND = Command(
    "report",
    "FILE... (-o PAGE | --png DIR | --json FILE)",
    "make a page about one run, or several side by side, from their traces",
    _EXAMPLES,
    _add_arguments,
    _run,
)
