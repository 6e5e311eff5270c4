/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the memory system calls that it is told on standard input, and prints what each returned,
 * then /proc/self/maps: the host's kernel as an oracle for ours. Address-space randomisation is
 * switched off, and it uses no memory of libc's, so that its address space is ever the same.
 *
 *	mmap ADDR LENGTH PROT FLAGS OFFSET FILE | munmap ADDR LENGTH | mprotect ADDR LENGTH PROT
 *	madvise ADDR LENGTH ADVICE | brk ADDR | touch ADDR | mremap ADDR OLD NEW FLAGS TO
 *
 * Numbers are hexadecimal; brk takes and gives an offset from the first break; FILE is 1 for this
 * program's own file; touch writes a byte.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

static char input[1 << 20], output[1 << 20];
static size_t used;

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static void put(long value)
{
	unsigned long digits = value < 0 ? -(unsigned long)value : (unsigned long)value;
	char text[20];
	int n = 0;

	do
		text[n++] = "0123456789abcdef"[digits & 15];
	while (digits >>= 4);
	if (value < 0)
		output[used++] = '-';
	while (n)
		output[used++] = text[--n];
	output[used++] = '\n';
}

int main(int argc, char **argv)
{
	size_t length = 0;
	long got, first_brk;
	char *line, *end, *number;
	int file;

	(void)argc;
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
		return 1;
	}
	while ((got = read(0, input + length, sizeof(input) - 1 - length)) > 0)
		length += got;
	file = open("/proc/self/exe", O_RDONLY);
	first_brk = call(SYS_brk, 0, 0, 0, 0, 0, 0);
	for (line = input; *line; line = end + 1) {
		long v[6] = { 0 }, ret = 0;

		end = strchrnul(line, '\n');
		number = strchrnul(line, ' ');
		for (int i = 0; i < 6 && number < end; i++)
			v[i] = strtoul(number, &number, 16);
		if (!strncmp(line, "mmap ", 5))
			ret = call(SYS_mmap, v[0], v[1], v[2], v[3], v[5] ? file : -1, v[4]);
		else if (!strncmp(line, "munmap ", 7))
			ret = call(SYS_munmap, v[0], v[1], 0, 0, 0, 0);
		else if (!strncmp(line, "mprotect ", 9))
			ret = call(SYS_mprotect, v[0], v[1], v[2], 0, 0, 0);
		else if (!strncmp(line, "mremap ", 7))
			ret = call(SYS_mremap, v[0], v[1], v[2], v[3], v[4], 0);
		else if (!strncmp(line, "madvise ", 8))
			ret = call(SYS_madvise, v[0], v[1], v[2], 0, 0, 0);
		else if (!strncmp(line, "brk ", 4))
			ret = call(SYS_brk, first_brk + v[0], 0, 0, 0, 0, 0) - first_brk;
		else if (!strncmp(line, "touch ", 6))
			*(volatile char *)v[0] = 1;
		put(ret);
		if (!*end)
			break;
	}
	got = write(1, output, used);
	file = open("/proc/self/maps", O_RDONLY);
	while ((got = read(file, input, sizeof(input))) > 0)
		got = write(1, input, got);
	return 0;
}
