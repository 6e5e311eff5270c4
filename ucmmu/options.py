# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run is asked for, and the names that may be asked; nothing heavy is imported for it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import NamedTuple

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.text import did_you_mean, printable, shortened

POLICIES: dict[str, str] = {
    "never": "no PTE table is freed before its address space is unmapped (Linux before 6.14)",
    "scan": "MADV_DONTNEED of a whole aligned 2 MiB frees its table (CONFIG_PT_RECLAIM, 6.14 on)",
    "refcount": "a table is freed as soon as its last entry becomes none",
    "refcount-pmdlock": "refcount with lookups under the PMD lock, freed without RCU",
}
"""The ways to free empty PTE tables, by the name that ``--free-tables`` takes."""

LEVELS: dict[str, str] = {
    "pte": "PTE tables alone",
    "pmd": "PMD tables that have none left as well",
    "pud": "PUD tables too",
}
"""Up to which level empty tables are freed, by the name that ``--free-levels`` takes."""

DEFAULT_LEVELS = "pte"
NOT_COUNTED = ("never", "scan")
"""The ways to free tables that count no references, so that they free PTE tables at most."""


def is_policy_file(text: str) -> bool:
    """Whether ``--free-tables`` names a class in a file, FILE.py:CLASS, by the look of it."""
    place, colon, name = text.rpartition(":")
    return bool(colon and place and name.isidentifier())


FIDELITIES: dict[str, str] = {
    "fast": "translations, A/D bits and faults exact; no TLB model",
    "exact": "every access goes through the TLB model, stale entries included",
    "trace": "exact, and --trace records every instruction and access too",
}
"""How closely the processor is modelled, by the name that ``--fidelity`` takes."""

ENGINES: dict[str, str] = {
    "c": "the MMU and mm in C",
    "python": "the same in readable Python, slow",
}
"""Which of the two equal implementations runs, by the name that ``--engine`` takes."""

DEFAULT_TLB = "skylake"
MAX_CPUS = 64
MAX_SEED = (1 << 64) - 1
MAX_UID = (1 << 32) - 2
MAX_QUANTUM = 10**9
DEFAULT_QUANTUM = 100_000
"""Of cpu.scheduler; tests hold them equal."""
DEFAULT_DISK = 1 << 30
DEFAULT_FILES = 1 << 18
DEFAULT_PROCESSES = 4096
MAX_FILES = 1 << 40
MAX_PROCESSES = 32768
"""PIDs of a machine."""

WALLS: dict[str, str] = {
    "landlock": "files the process may open at all, TCP, signals",
    "seccomp": "system calls it may make",
    "namespaces": "its own network, for root",
    "capabilities": "root's rights, but for files",
}
"""What stands behind the guest's own checks, by the name that ``--without-wall`` takes."""
STDERR = "stderr"
"""Where the system calls go unless ``--strace-out`` names a file."""


@dataclass(frozen=True)
class RunOptions:
    """One run of one guest."""

    program: str
    """A path, or the bare name of a guest, as the user wrote it."""
    args: tuple[str, ...] = ()
    """The guest's argv[1:]."""
    env: tuple[str, ...] = ()
    """Variables of its environment: NAME=VALUE, or NAME of one of the user's."""
    clear_env: bool = False
    """Whether its environment has nothing else."""
    cwd: str | None = None
    """Its working directory, as it sees it; None: the user's."""
    uid: int | None = None
    """Its user and group ID; None: the user's."""
    preload: tuple[str, ...] = ()
    """Libraries for LD_PRELOAD: paths, or names that are looked for."""
    free_tables: str = "refcount"
    free_levels: str = DEFAULT_LEVELS
    fidelity: str = "fast"
    engine: str = "c"
    tlb: str = DEFAULT_TLB
    """A geometry's name, or a path of its file."""
    ram: int = 16 << 30
    """Bytes of guest RAM."""
    cpus: int = 1
    """CPUs of the machine, 1 to MAX_CPUS."""
    seed: int = 0
    """Gives the schedule, and all random numbers of the guest."""
    quantum: int = DEFAULT_QUANTUM
    """Instructions that a CPU executes before the next has its turn, on average."""
    check_tlb: bool = False
    """Look after stale translations; needs a fidelity with a TLB model."""
    count: bool = True
    """Count instructions; without, the time the guest sees moves by system call only."""
    fast_faults: bool = True
    """Resolve common anonymous faults in C inside the fill hook."""
    read: tuple[str, ...] = ()
    """Host files and directories that the guest sees besides those it always does, read-only."""
    writable: tuple[str, ...] = ()
    """Host directories that the guest's writes go to."""
    root: str | None = None
    """The host directory that the guest has as ``/``."""
    keep: str | None = None
    """The directory that gets the upper layer at the end."""
    disk_limit: int = DEFAULT_DISK
    """Bytes that the upper layer may hold."""
    max_files: int = DEFAULT_FILES
    """Files and directories that the upper layer may hold."""
    max_processes: int = DEFAULT_PROCESSES
    """Processes and threads of the guest's at one time."""
    without_walls: tuple[str, ...] = ()
    """Those of :data:`WALLS` that are left out."""
    trace: str | None = None
    """The file that the run is recorded in, ``-`` for stdout; None: it is not."""
    trace_filter: tuple[str, ...] = ()
    """Which events are recorded, in the words of ucmmu.event_filter."""
    trace_limit: int | None = None
    """Bytes that the trace may have; what comes then is not recorded."""
    strace: bool = False
    """Print the system calls."""
    strace_out: str = STDERR
    """Where those go: a file, ``-`` for stdout, or :data:`STDERR`."""


