/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A page of its own PTE table: touched, read by a thread, freed under it; a page written after a fork. */
	.intel_syntax noprefix
	.macro	call nr, a = 0, b = 0, c = 0
	mov	edi, \a
	mov	esi, \b
	mov	edx, \c
	mov	eax, \nr
	syscall
	.endm
	.set	page, 0x10000000

	.globl	_start
_start:	mov	r10d, 0x32			/* MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS */
	mov	r8d, -1
	xor	r9d, r9d
	call	9, page, 4096, 3		/* mmap: PROT_READ | PROT_WRITE */
	call	56, 0x10f00, "offset stack"	/* clone: CLONE_VM | _FS | _FILES | _SIGHAND | _THREAD */
	test	eax, eax
	jz	thread
touch:	mov	byte ptr [page], 1		/* the first touch: a table is made */
ready:	cmp	dword ptr [seen], 0
	je	ready
	call	28, page, 4096, 4		/* madvise: MADV_DONTNEED, the table is freed */
	mov	dword ptr [freed], 1
fork:	call	57
	test	eax, eax
	jz	child
	xor	r10d, r10d
	call	61, -1				/* wait4 */
	call	231				/* exit_group */
thread:	cmp	byte ptr [page], 0		/* the page is now in this CPU's TLB too */
	je	thread
	mov	dword ptr [seen], 1
spin:	cmp	dword ptr [freed], 0
	je	spin
	call	60				/* exit */
child:	mov	byte ptr [seen], 2		/* shared since the fork: copied on write */
	call	60

	.bss
seen:	.skip	4
freed:	.skip	4
	.skip	4096
stack:
