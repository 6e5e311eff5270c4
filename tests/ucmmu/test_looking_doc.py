# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what docs/looking.md shows is what happens.

``python -m tests.ucmmu.test_looking_doc`` writes what happens now into the page.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.ucmmu.test_reading_doc import ROOT, as_it_is_now

PAGE = ROOT / "docs" / "looking.md"


def test_what_the_page_shows_happens(tmp_path: Path) -> None:
    page = PAGE.read_text()
    assert page.count("```console") == 6
    assert "STALE: " in page, "--at 368 is to be between the unhooking of the table and its flush"
    assert as_it_is_now(page, tmp_path) == page


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(as_it_is_now(PAGE.read_text(), Path(place)))
