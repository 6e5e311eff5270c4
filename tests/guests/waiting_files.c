// SPDX-License-Identifier: GPL-2.0-or-later
/* waiting_files HOW END: several processes and threads wait for files for ever, each in its own
 * call. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[8192];

static void *wait_for_ever(void *argument)
{
	int p[2], s[2], ep = epoll_create1(0);
	struct pollfd one;
	struct epoll_event e = { .events = EPOLLIN };
	uint64_t value;
	fd_set r;

	pipe(p);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	switch ((long)argument) {
	case 0:
		read(p[0], buffer, 1);
		break;
	case 1:
		for (;;)
			write(p[1], buffer, sizeof(buffer));
	case 2:
		one = (struct pollfd){ p[0], POLLIN, 0 };
		poll(&one, 1, -1);
		break;
	case 3:
		FD_ZERO(&r);
		FD_SET(p[0], &r);
		select(p[0] + 1, &r, NULL, NULL, NULL);
		break;
	case 4:
		epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e);
		epoll_wait(ep, &e, 1, -1);
		break;
	case 5:
		read(eventfd(0, 0), &value, 8);
		break;
	default:
		recv(s[0], buffer, 1, 0);
	}
	return NULL;
}

#define WAYS 7

int main(int argc, char **argv)
{
	int threads = argc > 1 && !strcmp(argv[1], "threads");

	for (long i = 0; i < WAYS; i++) {
		pthread_t thread;

		if (threads)
			pthread_create(&thread, NULL, wait_for_ever, (void *)i);
		else if (!fork()) {
			wait_for_ever((void *)i);
			_exit(1);
		}
	}
	nanosleep(&(struct timespec){ 0, 30000000 }, NULL);
	if (argc > 2 && !strcmp(argv[2], "exit"))
		return 5;
	if (argc > 2 && !strcmp(argv[2], "kill")) {
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		return 6;
	}
	for (;;)
		read(0, buffer, 1);
}
