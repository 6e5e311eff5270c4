/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes every register as its first instruction finds it, in the order of test_start_state.py's LAYOUT.
 * No libc: the same bytes run natively and here.  Position-independent, for static and static-pie.
 */
	.intel_syntax noprefix
	.bss
	.balign 64
dump:	.skip 1024

	.text
	.globl _start
_start:
	mov	[rip + dump], rax
	mov	[rip + dump + 8], rbx
	mov	[rip + dump + 16], rcx
	mov	[rip + dump + 24], rdx
	mov	[rip + dump + 32], rsi
	mov	[rip + dump + 40], rdi
	mov	[rip + dump + 48], rbp
	mov	[rip + dump + 56], rsp
	mov	[rip + dump + 64], r8
	mov	[rip + dump + 72], r9
	mov	[rip + dump + 80], r10
	mov	[rip + dump + 88], r11
	mov	[rip + dump + 96], r12
	mov	[rip + dump + 104], r13
	mov	[rip + dump + 112], r14
	mov	[rip + dump + 120], r15
	pushfq
	pop	[rip + dump + 128]
	lea	rax, [rip + _start]
	mov	[rip + dump + 136], rax
	mov	eax, cs
	mov	[rip + dump + 144], rax
	mov	eax, ss
	mov	[rip + dump + 152], rax
	mov	eax, ds
	mov	[rip + dump + 160], rax
	mov	eax, es
	mov	[rip + dump + 168], rax
	mov	eax, fs
	mov	[rip + dump + 176], rax
	mov	eax, gs
	mov	[rip + dump + 184], rax
	mov	rax, [rsp]
	mov	[rip + dump + 192], rax
	smsw	rax
	mov	[rip + dump + 200], rax
	fxsave64 [rip + dump + 256]
	fnstenv	[rip + dump + 768]
	mov	eax, 158		/* arch_prctl */
	mov	edi, 0x1003		/* ARCH_GET_FS */
	lea	rsi, [rip + dump + 208]
	syscall
	mov	eax, 158
	mov	edi, 0x1004		/* ARCH_GET_GS */
	lea	rsi, [rip + dump + 216]
	syscall
	mov	eax, 1			/* write */
	mov	edi, 1
	lea	rsi, [rip + dump]
	mov	edx, 1024
	syscall
	mov	eax, 60			/* exit */
	xor	edi, edi
	syscall

	.section .note.GNU-stack, "", @progbits
