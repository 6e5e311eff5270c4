# SPDX-License-Identifier: GPL-2.0-or-later
"""A fuzzing loop: restore the registers, write an input, run at most 200 instructions, look."""

from __future__ import annotations

import random

from unicorn import UC_ARCH_X86, UC_HOOK_BLOCK, UC_MODE_64, UC_PROT_READ, UC_PROT_WRITE, Uc, UcError
from unicorn.x86_const import UC_X86_REG_RDI, UC_X86_REG_RIP, UC_X86_REG_RSI

import cpu

PAGE = 4096
PARSER = bytes.fromhex(
    "80 3e 4d   "  #     cmp byte ptr [rsi], 'M'
    "75 16      "  #     jne 9f
    "80 7e 01 5a"  #     cmp byte ptr [rsi + 1], 'Z'
    "75 10      "  #     jne 9f
    "80 7e 02 ff"  # 1:  cmp byte ptr [rsi + 2], 0xff
    "74 fa      "  #     je 1b
    "0f b6 4e 03"  #     movzx ecx, byte ptr [rsi + 3]
    "48 83 c6 04"  #     add rsi, 4
    "f3 a4      "  #     rep movsb
    "f4         "  # 9:  hlt
)
CODE, INPUT, OUTPUT = 0x10000, 0x20000, 0x30000
BUFFER = OUTPUT + PAGE - 64
"""Of 64 bytes: no page behind them."""
END = CODE + len(PARSER) - 1
WORDS = b"\0\x7f\x80\xff%<MZ"
"""Bytes that parsers like to compare with."""

uc = Uc(UC_ARCH_X86, UC_MODE_64)
uc.mem_map(CODE, PAGE)
uc.mem_write(CODE, PARSER)
uc.mem_map(INPUT, PAGE, UC_PROT_READ)
uc.mem_map(OUTPUT, PAGE, UC_PROT_READ | UC_PROT_WRITE)
uc.reg_write(UC_X86_REG_RSI, INPUT)
uc.reg_write(UC_X86_REG_RDI, BUFFER)
cpu.attach(uc, identity=True)
start = uc.context_save()

reached: set[int] = set()
uc.hook_add(UC_HOOK_BLOCK, lambda uc, address, size, _: reached.add(address))
rng = random.Random(1)
corpus = [b"...."]
seen: set[int] = set()
runs = 0
found: dict[str, bytes] = {}
while len(found) < 2:
    data = bytearray(rng.choice(corpus))
    data[rng.randrange(len(data))] = rng.choice(WORDS)
    uc.context_restore(start)
    uc.mem_write(INPUT, bytes(data))
    reached.clear()
    runs += 1
    try:
        uc.emu_start(CODE, END, count=200)
        if uc.reg_read(UC_X86_REG_RIP) != END:
            found.setdefault("hangs", bytes(data))
    except UcError as error:
        found.setdefault(str(error), bytes(data))
    if not reached <= seen:
        seen |= reached
        corpus.append(bytes(data))
print(f"{runs} runs, {len(corpus)} inputs kept")
for what, text in sorted(found.items()):
    print(text, what)
