# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ucmmu`` and the console script ``ucmmu``."""

import sys


def main() -> int:
    """Run the command; ^C while it is still being loaded ends it without a traceback."""
    try:
        from ucmmu import cli
    except KeyboardInterrupt:
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
