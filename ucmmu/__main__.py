# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ucmmu`` and the console script ``ucmmu``."""

import gc
import sys


def main() -> int:
    """Run the command; ^C while it is still being loaded ends it without a traceback.

    Modules are no garbage, so nothing is collected while they load (ucmmu.garbage says from when on
    it is), nor is what is left looked through when the process ends.
    """
    gc.disable()
    try:
        from ucmmu import cli
    except KeyboardInterrupt:
        return 130
    code = cli.main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
