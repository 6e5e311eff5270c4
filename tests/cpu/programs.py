# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that each end in a SYSCALL, chosen for what makes counting hard."""

from __future__ import annotations

LOOP = """
    mov ecx, 10
1:  add rax, rcx
    mov [0x600000 + rcx*8], rax
    dec ecx
    jnz 1b
    syscall
"""
REP = """
    mov edi, 0x600ff8
    mov ecx, 20
    mov al, 7
    rep stosb
    mov esi, 0x600ff8
    mov edi, 0x602000
    mov ecx, 9
    rep movsb
    xor ecx, ecx
    rep movsq
    mov esi, 0x600ff8
    mov edi, 0x602000
    mov ecx, 12
    repe cmpsb
    mov edi, 0x602000
    mov ecx, 5
    repne scasb
    mov edi, 0x602000
    mov ecx, 5
    mov al, 1
    repne scasb
    lodsb
    addr32 rep stosb
    syscall
"""
FLAGS = """
    stc
    pushfq
    pop rax
    pushfq
    popfq
    pushf
    add rsp, 8
    xor eax, eax
    pushfq
    mov rbx, [rsp]
    popfq
    call 1f
    jmp 2f
1:  pushfq
    pop rdx
    ret
2:  syscall
"""
CALLS = """
    mov ecx, 3
1:  push rcx
    call 2f
    pop rcx
    loop 1b
    syscall
2:  lock inc qword ptr [0x601000]
    xchg rax, [0x601ffc]
    push qword ptr [0x601000]
    pop qword ptr [0x603000]
    ret
"""
LONG = f"""
    mov ecx, 2
1:  {"inc rax; " * 700}
    mov [0x600000], rax
    dec ecx
    jnz 1b
    syscall
"""
ACROSS_PAGES = f"""
    mov ecx, 3
1:  {"lea rax, [rax + rbx + 0x12345]; " * 700}
    add [0x600000 + rcx*8], rax
    dec ecx
    jnz 1b
    syscall
"""
SSE = """
    mov eax, 0x600ff8
    movdqu xmm0, [rax]
    paddq xmm0, xmm0
    movdqu [rax + 4], xmm0
    movups [rax + 0x1000], xmm0
    fxsave [0x604000]
    fxrstor [0x604000]
    syscall
"""
ALL = {
    "loop": LOOP,
    "rep": REP,
    "flags": FLAGS,
    "calls": CALLS,
    "long": LONG,
    "across_pages": ACROSS_PAGES,
    "sse": SSE,
}
