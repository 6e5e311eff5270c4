# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare with Bochs: ``python -m tests.oracles.bochs --seed N --states K --kernels K``."""

from __future__ import annotations

import argparse
import random
import sys

from tests.oracles.bochs import campaign, library


def main() -> int:
    """Run a campaign; 1 if something differs, 2 if Bochs cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracles.bochs", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="(default: a new one)")
    parser.add_argument("--states", type=int, default=100_000, help="random states")
    parser.add_argument("--kernels", type=int, default=10_000, help="random kernels")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each")
    parser.add_argument(
        "--attached-every", type=int, default=1, help="attached instances get one of so many"
    )
    args = parser.parse_args()
    reason = library.why_not()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    seed = random.SystemRandom().getrandbits(31) if args.seed is None else args.seed
    found = campaign.run(
        seed,
        args.states,
        args.kernels,
        first=args.first,
        attached_every=args.attached_every,
        progress=sys.stderr.isatty(),
    )
    print(found.text())
    return int(found.failed)


if __name__ == "__main__":
    sys.exit(main())
