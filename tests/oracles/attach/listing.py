# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts as text that is read."""

from __future__ import annotations

from typing import Any

import capstone

from tests.oracles.attach.script import Op, Script


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return hex(value) if value > 9 else str(value)


def code_lines(at: int, pieces: list[str]) -> list[str]:
    """Disassembled instructions, runs of NOPs as one."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    lines = []
    for piece in pieces:
        data = bytes.fromhex(piece)
        if data == b"\x90" * len(data):
            lines.append(f"        {at:#x}: nop * {len(data)}")
            at += len(data)
            continue
        for insn in decoder.disasm(data, at):
            lines.append(f"        {insn.address:#x}: {insn.mnemonic} {insn.op_str}".rstrip())
        if not any(decoder.disasm(data, at)):
            lines.append(f"        {at:#x}: bytes {piece}")
        at += len(data)
    return lines


def of_operation(op: Op) -> list[str]:
    """One operation, as lines."""
    if op[0] == "code":
        return [f"code {op[1]:#x}", *code_lines(op[1], op[2])]
    if op[0] == "hook":
        hook = op[1]
        head = " ".join(f"{key}={_number(hook[key])}" for key in hook if key != "acts")
        return [
            f"hook {head}",
            *(f"        call {when}: {' '.join(of_operation(act))}" for when, act in hook["acts"]),
        ]
    return [" ".join(_number(part) for part in op)]


def of_script(script: Script) -> str:
    """All its operations, numbered as in the log."""
    lines = []
    for index, op in enumerate(script["ops"]):
        first, *rest = of_operation(op)
        lines += [f"{index:4}  {first}", *rest]
    return "\n".join(lines)
