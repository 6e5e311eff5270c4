/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Run a program in a child, in a group of "limit" threads if the first argument is a number; say
 * how it went.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int many(unsigned long limit)
{
	struct rlimit few = { limit, limit };
	int made = 0, status;

	setrlimit(RLIMIT_NPROC, &few);
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();

		if (!pid) {
			pause();
			_exit(0);
		}
		if (pid < 0)
			break;
		made++;
	}
	printf("%d processes, then %s\n", made, strerrorname_np(errno));
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(&status) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	int status;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc < 2) {
		printf("run as:");
		for (int i = 0; i < argc; i++)
			printf(" %s", argv[i]);
		printf("\n");
		return 0;
	}
	if (getenv("CHILD")) {
		printf("run as:");
		for (int i = 0; i < argc; i++)
			printf(" %s", argv[i]);
		printf("\n");
		return 3;
	}
	if (atoi(argv[1]))
		return many(strtoul(argv[1], NULL, 0));
	if (!fork()) {
		setenv("CHILD", "1", 1);
		execv(argv[1], argv + 1);
		printf("%s\n", strerrorname_np(errno));
		_exit(100);
	}
	wait(&status);
	printf("status %#x\n", status);
	return 0;
}
