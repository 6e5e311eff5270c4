# SPDX-License-Identifier: GPL-2.0-or-later
"""When the garbage collector works: not while the command loads (``ucmmu/__main__.py``), for
modules are no garbage. Who works for long, and makes garbage, switches it on.
"""

from __future__ import annotations

import gc


def collect_garbage() -> None:
    """From now on collect what is made from now on; nothing changes if it is collected already."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
