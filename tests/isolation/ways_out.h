/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ways out of a machine: each says in one line what it got.  The host's side looks whether that is
 * a secret, and whether anything of its own changed.
 *
 * A way marked HARMLESS may be tried natively too, where it must succeed: so it is a way at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ONLY_HERE,
	HARMLESS
};

struct way {
	const char *name;
	int harmless;
	void (*try)(void);
};

/* The host's things, named by the arguments. */
static const char *outside; /* a directory with `key` in it; nothing of it is given */
static const char *given;   /* a directory that --read names */
static const char *writable;
static const char *unix_path;
static const char *abstract;
static int victim; /* a process */
static int port;   /* of a server on 127.0.0.1 */

static char path_buffer[2][8192];

#define WAY(name, harmless)                                                             \
	static void try_##name(void);                                                   \
	static const struct way way_##name                                              \
		__attribute__((used, section("ways"), aligned(8))) = { #name, harmless, \
								       try_##name };    \
	static void try_##name(void)

extern const struct way __start_ways[], __stop_ways[];

static void got(const char *what, long result)
{
	int error = errno;

	if (result == -1)
		printf(" %s=%s", what, strerrorname_np(error) ?: "?");
	else
		printf(" %s=%ld", what, result);
	errno = error;
}
#define GOT(call) got(#call, (long)(call))

/* Print what can be read from a descriptor, and close it. */
static void leak_fd(int fd)
{
	char data[256];
	ssize_t n;

	got("open", fd);
	if (fd < 0)
		return;
	n = read(fd, data, sizeof(data) - 1);
	got("read", n);
	for (ssize_t i = 0; i < n; i++)
		putchar(data[i] >= ' ' && data[i] < 127 ? data[i] : '.');
	close(fd);
}

static void leak(const char *path)
{
	leak_fd(open(path, O_RDONLY | O_NONBLOCK));
}

/* Write to a descriptor what must never be found outside, and close it. */
static void spoil_fd(int fd)
{
	got("open", fd);
	if (fd < 0)
		return;
	got("write", write(fd, "SPOILT", 6));
	close(fd);
}

static void spoil(const char *path)
{
	spoil_fd(open(path, O_WRONLY | O_NONBLOCK));
}

/* "A/B" in one of two buffers. */
static const char *join(const char *one, const char *two)
{
	static int turn;
	char *to = path_buffer[turn ^= 1];

	snprintf(to, sizeof(path_buffer[0]), "%s/%s", one, two);
	return to;
}

static const char *key(void)
{
	return join(outside, "key");
}

/*
 * ways_out OUTSIDE GIVEN WRITABLE UNIX ABSTRACT PID PORT [harmless|NAME...]
 */
int main(int argc, char **argv)
{
	int harmless = argc > 8 && !strcmp(argv[8], "harmless");

	if (argc < 8)
		return 2;
	outside = argv[1];
	given = argv[2];
	writable = argv[3];
	unix_path = argv[4];
	abstract = argv[5];
	victim = atoi(argv[6]);
	port = atoi(argv[7]);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	for (const struct way *way = __start_ways; way < __stop_ways; way++) {
		int named = 0;

		for (int i = 8; i < argc; i++)
			named |= !strcmp(argv[i], way->name);
		if (harmless ? !way->harmless : argc > 8 && !named)
			continue;
		printf("%s:", way->name);
		way->try();
		printf("\n");
	}
	return 0;
}