class Traces(NamedTuple):
    """The descriptors that traces go to, None: that one is not wanted."""

    trace: int | None = None
    """Of the events."""
    strace: int | None = None
    """Of the system calls."""


def guests_directory() -> Path:
    """Where the guest programs are: those of this package's checkout, of the installed wheel, or of
    the checkout that is the working directory.
    """
    build, package = Path("guest_programs", "build"), Path(__file__).resolve().parent
    for own in (package.parent / build, package / "guests"):
        if own.is_dir():
            return own
    return build.absolute() if build.is_dir() else package.parent / build


def how_to_get_guests() -> str:
    """What makes the guests: a target of the checkout, which an installed package does not have."""
    if any(path.is_file() for path in (Path("guest_programs", "Makefile"), _makefile())):
        return "`make guests` builds them"
    return "all guests are in ucmmu's source tree, where `make guests` builds them"


def _makefile() -> Path:
    return guests_directory().parent / "Makefile"


def program_file(options: RunOptions) -> Path | None:
    """The host's file of the program; None if it is looked for in the guest's tree, ``--root``.
    Raises Failure (NO_PROGRAM).
    """
    return find_program(options.program) if options.root is None else None


def find_program(name: str) -> Path:
    """Return the file that PROGRAM names: a path if it holds a slash, else a guest, else a file
    here, else a program in PATH.

    Raises Failure (NO_PROGRAM) if there is no such regular, readable file.
    """
    if not name:
        raise Failure(
            ExitCode.NO_PROGRAM, "PROGRAM is empty: give a path, or a guest of `ucmmu list`"
        )
    path = Path(name)
    try:
        if "/" not in name:
            guest = guests_directory() / name
            if guest.is_file():
                path = guest
            elif not path.is_file():
                path = Path(which(name) or (name if path.exists() else guest))
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise Failure(ExitCode.NO_PROGRAM, _why_not_found(name, error)) from None
    shown = printable(str(path))
    if stat.S_ISDIR(mode):
        raise Failure(ExitCode.NO_PROGRAM, f"{shown}: is a directory, not a program")
    if not stat.S_ISREG(mode):
        raise Failure(
            ExitCode.NO_PROGRAM, f"{shown}: is no regular file but {_KINDS[stat.S_IFMT(mode)]}"
        )
    if not os.access(path, os.R_OK):
        raise Failure(ExitCode.NO_PROGRAM, f"{shown}: cannot be read: permission denied")
    return path


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def _why_not_found(name: str, error: Exception) -> str:
    shown = repr(shortened(name))
    if "/" in name or not isinstance(error, FileNotFoundError):
        text = error.strerror if isinstance(error, OSError) else str(error)
        return f"{shown}: {text or error}{_near_file(name)}"
    where = guests_directory()
    if not where.is_dir():
        return f"no program {shown} here or in PATH, and no guest: {how_to_get_guests()}"
    places = [where, Path(), *map(Path, os.environ.get("PATH", "").split(":"))]
    near = next(filter(None, (did_you_mean(name, _names_in(place)) for place in places)), "")
    return (
        f"no program {shown} here or in PATH, and no guest of that name in {where}: `ucmmu list`"
        f" names them, {how_to_get_guests()}{near}"
    )


def _near_file(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return did_you_mean(base, _names_in(Path(folder or "/"))) if base else ""


def _names_in(folder: Path) -> list[str]:
    with suppress(OSError, ValueError):
        return [entry.name for entry in os.scandir(folder) if entry.is_file()]
    return []
