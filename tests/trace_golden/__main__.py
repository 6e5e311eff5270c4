# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.trace_golden``: write the golden traces anew, with comments in their places.

Read the difference before you commit it: each line that changed must be so by what you changed, and
the comment above it still say why. A comment whose line is gone is printed.
"""

from __future__ import annotations

from tests.trace_golden.golden import FILES, Golden, place

with place() as directory:
    for path in FILES:
        golden = Golden.load(path)
        wrong = golden.wrong_build()
        if wrong is not None:
            print(f"{path.name}: left as it is: {wrong}")
            continue
        text, lost = golden.updated(golden.now(directory))
        path.write_text(text)
        print(f"{path.name}: {len(golden.lines)} lines before")
        for line in lost:
            print(f"  its line is gone: {line}")
