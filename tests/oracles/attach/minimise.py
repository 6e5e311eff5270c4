# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes away from a script all that its difference does not need."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from tests.oracles.attach.script import Op, Script

Holds = Callable[[Script], bool]


def _without(script: Script, begin: int, end: int) -> Script:
    return {**script, "ops": script["ops"][:begin] + script["ops"][end:]}


def _delete_operations(script: Script, holds: Holds) -> Script:
    """Delete runs of operations, long ones first."""
    size = max(len(script["ops"]) // 2, 1)
    while size:
        at = len(script["ops"]) - size
        while at >= 0:
            candidate = _without(script, at, at + size)
            if holds(candidate):
                script = candidate
            at -= size
        size //= 2
    return script


def _simpler(op: Op) -> Iterator[Op]:
    """Operations that do a little less."""
    if op[0] == "hook":
        hook = op[1]
        for index in range(len(hook["acts"])):
            acts = hook["acts"][:index] + hook["acts"][index + 1 :]
            yield ["hook", {**hook, "acts": acts}]
        if hook["look"]:
            yield ["hook", {**hook, "look": False}]
        if hook["begin"] <= hook["end"]:
            yield ["hook", {**hook, "begin": 1, "end": 0}]
        if hook["door"] == "m":
            yield ["hook", {**hook, "door": "uc"}]
        if "|" in hook["kind"]:
            for kind in hook["kind"].split("|"):
                yield ["hook", {**hook, "kind": kind}]
    if op[0] == "run":
        _, begin, until, timeout, count, door = op
        if timeout:
            yield ["run", begin, until, 0, count, door]
        if count:
            yield ["run", begin, until, timeout, 0, door]
        if door == "m":
            yield ["run", begin, until, timeout, count, "uc"]
    if op[0] == "code":
        yield from _simpler_code(op)


def _simpler_code(op: Op) -> Iterator[Op]:
    """The program with instructions made NOPs, many at once first, or cut off behind."""
    _, at, pieces = op
    size = len(pieces)
    while size:
        for begin in range(0, len(pieces), size):
            some = pieces[begin : begin + size]
            nops = ["90" * (len(piece) // 2) for piece in some]
            if nops != some:
                yield ["code", at, pieces[:begin] + nops + pieces[begin + size :]]
        size //= 2


def _simplify(script: Script, holds: Holds) -> Script:
    for index in range(len(script["ops"])):
        again = True
        while again:
            again = False
            for op in _simpler(script["ops"][index]):
                candidate = copy.copy(script)
                candidate["ops"] = [*script["ops"]]
                candidate["ops"][index] = op
                if holds(candidate):
                    script, again = candidate, True
                    break
    return script


def minimise(script: Script, holds: Holds) -> Script:
    """The script, smaller, for which ``holds`` is still true; greedily."""
    while True:
        smaller = _simplify(_delete_operations(script, holds), holds)
        if smaller == script:
            return script
        script = smaller
