// SPDX-License-Identifier: GPL-2.0-or-later
/* What random calls found: each line is a call and its answer. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
}
#define SAY(call) say(#call, (long)(call))

int main(void)
{
	int p[2];
	fd_set set;
	long times[2];

	(void)!pipe(p);
	(void)!write(p[1], "x", 1);
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	times[0] = INT64_MAX; /* seconds that no struct can hold once now is added */
	times[1] = 999999;
	SAY(syscall(SYS_select, p[0] + 1, &set, NULL, NULL, times));
	SAY(times[0] > INT64_MAX / 2);
	times[0] = INT64_MAX;
	times[1] = INT64_MAX;
	FD_SET(p[0], &set);
	SAY(syscall(SYS_select, p[0] + 1, &set, NULL, NULL, times));
	times[0] = INT64_MAX / 1000;
	times[1] = 999999999;
	FD_SET(p[0], &set);
	SAY(syscall(SYS_pselect6, p[0] + 1, &set, NULL, NULL, times, NULL));
	return 0;
}
