# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of a process's surroundings: streams, arguments, files it is given, being stopped, too
little memory.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cpu.binfmt_elf import MAX_ARG_BYTES, MAX_ARG_STRLEN
from cpu.elf import ElfError
from cpu.fs.view import View, seen
from tests.guests.elf_builder import ET_DYN, Elf, Load, R, W
from tests.guests.machine import guest_machine, run


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program"


@pytest.mark.parametrize("engine", ["c", "python"])
def test_smallest_program(program: Path, engine: str) -> None:
    program.write_bytes(Elf().build())
    program.chmod(0o755)
    ours = run(program, engine=engine)
    assert (ours.result.exit_code, ours.result.instructions) == (7, 3)
    assert ours.result.syscalls == 1


def test_relocatable_program_with_large_alignment(program: Path) -> None:
    program.write_bytes(Elf([Load(vaddr=0, align=1 << 21)], kind=ET_DYN, entry=0x800).build())
    program.chmod(0o755)
    assert run(program).result.exit_code == 7


def test_segments_that_share_a_page(program: Path) -> None:
    loads = [
        Load(filesz=0xC00, memsz=0xC00),
        Load(vaddr=0x400C00, offset=0xC00, filesz=0x400, memsz=0x3000, flags=R | W),
    ]
    program.write_bytes(Elf([*loads, Load(vaddr=0x500000)], entry=0x500800).build())
    program.chmod(0o755)
    assert run(program).result.exit_code == 7


def test_file_names_arguments_and_environment() -> None:
    assert run("hello", "Ångström", env={"LANG": "C"}).text.startswith("hello, Ångström\n")


@pytest.mark.parametrize(
    "args",
    [("x" * MAX_ARG_STRLEN,), ("x" * 100_000,) * (MAX_ARG_BYTES // 100_000 + 1), ("a\0b",)],
    ids=["one", "all", "nul"],
)
def test_too_many_arguments_are_refused(args: tuple[str, ...]) -> None:
    with pytest.raises(ElfError):
        run("hello", *args)


def test_many_arguments_are_passed() -> None:
    assert run("hello", *["x" * 1000] * 1000).result.exit_code == 0


@pytest.mark.parametrize("pages", [4, 8, 16, 40, 60, 100])
@pytest.mark.parametrize("engine", ["c", "python"])
def test_too_little_memory_is_no_crash_and_no_leak(pages: int, engine: str) -> None:
    """Refused at loading, or killed for want of memory; or it just fits."""
    with guest_machine("hello", ram=pages << 12, engine=engine, streams=(0, 2, 2)) as machine:
        memory = machine.memory
        free = memory.free_frames
        try:
            assert machine.run().exit_code in (0, 137)
        except ElfError as error:
            assert "give the guest more RAM" in str(error)
        machine.vcpus[0].sync()
        assert memory.free_frames == free + 1


def test_standard_input_goes_through() -> None:
    data = bytes(range(256)) * 100
    assert run("faults", "cat", stdin=data).stdout == data


def test_given_file_is_read_and_no_other(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("data\n")
    assert run("faults", "cat", str(given), view=View(given=seen(str(tmp_path)))).text == "data\n"
    refused = run("faults", "cat", str(given))
    assert (refused.result.exit_code, refused.stdout) == (1, b"")
    assert b"No such file" in refused.stderr


@pytest.mark.parametrize("name", ["status", "maps", "statm"])
def test_proc_files(name: str) -> None:
    text = run("faults", "cat", f"/proc/self/{name}").text
    assert {"status": "VmPTE:\t", "maps": "[stack]", "statm": " 0 "}[name] in text
    assert {"status": "Name:\tfaults", "maps": "[vdso]", "statm": ""}[name] in text


def test_nobody_reads_the_output() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with guest_machine("hello", streams=(0, writer, 2)) as machine:
        result = machine.run()
    os.close(writer)
    assert (result.exit_code, result.problems) == (141, [])


def test_descriptors_of_the_host_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = len(os.listdir("/proc/self/fd"))
    run("faults", "cat", str(tmp_path / "file"), view=View(given=seen(str(tmp_path))))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_stop_ends_a_run_with_its_figures(fidelity: str) -> None:
    with guest_machine("faults", "spin", fidelity=fidelity) as machine:
        threading.Timer(0.3, machine.stop).start()
        result = machine.run()
    assert result.ended == "stopped"
    assert result.problems == []
    assert result.vm["VmPTE"] > 0
    assert result.instructions


def test_stop_ends_a_wait_for_input() -> None:
    reader, writer = os.pipe()
    with guest_machine("faults", "cat", streams=(reader, 1, 2)) as machine:
        threading.Timer(0.2, machine.stop).start()
        result = machine.run()
    os.close(reader)
    os.close(writer)
    assert result.ended == "stopped"


def test_samples_are_told_as_they_are_taken() -> None:
    heard: list[int] = []
    with guest_machine(
        "dontneed_loop", "8M", streams=(0, os.open(os.devnull, os.O_WRONLY), 2)
    ) as machine:
        machine.system.processes[0].on_sample = lambda sample: heard.append(sample.instructions)
        result = machine.run()
    assert heard == [sample.instructions for sample in result.samples[:-1]]
