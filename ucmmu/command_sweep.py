# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu sweep``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_json, whole
from ucmmu.command import Command

_MAX_JOBS = 4096
_EXAMPLES = """\
SPEC is a TOML file (docs/sweeps.md has all keys), such as

  [workloads]
  purge = "dontneed_loop 64M 2M"
  [matrix]
  free-tables = ["never", "scan", "refcount"]
  cpus = [1, 2]
  [options]
  timeout = 60

Every workload runs with every combination of the matrix's values.  Each result is a file, named by
a digest of all that decides it; a sweep that is started again runs only what is not there.

The exit code is 0 if all cells are done, 1 if some failed, 128 + n if signal n ended the sweep.

examples:
  ucmmu sweep purge.toml
  ucmmu sweep --dry-run purge.toml
  ucmmu sweep --jobs 2 --csv purge.csv purge.toml
  ucmmu sweep --retry --json purge.json purge.toml
  ucmmu sweep --cluster tcp://head:8786 purge.toml"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="what is to be run: a TOML file")
    running = parser.add_argument_group("running")
    where = running.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs",
        metavar="N",
        type=whole(1, _MAX_JOBS),
        help="cells that run at a time on this host (default: its CPUs)",
    )
    where.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="run them on the Dask cluster whose scheduler is there, as tcp://head:8786",
    )
    running.add_argument(
        "--results",
        metavar="DIR",
        help="where results are kept, and looked for (default: the spec's name, NAME.results)",
    )
    running.add_argument("--retry", action="store_true", help="run cells that failed again")
    running.add_argument("--redo", action="store_true", help="run all cells again")
    running.add_argument(
        "--dry-run", action="store_true", help="list the cells and what is missing; run nothing"
    )
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--csv", metavar="FILE", help="write a row for each cell there as CSV, - for stdout"
    )
    writing.add_argument(
        "--parquet", metavar="FILE", help="the same as Parquet, for pandas, polars, DuckDB"
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from ucmmu.sweep.command import sweep

    return sweep(arguments)


COMMAND = Command(
    "sweep",
    "[option...] SPEC",
    "run many cells of programs, options and seeds, each once, and tabulate them",
    _EXAMPLES,
    _add_arguments,
    _run,
)
