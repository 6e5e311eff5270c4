# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: attached with identity, an instance does what plain Unicorn does.

Random scripts of API calls (regions, rights, hooks of each kind, contexts, exits, nested runs,
stops, exceptions) are played on plain Unicorn and on an instance that is attached at the begin, in
the middle, or twice: the same hook calls, results, exceptions, registers and memory. What differs
on purpose stands in attach/differences.py, and is shown by test_attach_differences.py.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from unicorn import Uc, UcError

from tests.oracles.attach.compare import PLAIN, compare_all, compare_one, differing
from tests.oracles.attach.minimise import minimise
from tests.oracles.attach.player import How, Log, Player, play
from tests.oracles.attach.script import Op, Script, write_script

SCRIPTS = 680
"""In each fidelity; 2,040 in all."""
PART = 170
SEED = 900_000
PYTHON_SCRIPTS = 30


def check(seed: int, scripts: int, how: How) -> None:
    """No script differs; few crash plain Unicorn."""
    found = differing(seed, scripts, (how,))
    ours = [one for one in found if one.counts]
    again = f"--fidelity {how.fidelity} --engine {how.engine} --scripts 1 --minimise"
    assert not ours, "\n".join(
        f"{one}\n  python -m tests.oracles.attach --seed {one.seed} {again}" for one in ours[:5]
    )
    assert len(found) <= scripts // 20


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
@pytest.mark.parametrize("part", range(SCRIPTS // PART))
def test_random_scripts(part: int, fidelity: str) -> None:
    check(SEED + part * PART, PART, How(fidelity))


def test_random_scripts_on_the_python_engine() -> None:
    check(SEED + SCRIPTS, PYTHON_SCRIPTS, How("exact", "python"))


def test_plain_unicorn_answers_the_same_twice() -> None:
    check(SEED, 60, PLAIN)


# The player and the writer of scripts are themselves held to something.


class Wrong(Player):
    """Does one thing otherwise than is asked."""

    def op_set(self, name: str, value: int) -> None:
        super().op_set(name, value & ~8)


class Deaf(Player):
    """Misses each third call of a hook."""

    def called(self, hook: dict[str, Any], *about: int) -> int:
        if self.calls.get(hook["id"], 0) % 3 == 2:
            self.calls[hook["id"]] += 1
            return 0
        return super().called(hook, *about)


class Lax(Player):
    """Makes every region writable."""

    def op_map(self, begin: int, size: int, perms: int) -> None:
        super().op_map(begin, size, perms | 2)


class Forgetful(Player):
    """Restores no context."""

    def op_restore(self, ident: int) -> None:
        return None


class Endless(Player):
    """Runs to the end of the page, whatever the end."""

    def op_run(self, begin: int, until: int, timeout: int, count: int, door: str) -> None:
        super().op_run(begin, 0, timeout, count, door)


class Silent(Player):
    """Keeps exceptions of hooks to itself."""

    def act(self, op: Op) -> None:
        if op[0] != "raise":
            super().act(op)


def play_by(player: type[Player]) -> Any:
    def play_it(script: Script, _how: How) -> Log:
        return player(script, PLAIN).play()

    return play_it


@pytest.mark.parametrize("player", [Wrong, Deaf, Lax, Forgetful, Endless, Silent])
def test_a_wrong_player_is_caught(player: type[Player]) -> None:
    """An instance that did this would not pass: plain Unicorn is played against itself, wrongly."""
    work = ((write_script(seed), PLAIN) for seed in range(SEED, SEED + 2 * PART))
    assert any(one is not None and one.kind == "log" for one in compare_all(work, play_by(player)))


def test_a_crash_is_told_and_does_not_stop_the_others() -> None:
    def crash(script: Script, how: How) -> Log:
        if script["seed"] == SEED + 1:
            os.abort()
        return play(script, how)

    found = [one for one in differing(SEED, 4, (PLAIN,), crash) if one.counts]
    assert [(one.seed, one.kind, one.told) for one in found] == [(SEED + 1, "crash", "SIGABRT")]


def test_the_minimiser_keeps_what_matters() -> None:
    """A script of dozens of operations is left with the one that a wrong player does wrong."""
    script = next(
        script
        for script in map(write_script, range(SEED, SEED + 100))
        if compare_one(script, PLAIN, play_by(Lax)) is not None
    )

    def holds(candidate: Script) -> bool:
        found = compare_one(candidate, PLAIN, play_by(Lax))
        return found is not None and found.kind == "log"

    small = minimise(script, holds)
    assert holds(small)
    assert len(small["ops"]) < 4
    assert small["ops"][0][0] == "map"


def test_scripts_do_everything() -> None:
    """Each operation, each kind of hook and each error is met, in hooks and outside."""
    met: Counter[str] = Counter()
    for seed in range(SEED, SEED + 400):
        script = write_script(seed)
        for op in script["ops"]:
            met[op[0]] += 1
            if op[0] == "hook":
                met[op[1]["kind"]] += 1
                met.update(f"in a hook: {act[0]}" for _, act in op[1]["acts"])
    rare = [name for name in EXPECTED if met[name] < 3]
    assert not rare


EXPECTED = (
    *("map", "map_ptr", "mmio", "unmap", "protect", "write", "code", "fill", "read", "set", "get"),
    *("save", "restore", "remove_cache", "flush_tb", "flush_tlb", "exits_on", "exits_off"),
    *("set_exits", "run", "attach", "detach", "hook", "unhook", "regions"),
    *("block", "code", "mem_read", "mem_write", "mem_read|mem_write", "mem_read_after", "intr"),
    *("mem_read_unmapped", "mem_write_unmapped", "mem_fetch_unmapped", "mem_read_prot"),
    *("mem_write_prot", "mem_fetch_prot", "insn:syscall", "insn:cpuid", "insn:in", "insn:out"),
    "insn_invalid",
    *(f"in a hook: {name}" for name in ("map", "unmap", "protect", "write", "read", "set", "get")),
    *(f"in a hook: {name}" for name in ("nest", "stop", "raise", "hook", "unhook", "save")),
    *(f"in a hook: {name}" for name in ("map_here", "protect_here")),
)


def test_the_log_tells_an_error_and_where() -> None:
    script = {"seed": 0, "ops": [["map", 0x1000, 0x1000, 1], ["map", 0x1000, 0x1000, 1]]}
    log = play(script, PLAIN)
    with pytest.raises(UcError) as error:
        uc = Player(script, PLAIN).uc
        assert isinstance(uc, Uc)
        uc.mem_map(0x1000, 0x1000)
        uc.mem_map(0x1000, 0x1000)
    assert log[0] == ("0", "map", None)
    assert log[1] == ("1", "map", "UcError", error.value.errno)
