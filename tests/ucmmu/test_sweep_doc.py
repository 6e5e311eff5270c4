# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the example of docs/sweeps.md prints what the page says, and its table of keys is whole.

``python -m tests.ucmmu.test_sweep_doc`` renews the table: read the difference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ucmmu.sweep.spec import _SECTIONS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sweeps.md"
_SESSION = re.compile(r"```console\n\$ ucmmu (.*)\n((?:.*\n)*?)```")


def sessions():
    """By the words of each command: what it prints."""
    return dict(_SESSION.findall(PAGE.read_text()))


def specs(directory):
    """Write the page's spec, and the one that is wrong."""
    text = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    (directory / "purge.toml").write_text(text)
    (directory / "wrong.toml").write_text("[workloads]\na = 'hello'\n[matrix]\ncpu = [1]\n")


def printed(words, directory):
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", *words.split()],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text = re.sub(r"^(\w+ +)[0-9a-f]{12} ", r"\1… ", done.stdout, flags=re.MULTILINE)
    return re.sub(r" +$", "", text, flags=re.MULTILINE).strip("\n") + "\n"


def test_the_example_prints_what_the_page_says(tmp_path):
    specs(tmp_path)
    shown = sessions()
    assert len(shown) == 3
    for words, text in shown.items():
        assert printed(words, tmp_path) == text, words
    (last,) = [words for words in shown if "--csv" in words]
    again = printed(last, tmp_path)
    assert again == shown[last].replace("5 ran now", "0 ran now")


@pytest.mark.parametrize("key", _SECTIONS)
def test_every_key_is_in_the_table(key):
    assert re.search(rf"^\| `\[*{key}\]*` \|", PAGE.read_text(), re.MULTILINE)


def main():
    """Write what the commands print."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        specs(Path(place))
        text = PAGE.read_text()
        for words, shown in sessions().items():
            now = printed(words, place)
            text = text.replace(f"$ ucmmu {words}\n{shown}", f"$ ucmmu {words}\n{now}")
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
