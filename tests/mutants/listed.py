# SPDX-License-Identifier: GPL-2.0-or-later
"""All mutants, file by file."""

from __future__ import annotations

from tests.mutants import (
    c_check,
    c_invalidate,
    c_rights,
    c_tlb,
    c_translate,
    c_walk,
    py_invalidate,
    py_tlb,
    py_translate,
    py_walk,
)

_C = (c_walk, c_rights, c_translate, c_tlb, c_invalidate, c_check)
_PYTHON = (py_walk, py_translate, py_tlb, py_invalidate)

MUTANTS = sorted(
    (mutant for part in (*_C, *_PYTHON) for mutant in part.MUTANTS), key=lambda mutant: mutant.file
)
"""Those of one file in the order in which they are listed."""
