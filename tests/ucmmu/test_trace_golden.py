# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the traces of a forty-line guest and of hello are, event by event, what the SDM and Linux
say; why is written above each step of the golden files in tests/trace_golden.

`python -m tests.trace_golden` writes them anew after a change that is meant.
"""

from __future__ import annotations

import difflib

import pytest

from tests.trace_golden.golden import FILES, Golden


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_trace_is_as_it_was_checked(path, directory):
    golden = Golden.load(path)
    if wrong := golden.wrong_build():
        pytest.skip(wrong)
    found = golden.now(directory)
    difference = difflib.unified_diff(golden.lines, found, path.name, "now", lineterm="")
    assert found == golden.lines, "\n".join(difference)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_trace_says_why(path):
    """There is a reason above at least every twentieth line, and the head has one."""
    golden = Golden.load(path)
    places = [at for at, text in golden.comments.items() if any(line[1:] for line in text)]
    assert 0 in places
    gaps = zip(places, [*places[1:], len(golden.lines)], strict=True)
    assert max(end - begin for begin, end in gaps) <= 20, places
