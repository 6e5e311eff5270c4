# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine says of itself in a trace besides events: its tasks, programs and mappings.

::

    process  pid tgid comm exe mm parent thread    a task is there: the first, or made by clone()
    exec     the same                              it runs another program
    comm     pid comm                              it has another name
    exit     pid tgid code signal                  it begins to end; its mm is still there
    map      mm start end prot flags offset file name bias      a VMA came
    unmap    mm start end                          no VMA is there any more
    symbols  file build_id functions lines left_out    of a file, before its first executable VMA

``mm`` is the guest-physical address of the PGD, as in events. docs/recording.md says more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cpu.symbols.table import bias_of, loads_of, symbol_table
from mmu.linux.vma import VM_EXEC
from mmu.linux.vma_changes import Mapped, Unmapped, VmaChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.elf_layout import Phdr
    from cpu.task import System, Task, TaskEnd
    from mmu.linux.filemap import AddressSpace, MappedFile
    from mmu.linux.state import MmStruct
    from mmu.x86 import Geometry

    Functions = Callable[[str, list[tuple[int, int, str]], int], object]


def processor_head(
    geometry: Geometry, *, maxphyaddr: int | None = None, levels: int = 4
) -> dict[str, Any]:
    """What the head of a trace says of the processors: ``vendor``, ``maxphyaddr`` (bits),
    ``levels`` of paging, and ``arrays``, the TLB's by number: name, kind, number of the first
    place, sets, ways. ``maxphyaddr`` None: as the geometry has it.
    """
    arrays, first = [], 0
    for array in geometry.arrays:
        arrays.append(
            {
                "name": array.name,
                "kind": array.kind,
                "first": first,
                "sets": array.sets,
                "ways": array.ways.value,
            }
        )
        first += array.entries.value
    return {
        "arrays": arrays,
        "vendor": geometry.processor.vendor,
        "maxphyaddr": geometry.processor.maxphyaddr.value if maxphyaddr is None else maxphyaddr,
        "levels": levels,
    }


class Notes(Protocol):
    """Where notes go: a TraceWriter."""

    def note(self, kind: str, **fields: Any) -> None:
        """Write one, as of now."""


class Recorder:
    """Writes notes of a machine that has run nothing yet to ``notes`` from now on.

    ``on_functions(file, functions, bias)`` hears of the functions of each file that is mapped for
    execution, each time that it is: address in the file, bytes, name; the bias is what is added.
    """

    def __init__(self, system: System, notes: Notes, on_functions: Functions | None = None) -> None:
        self._notes = notes
        self._on_functions = on_functions
        self._watched: dict[int, VmaChanges] = {}
        self._loads: dict[AddressSpace, list[Phdr]] = {}
        self._functions: dict[AddressSpace | str, list[tuple[int, int, str]]] = {}
        system.recorder = self
        system.kernel.on_new_mm = self._watch
        for mm in system.kernel.mms:
            self._watch(mm)

    # Tasks.

    def made(self, task: Task) -> None:
        """The task is there, and has not run."""
        self._tell("process", task)

    def began(self, task: Task) -> None:
        """It has another program, whose address space is being laid out."""
        self._tell("exec", task)

    def laid_out(self, task: Task) -> None:
        """The program is in place: stack and heap have got their names."""
        changes = self._watched.get(int(task.mm.c.pgd))
        if changes is not None:
            self._tell_changes(task.mm, changes.renamed())

    def renamed(self, task: Task) -> None:
        """It has another name."""
        self._notes.note("comm", pid=task.pid, comm=_text(task.comm))

    def ended(self, task: Task, end: TaskEnd) -> None:
        """It begins to end."""
        signo = end.report.signo if end.report is not None else 0
        self._notes.note("exit", pid=task.pid, tgid=task.tgid, code=end.exit_code, signal=signo)

    def _tell(self, kind: str, task: Task) -> None:
        process = task.process
        self._notes.note(
            kind,
            pid=task.pid,
            tgid=task.tgid,
            comm=_text(task.comm),
            exe=process.exe.real_path,
            args=process.args,
            mm=int(task.mm.c.pgd),
            parent=process.first_parent,
            thread=task is not process.leader,
        )

    # Mappings.

    def _watch(self, mm: MmStruct) -> None:
        changes = self._watched[int(mm.c.pgd)] = VmaChanges(mm)
        mm.mmap_lock.before_write_unlock = lambda: self._tell_changes(mm, changes.changes())

    def _tell_changes(self, mm: MmStruct, changes: list[Unmapped | Mapped]) -> None:
        for change in changes:
            if isinstance(change, Mapped):
                self._tell_map(mm, change)
            else:
                self._notes.note("unmap", mm=int(mm.c.pgd), start=change.start, end=change.end)

    def _tell_map(self, mm: MmStruct, mapped: Mapped) -> None:
        file = mm.file(mapped.file) if mapped.file else None
        path = "" if file is None else file.shown()[0]
        bias = None
        if file is not None:
            bias = bias_of(self._loads_of(file), mapped.start, mapped.offset)
            if mapped.flags & VM_EXEC and bias is not None:
                self._tell_symbols(path, file, bias)
        special = file is not None and file.special
        self._notes.note(
            "map",
            mm=int(mm.c.pgd),
            start=mapped.start,
            end=mapped.end,
            prot=mapped.perms,
            flags=mapped.flags,
            offset=mapped.offset,
            file=path,
            name=path if special else mapped.name,
            bias=bias,
        )

    def _loads_of(self, file: MappedFile) -> list[Phdr]:
        if file.mapping not in self._loads:
            self._loads[file.mapping] = [] if file.mapping.shmem else loads_of(file)
        return self._loads[file.mapping]

    def _tell_symbols(self, path: str, file: MappedFile, bias: int) -> None:
        known = path if file.special else file.mapping
        if known not in self._functions:
            table = symbol_table(file)
            self._functions[known] = table.functions
            self._notes.note(
                "symbols",
                file=path,
                build_id=table.build_id,
                functions=table.functions,
                lines=table.lines,
                left_out=table.left_out,
            )
        if self._on_functions is not None:
            self._on_functions(path, self._functions[known], bias)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
