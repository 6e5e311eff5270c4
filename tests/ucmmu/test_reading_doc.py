# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what docs/reading.md and README.md show is what happens.

``python -m tests.ucmmu.test_reading_doc`` writes what happens now into the pages.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.ucmmu.in_process import ucmmu

ROOT = Path(__file__).resolve().parents[2]
PAGES = {ROOT / "docs" / "reading.md": 7, ROOT / "README.md": 4}
"""The pages, and how many commands each shows at least."""
_SESSION = re.compile(r"(^```console\n\$ )(.+)\n((?:.*\n)*?)(^```$)", re.MULTILINE)


def happens(command, directory):
    """What a command line shows on stdout."""
    if "|" not in command:
        shown = ucmmu(*shlex.split(command)[1:], cwd=directory)
        return "" if command.startswith("ucmmu run") else shown
    here = shlex.join([sys.executable, "-m", "ucmmu"])
    script = f'ucmmu() {{ {here} "$@"; }}; {command}'
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(directory)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_it_is_now(page, directory):
    """The page with what its commands show now."""
    return _SESSION.sub(lambda m: f"{m[1]}{m[2]}\n{happens(m[2], directory)}{m[4]}", page)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_the_page_shows_happens(tmp_path, path):
    page = path.read_text()
    assert len(_SESSION.findall(page)) >= PAGES[path]
    assert as_it_is_now(page, tmp_path) == page


if __name__ == "__main__":
    for path in PAGES:
        with tempfile.TemporaryDirectory() as place:
            path.write_text(as_it_is_now(path.read_text(), Path(place)))
