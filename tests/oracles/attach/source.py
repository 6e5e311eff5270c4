# SPDX-License-Identifier: GPL-2.0-or-later
"""A script as a Python program that stands alone: what a report of a defect needs."""

from __future__ import annotations

from tests.oracles.attach.listing import code_lines
from tests.oracles.attach.player import How
from tests.oracles.attach.script import Op, Script

HEAD = '''"""{title}

usage: PROGRAM plain|{fidelity}
"""
import mmap, ctypes, sys
from unicorn import *
from unicorn.x86_const import *

how = sys.argv[1] if len(sys.argv) > 1 else "{fidelity}"
uc = m = Uc(UC_ARCH_X86, UC_MODE_64)
calls, saved, handles, buffers = {{}}, {{}}, {{}}, []


def tell(what, function, *arguments):
    try:
        print(what, function(*arguments))
    except Exception as error:
        print(what, type(error).__name__, getattr(error, "errno", ""), error)


def registers():
    names = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags".split()
    values = ((name, uc.reg_read(globals()["UC_X86_REG_" + name.upper()])) for name in names)
    print("    ", " ".join(f"{{name}}={{value:x}}" for name, value in values))


def buffer():
    buffers.append(mmap.mmap(-1, 0x10000))
    return ctypes.addressof(ctypes.c_char.from_buffer(buffers[-1]))


def nest(door, begin, until):
    context = uc.context_save()
    tell("  nested run", door.emu_start, begin, until)
    registers()
    uc.context_restore(context)

'''
ATTACH = """if how != "plain":
    import cpu

    m = cpu.attach(uc, identity=True, fidelity=how)"""
DETACH = """if how != "plain":
    m.detach()
    m = uc"""


def _call(op: Op) -> str:
    """The expression of an operation."""
    name, *rest = op
    args = [f"{part:#x}" if isinstance(part, int) else repr(part) for part in rest]
    simple = {
        "map": "uc.mem_map",
        "unmap": "uc.mem_unmap",
        "protect": "uc.mem_protect",
        "remove_cache": "uc.ctl_remove_cache",
        "flush_tb": "uc.ctl_flush_tb",
        "read": "uc.mem_read",
        "set_exits": "uc.ctl_set_exits",
        "stop": "uc.emu_stop",
    }
    if name in simple:
        return f"{simple[name]}({', '.join(args)})"
    if name == "run":
        return f"{op[-1]}.emu_start({', '.join(args[:-1])})"
    if name == "nest":
        return f"nest({op[-1]}, {', '.join(args[:-1])})"
    if name == "map_ptr":
        return f"uc.mem_map_ptr({', '.join(args[:3])}, buffer())"
    if name == "write":
        return f"uc.mem_write({args[0]}, bytes.fromhex({args[1]}))"
    if name == "fill":
        return f"uc.mem_write({args[0]}, bytes(i * 7 % 251 for i in range({args[1]})))"
    if name == "set":
        return f"uc.reg_write(UC_X86_REG_{op[1].upper()}, {args[1]})"
    if name == "get":
        return f"uc.reg_read(UC_X86_REG_{op[1].upper()})"
    if name == "save":
        return f"saved.update({{{op[1]}: uc.context_save()}})"
    if name == "restore":
        return f"uc.context_restore(saved[{op[1]}])"
    if name in ("exits_on", "exits_off"):
        return f"uc.ctl_exits_enabled({name == 'exits_on'})"
    if name == "flush_tlb":
        return "uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)"
    if name == "unhook":
        return f"handles[{op[1]}][0].hook_del(handles[{op[1]}][1])"
    if name == "regions":
        return "sorted(uc.mem_regions())"
    if name == "map_here":
        return f"uc.mem_map(a[1] & -4096, {op[2] * 4096:#x}, {op[1]})"
    if name == "protect_here":
        return f"uc.mem_protect(a[1] & -4096, 4096, {op[1]})"
    if name == "mmio":
        return (
            f"uc.mmio_map({args[0]}, {args[1]}, lambda u, at, size, d: print('mmio read', at, size)"
            f" or {op[3]:#x} + at & (1 << 8 * size) - 1, None,"
            " lambda u, at, size, value, d: print('mmio write', at, size, value), None)"
        )
    return f"None  # {op}"


def _hook(op: Op) -> list[str]:
    hook = op[1]
    ident, kind = hook["id"], hook["kind"]
    lines = [
        "",
        f"def hook_{ident}(u, *a):",
        f"    number = calls[{ident}] = calls.get({ident}, -1) + 1",
        f'    print("hook {ident} {kind}", [hex(x) for x in a if x is not None],'
        ' "rip", hex(u.reg_read(UC_X86_REG_RIP)))',
    ]
    for when, act in hook["acts"]:
        lines.append(f"    if number == {when}:")
        if act[0] == "raise":
            lines.append(f"        raise RuntimeError({act[1]})")
        elif act[0] == "hook":
            lines += [f"        {line}" for line in _hook(act)]
        else:
            call = _call(act)
            lines.append(f'        tell("  in hook: {act[0]}", lambda: {call})')
    if kind == "insn:in":
        lines.append("    return number * 0x11")
    elif kind == "insn:cpuid":
        lines.append("    return int(number > 1)")
    elif kind == "insn_invalid":
        lines.append(f"    if number < 2 and {hook['returns']}[number % 3]:")
        lines.append("        u.reg_write(UC_X86_REG_RIP, u.reg_read(UC_X86_REG_RIP) + 2)")
        lines.append("        return True")
        lines.append("    return False")
    elif "unmapped" in kind or "prot" in kind:
        lines.append(f"    return {hook['returns']}[number % 3]")
    names = ["UC_HOOK_INSN"] if ":" in kind else [f"UC_HOOK_{n.upper()}" for n in kind.split("|")]
    extra = f", UC_X86_INS_{kind[5:].upper()}" if ":" in kind else ""
    where = f"{hook['begin']:#x}, {hook['end']:#x}"
    door = hook["door"]
    lines += [
        "",
        f"handles[{ident}] = {door}, {door}.hook_add({' | '.join(names)}, hook_{ident}, None,"
        f" {where}{extra})",
    ]
    return lines


def _lines(op: Op) -> list[str]:
    if op[0] == "attach":
        return [ATTACH]
    if op[0] == "detach":
        return [DETACH]
    if op[0] == "hook":
        return _hook(op)
    if op[0] == "code":
        code = "".join(op[2])
        comments = [f"#   {line.strip()}" for line in code_lines(op[1], op[2])]
        return [*comments, f'uc.mem_write({op[1]:#x}, bytes.fromhex("{code}"))']
    if op[0] == "run":
        return [f'tell("run", lambda: {_call(op)})', "registers()"]
    if op[0] in ("get", "read", "regions"):
        return [f'tell("{op[0]}", lambda: {_call(op)})']
    return [f'tell("{op[0]}", lambda: {_call(op)})']


def of_script(script: Script, how: How, title: str) -> str:
    """The program."""
    lines = [line for op in script["ops"] for line in _lines(op)]
    end = (
        "for begin, end, perms in sorted(uc.mem_regions()):\n"
        "    if m is uc or begin != m.memory.base:\n"
        '        data = uc.mem_read(begin, end + 1 - begin).rstrip(b"\\0")\n'
        "        print(hex(begin), hex(end), perms, len(data), data[:64].hex())\n"
    )
    return HEAD.format(title=title, fidelity=how.fidelity) + "\n".join([*lines, "", end])
