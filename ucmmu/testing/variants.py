# SPDX-License-Identifier: GPL-2.0-or-later
"""Another version of a kernel function in place of ours, for a test: in the Python engine, which is
the one to change first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from mmu.linux import engine

Patches = dict[ModuleType | type, dict[str, Callable[..., Any]]]


@contextmanager
def replaced(module: ModuleType | type, **functions: Callable[..., Any]) -> Iterator[None]:
    """``with replaced(pte_ref, free_pte_table=mine):`` every module of mmu.linux that uses these
    functions of ``module``, or their twins under the Python engine, uses others inside. Of a class
    it is the methods.

    Raises AttributeError if the module has none of a name.
    """
    with ExitStack() as stack:
        for name, function in functions.items():
            ours = getattr(module, name)
            if isinstance(module, type):
                stack.enter_context(mock.patch.object(module, name, function))
                continue
            for place in [m for key, m in sys.modules.items() if key.startswith("mmu.linux.")]:
                if place is not engine and vars(place).get(name) is ours:
                    stack.enter_context(mock.patch.object(place, name, function))
            twin = getattr(engine, name, None)
            if twin is not None:
                stack.enter_context(mock.patch.dict(twin.__globals__, {"_python": function}))
        yield


@contextmanager
def applied(patches: Patches) -> Iterator[None]:
    """replaced() for several modules."""
    with ExitStack() as stack:
        for module, functions in patches.items():
            stack.enter_context(replaced(module, **functions))
        yield
