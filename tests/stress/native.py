# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the threads of tests/stress/*.c, and read what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from native import smp

POLICIES = ("never", "scan", "refcount-pmdlock", "refcount")


@dataclass(frozen=True)
class Form:
    """What the threads run under: a policy, which tables are freed (``--free-levels``), and
    whether flushes are broadcast.
    """

    free_tables: str
    free_levels: str = "pte"
    invlpgb: bool = False

    @property
    def name(self) -> str:
        """In the words of the command line: ``refcount --free-levels pud``."""
        levels = "" if self.free_levels == "pte" else f" --free-levels {self.free_levels}"
        return f"{self.free_tables}{levels}{' --invlpgb' if self.invlpgb else ''}"


FORMS = (
    Form("scan"),
    Form("refcount-pmdlock", invlpgb=True),
    Form("refcount"),
    Form("refcount", "pud"),
    Form("refcount-pmdlock", "pmd"),
)
"""What is run if nothing else is said: of each kind one."""

STRESS = smp.Program(
    "stress",
    Path(__file__).resolve().parent,
    (
        *("crash.c", "frames.c", "interrupts.c", "machine.c", "main.c", "move.c"),
        *("operations.c", "rest.c", "slots.c", "walkers.c", "zap.c"),
    ),
    (
        *("alloc_pages", "free_pages", "put_page", "table_alloc"),
        *("pmd_lock", "pte_unlock", "rcu_read_unlock"),
    ),
)
_PATIENCE = 120
"""Seconds that a run may take longer than it is to."""


class Died(Exception):
    """The program ended without a report, or a sanitizer has something to say: its words."""


@dataclass(frozen=True)
class Run:
    """What a run is: the fields of ``struct options`` (tests/stress/stress.h)."""

    form: Form = FORMS[2]
    threads: int = 2
    tables: int = 3
    pages: int = 4
    seconds: float = 10.0
    seed: int = 1
    stall_ms: int = 20_000
    unfair: bool = True
    sanitize: str = ""


def _how(done: subprocess.CompletedProcess[str]) -> str:
    """How the program ended, in a line; what a sanitizer said follows."""
    code = done.returncode
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"it {how}{': ' if done.stderr.strip() else ''}{done.stderr.strip()}"


def stress(run: Run, changed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One run's report. ``changed`` as for native.smp.build(). Died, native.smp.NotBuilt."""
    program = smp.build(STRESS, sanitize=run.sanitize, changed=changed)
    form = (run.form.free_tables, run.form.free_levels, str(int(run.form.invlpgb)))
    fields = (run.threads, run.tables, run.pages, run.seconds, run.seed, run.stall_ms)
    options = "halt_on_error=1:exitcode=66"
    try:
        done = subprocess.run(
            [str(program), *form, *map(str, fields), str(int(run.unfair))],
            capture_output=True,
            text=True,
            timeout=run.seconds + _PATIENCE,
            check=False,
            env={**os.environ, "TSAN_OPTIONS": options, "UBSAN_OPTIONS": "halt_on_error=1"},
        )
    except subprocess.TimeoutExpired as error:
        raise Died(f"it did not end within {error.timeout:.0f} s") from None
    if done.returncode not in (0, 1) or done.stderr:
        raise Died(f"under {run.form.name}, seed {run.seed}: {_how(done)}")
    report: dict[str, Any] = json.loads(done.stdout)
    return {"form": run.form.name, **report}
