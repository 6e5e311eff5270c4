/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loops of 15 instructions that run RCX times and end at a SYSCALL.  loop_compute multiplies, carries,
 * rotates, compares and moves; loop_light has only what costs an engine next to nothing.
 * RDI is the buffer; loop_memory makes 3 accesses a turn and moves on by 64 bytes.
 */
	.intel_syntax noprefix
	.equ BUFFER_MASK, (16 << 20) - 1

loop_compute:
	mov	rax, rbx
	mul	r8
	add	r9, rax
	adc	r10, rdx
	rol	r9, 13
	xor	rbx, r10
	cmp	rbx, r9
	cmovb	rbx, r9
	mov	rdx, rbx
	shr	rdx, 17
	xor	rbx, rdx
	add	r11, rbx
	lea	r8, [r11 + r8*2 + 1]
	dec	rcx
	jnz	loop_compute
loop_compute_end:
	syscall

loop_light:
	mov	rbx, 0x1234567
	lea	rdx, [rbx + 99]
	add	rax, rbx
	xor	rdx, rax
	imul	rbx, rdx, 17
	ror	rdx, 7
	sub	rax, rdx
	lea	r8, [rax + rbx*2 + 5]
	and	r8, 0xffff
	or	r9, r8
	shl	r9, 1
	add	r10, r9
	not	r10
	dec	rcx
	jnz	loop_light
loop_light_end:
	syscall

loop_memory:
	mov	rax, [rdi + rsi]
	add	rbx, rax
	lea	rdx, [rsi + 24]
	xor	rbx, rdx
	mov	r8, [rdi + rdx]
	add	r8, rbx
	ror	r8, 3
	mov	[rdi + rsi + 8], r8
	add	rsi, 64
	and	rsi, BUFFER_MASK
	add	r9, r8
	sub	r10, rax
	xor	r11, r9
	dec	rcx
	jnz	loop_memory
loop_memory_end:
	syscall
