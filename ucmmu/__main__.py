# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ucmmu``: the same command as the console script ``ucmmu``."""

import sys

from ucmmu.cli import main

if __name__ == "__main__":
    sys.exit(main())
