// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls that only root may make, by somebody else: a line is a call and its answer. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *what, long result)
{
	printf("%s = %ld %s\n", what, result, result < 0 ? strerrorname_np(errno) : "");
}
#define SAY(name, ...) say(#name " " #__VA_ARGS__, syscall(SYS_##name, __VA_ARGS__))

int main(void)
{
	if (!getuid())
		return 1;
	SAY(acct, 0L);
	SAY(swapon, "/nosuch", 0);
	SAY(swapoff, "/nosuch");
	SAY(vhangup, 0);
	SAY(reboot, 1, 2, 3, 0L);
	return 0;
}
