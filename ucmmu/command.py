# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command of ours is, to the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command: its name, its arguments as the usage line shows them, a summary of one line
    without a full stop, and the text with its examples that ends its help.

    ``add_arguments`` tells a parser what it takes; ``run`` does it and returns the exit code. The
    file that makes it imports nothing heavy before ``run`` is called. With ``takes_args`` words
    behind ``--`` are arguments of a program, ``args``.
    """

    name: str
    usage: str
    summary: str
    examples: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    takes_args: bool = False
