# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of docs/programs.md: what was run natively and here, in which version, with what came
of it. ``python -m tests.programs.survey [--write]`` runs the tests of this folder, the long ones
too without ``--quick``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import harness

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "programs.md"
BEGIN, END = "<!-- survey: begin -->", "<!-- survey: end -->"


def version_of(program: str) -> str:
    """The version of the Debian package that a program comes from, without epoch and revision;
    '' where it comes from elsewhere.
    """
    if not (shutil.which(program) or "").startswith(("/usr/bin/", "/usr/sbin/", "/bin/")):
        return ""
    package = harness.PACKAGES.get(program, program)
    query = ["dpkg-query", "-W", "-f", "${Version}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.partition(":")[2].split("-")[0] or done.stdout.split("-")[0]


class Survey:
    """Hears of each test: what it required, and how it ended."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[list[str], str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The test's call, or what kept it from being made."""
        if report.when == "call" or report.outcome == "skipped":
            words = {"passed": "passed", "failed": "**failed**", "skipped": "skipped"}
            name = report.nodeid.rpartition("::")[2].removeprefix("test_")
            self.rows[name] = (list(harness.required), words[report.outcome])
        if report.when == "teardown":
            harness.required.clear()

    def table(self) -> str:
        """The rows, in Markdown."""
        lines = ["| test | programs | its test |", "|---|---|---|"]
        for name, (programs, ended) in self.rows.items():
            named = (f"{Path(one).name} {version_of(one)}".strip() for one in programs)
            lines.append(f"| {name.replace('_', ' ')} | {', '.join(named)} | {ended} |")
        return "\n".join(lines)


def main() -> int:
    """Run them all; print the table, or put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write it into docs/programs.md")
    parser.add_argument("--quick", action="store_true", help="leave the long tests out")
    options = parser.parse_args()
    survey = Survey()
    pytest.main(
        [
            "-m",
            "not stress" if options.quick else "stress or not stress",
            str(Path(__file__).parent),
        ],
        plugins=[survey],
    )
    if not options.write:
        print(survey.table())
        return 0
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{survey.table()}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
