# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory models that races are explored in, for the command line too: nothing is imported."""

from __future__ import annotations

from typing import Final

MODELS: Final = {
    "sc": "each store is seen at once",
    "tso": "a store buffer for each CPU, as x86 has",
}
"""What each is, by the name that ``--model`` takes."""
