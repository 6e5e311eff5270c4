# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: python3 builds large data and drops it, several times over, and idles between.

Dictionaries of byte strings of many sizes, lists of lists, and large buffers.  A small part of each
round's records is kept, in one stretch.  What the kernel says of the process is printed after each
step.
"""

from __future__ import annotations

import gc
import sys
import time

ROUNDS = 3
RECORDS = 20_000
BUFFERS = 500
IDLE_SECONDS = 20
"""Virtual: longer than jemalloc's 10 s of decay."""


def say(step: str) -> None:
    """Print what /proc/self/status says now."""
    with open("/proc/self/status", encoding="ascii") as status:
        sizes = dict(line.split(":", 1) for line in status if line.startswith("Vm"))
    rss, pte = (int(sizes[name].split()[0]) for name in ("VmRSS", "VmPTE"))
    print(f"{step:<16} VmRSS {rss:>8,} kB  VmPTE {pte:>6,} kB", flush=True)


def records(number: int, count: int) -> dict[str, bytes]:
    """``count`` records of 64 to 2,000 bytes, a kilobyte on average."""
    return {f"user:{number}:{i}": bytes(64 + i * 37 % 1937) for i in range(count)}


def main(scale: float) -> None:
    """All rounds; ``scale`` multiplies the data."""
    count = int(RECORDS * scale)
    kept = []
    say("start")
    for number in range(ROUNDS):
        table = records(number, count)
        rows = [[i, number, *"abcdefgh"] for i in range(count)]
        say(f"round {number} built")
        kept.append({key: table[key] for key in list(table)[: count // 100]})
        del table, rows
        gc.collect()
        say(f"round {number} dropped")
        buffers = [bytearray(100_000 + i * 1_000) for i in range(int(BUFFERS * scale))]
        say(f"round {number} buffers")
        del buffers
        gc.collect()
        time.sleep(IDLE_SECONDS)
        records(number, 100)
        say(f"round {number} idle")
    kept.clear()
    time.sleep(IDLE_SECONDS)
    records(0, 100)
    say("end")


main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
