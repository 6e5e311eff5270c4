// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A tree of processes, DEPTH (3) levels deep, each with 2 children, over SIZE (8M) bytes of memory
 * that they copy on write: each writes a part of its own, checks that its parent's and its
 * siblings' writes do not show, and adds up what its children say.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "guest.h"

#define CHILDREN 2

static unsigned char *memory;
static size_t size, *total;

static unsigned char part_of(size_t node)
{
	return (unsigned char)(node % 251 + 1);
}

/* The bytes that this node writes: every fourth page, from one on that depends on its number. */
static void write_part(size_t node)
{
	for (size_t at = node % 4 * PAGE_BYTES; at < size; at += 4 * PAGE_BYTES)
		memory[at] = part_of(node);
}

static void check(size_t node, const unsigned char *before)
{
	for (size_t at = 0; at < size; at += PAGE_BYTES) {
		unsigned char want = before[at / PAGE_BYTES];

		if (at / PAGE_BYTES % 4 == node % 4)
			want = part_of(node);
		if (memory[at] != want)
			die("node %zu: page %zu has %u, not %u", node, at / PAGE_BYTES, memory[at],
			    want);
	}
}

static void grow(size_t node, size_t depth, const unsigned char *before)
{
	unsigned char *mine = malloc(size / PAGE_BYTES);

	if (!mine)
		die("malloc failed");
	write_part(node);
	check(node, before);
	for (size_t at = 0; at < size; at += PAGE_BYTES)
		mine[at / PAGE_BYTES] = memory[at];
	for (size_t i = 0; depth && i < CHILDREN; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork failed");
		if (!pid) {
			grow(node * CHILDREN + 1 + i, depth - 1, mine);
			exit(0);
		}
	}
	for (size_t i = 0; depth && i < CHILDREN; i++) {
		int status;

		if (wait(&status) < 0 || status)
			die("node %zu: a child ended with status %#x", node, status);
	}
	check(node, before);
	__atomic_add_fetch(total, 1, __ATOMIC_RELAXED);
	free(mine);
}

int main(int argc, char **argv)
{
	size_t depth = argc > 1 ? parse_size(argv[1]) : 3;
	unsigned char *zeros;

	size = argc > 2 ? parse_size(argv[2]) : 8 << 20;
	if (argc > 3 || depth > 8 || size % PAGE_BYTES || !size)
		die("usage: fork_tree [DEPTH [SIZE]], at most 8 levels, whole pages");
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	total = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	zeros = calloc(size / PAGE_BYTES, 1);
	if (memory == MAP_FAILED || total == MAP_FAILED || !zeros)
		die("no memory");
	setvbuf(stdout, NULL, _IONBF, 0);
	grow(0, depth, zeros);
	printf("%zu processes, each with its own memory\n", *total);
	print_vm("end");
	return 0;
}
