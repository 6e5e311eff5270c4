// SPDX-License-Identifier: GPL-2.0-or-later
/* Crashes below a few calls: by itself, through libc, in a signal's handler, by abort(). */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int *volatile null;

static int crash(int depth)
{
	volatile int deep[10];

	deep[depth] = depth;
	if (depth == 0)
		return *null; /* LINE: crash */
	return crash(depth - 1) + deep[depth];
}

static int compare(const void *a, const void *b)
{
	(void)a;
	(void)b;
	return crash(2) + 1; /* LINE: compare */
}

static void handler(int signo)
{
	_exit(crash(signo - SIGUSR1) + 1); /* LINE: handler */
}

int main(int argc, char **argv)
{
	int numbers[3] = { 3, 1, 2 };

	switch (argc > 1 ? *argv[1] : 0) {
	case 'q':
		qsort(numbers, 3, sizeof(int), compare); /* LINE: qsort */
		break;
	case 's':
		signal(SIGUSR1, handler);
		raise(SIGUSR1); /* LINE: raise */
		break;
	case 'a':
		abort(); /* LINE: abort */
	default:
		return crash(1) + 1; /* LINE: main */
	}
	return 0;
}
