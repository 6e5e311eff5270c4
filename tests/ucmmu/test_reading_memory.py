# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what reads a trace keeps less than 300 MiB in memory, however large the trace is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmu.trace.reader import TraceFile
from tests.ucmmu.recorded import ROOT, record

LIMIT_KB = 300 << 10
EVERY_EVENT_TWICE = """SELECT a.event, count(*) FROM events a JOIN events b USING (number)
                       GROUP BY ALL ORDER BY 2 DESC"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = record(tmp_path_factory.mktemp("large") / "a.trace", "memory_loop", "4M", "8")
    assert TraceFile(str(path)).nr_events > 15_000_000
    return str(path)


@pytest.mark.stress
@pytest.mark.parametrize(
    "words",
    [
        ["stats"],
        ["stats", "--by", "function"],
        ["stats", "--by", "page"],
        ["stats", "--by", "array"],
        ["diff", "{}"],
        ["trace", "--format", "parquet", "-o", "{out}"],
        ["trace", "--format", "perfetto", "-o", "{out}"],
        ["trace", "--query", "SELECT function, count(*) FROM events GROUP BY function"],
        ["trace", "--query", EVERY_EVENT_TWICE],
    ],
    ids=" ".join,
)
def test_memory_is_bounded(words, large, tmp_path):
    words = [word.format(large, out=tmp_path / "out") for word in words]
    code = (
        "import resource, sys; from ucmmu.cli import main; code = main(sys.argv[1:]);"
        " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr);"
        " sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, large],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) < LIMIT_KB
