/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waits that do not end by themselves. "mutexes" and "pipe" are deadlocks; "exit", "kill" and
 * "stop" WHERE end such a wait by the process's end, a signal, and not at all.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint32_t word, lock;
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, two = PTHREAD_MUTEX_INITIALIZER;

static void pause_ms(long ms)
{
	struct timespec time = { 0, ms * 1000000 };

	nanosleep(&time, NULL);
}

static void *other_order(void *arg)
{
	pthread_mutex_lock(&two);
	pause_ms(10);
	pthread_mutex_lock(&one);
	return arg;
}

static void mutexes(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, other_order, NULL);
	pthread_mutex_lock(&one);
	pause_ms(10);
	pthread_mutex_lock(&two);
}

static void pipe_of_a_child(void)
{
	int fds[2];
	char c;

	if (pipe(fds))
		exit(1);
	if (!fork())
		exit(read(fds[0], &c, 1) != 0);
	wait(NULL);
}

static void *hold(void *arg)
{
	lock = gettid();
	for (;;)
		pause();
	return arg;
}

static void wait_for_ever(const char *where)
{
	struct {
		uint64_t value, addr;
		uint32_t flags, reserved;
	} waiter = { 0, (uintptr_t)&word, 2 | 128, 0 };
	struct timespec long_time = { 100000, 0 };
	pthread_t thread;

	if (!strcmp(where, "futex")) {
		syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
	} else if (!strcmp(where, "timed")) {
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &long_time, NULL, 0);
	} else if (!strcmp(where, "pi")) {
		pthread_create(&thread, NULL, hold, NULL);
		while (!*(volatile uint32_t *)&lock)
			pause_ms(1);
		syscall(SYS_futex, &lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	} else if (!strcmp(where, "requeue_pi")) {
		syscall(SYS_futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &lock, 0);
	} else if (!strcmp(where, "waitv")) {
		syscall(449, &waiter, 1, 0, NULL, 1);
	} else if (!strcmp(where, "wait4")) {
		if (!fork())
			for (;;)
				pause();
		wait(NULL);
	} else if (!strcmp(where, "waitid")) {
		if (!fork())
			for (;;)
				pause();
		waitid(P_ALL, 0, NULL, WEXITED);
	} else if (!strcmp(where, "vfork")) {
		if (!vfork())
			for (;;)
				pause();
	}
	printf("%s ended\n", where);
}

static void *wait_in_a_thread(void *arg)
{
	wait_for_ever(arg);
	return NULL;
}

static void *tick(void *arg)
{
	for (;;)
		pause_ms(100);
	return arg;
}

int main(int argc, char **argv)
{
	const char *how = argv[1], *where = argv[2];
	pthread_t thread;
	int status = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc < 2)
		return 2;
	if (!strcmp(how, "mutexes")) {
		mutexes();
	} else if (!strcmp(how, "pipe")) {
		pipe_of_a_child();
	} else if (!strcmp(how, "exit")) {
		pthread_create(&thread, NULL, wait_in_a_thread, (void *)where);
		pause_ms(50);
		printf("exit\n");
		kill(0, 0);
		_exit(5);
	} else if (!strcmp(how, "kill")) {
		pid_t pid = fork();

		if (!pid)
			wait_for_ever(where);
		pause_ms(50);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		printf("status %#x\n", status);
		kill(-getpgrp(), SIGKILL);
	} else if (!strcmp(how, "stop")) {
		pthread_create(&thread, NULL, tick, NULL);
		wait_for_ever(where);
	}
	return 0;
}
