/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * futex(2) by hand, and what C libraries make of it: errors, bitsets, requeueing, FUTEX_WAKE_OP,
 * PI and robust mutexes, futex_waitv(). What is written does not depend on the schedule.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static uint32_t word, word2, *shared;
static volatile int waiting, woken[8];

static long futex(uint32_t *addr, int op, uint32_t value, const void *timeout, uint32_t *addr2,
		  uint32_t value3)
{
	return syscall(SYS_futex, addr, op, value, timeout, addr2, value3);
}

static void tell(const char *what, long result)
{
	printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
	       result < 0 ? strerrorname_np(errno) : "");
}

static void pause_ms(long ms)
{
	struct timespec time = { 0, ms * 1000000 };

	while (nanosleep(&time, &time))
		;
}

static void errors(void)
{
	struct timespec soon = { 0, 1000000 }, bad = { 0, 2000000000 }, past = { 0, 0 };
	uint32_t *odd = (uint32_t *)((char *)&word + 1);

	tell("other value", futex(&word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
	tell("timeout", futex(&word, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0));
	tell("shared, timeout", futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0));
	tell("absolute, past", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, NULL, 1));
	tell("realtime, past",
	     futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &past, NULL, 1));
	tell("bad time", futex(&word, FUTEX_WAIT_PRIVATE, 0, &bad, NULL, 0));
	tell("odd address", futex(odd, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	tell("no memory", futex((uint32_t *)64, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	tell("no memory, wake", futex((uint32_t *)64, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	tell("no memory, shared wake", futex((uint32_t *)64, FUTEX_WAKE, 1, NULL, NULL, 0));
	tell("kernel address", futex((uint32_t *)-4096L, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	tell("no bits, wait", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0));
	tell("no bits, wake", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0));
	tell("no such operation", futex(&word, 99, 0, NULL, NULL, 0));
	tell("FUTEX_FD", futex(&word, FUTEX_FD, 0, NULL, NULL, 0));
	tell("wake with a clock",
	     futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));
	tell("requeue, negative", futex(&word, FUTEX_REQUEUE_PRIVATE, -1, NULL, &word2, 0));
	tell("cmp_requeue, other", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, NULL, &word2, 5));
	tell("requeue pi to itself", futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &word, 0));
	tell("requeue pi, two", futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, NULL, &word2, 0));
	tell("unlock what is free", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	word = 0x3ffffff0;
	tell("lock of nobody's", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	word = gettid();
	tell("lock of one's own", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	tell("unlock", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	printf("word %u\n", word);
	tell("lock", futex(&word, FUTEX_LOCK_PI2 | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0));
	printf("mine: %d\n", word == (uint32_t)gettid());
	tell("unlock", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static void *wait_bits(void *arg)
{
	long number = (long)arg;

	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	while (futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1u << number) &&
	       errno == EINTR)
		;
	woken[number] = 1;
	return NULL;
}

static void tell_woken(const char *what, long result)
{
	pause_ms(20);
	printf("%s: %ld, woken %d%d%d%d\n", what, result, woken[0], woken[1], woken[2], woken[3]);
}

static void start(pthread_t *threads, int nr, void *(*body)(void *))
{
	waiting = 0;
	memset((void *)woken, 0, sizeof(woken));
	for (long i = 0; i < nr; i++) {
		pthread_create(&threads[i], NULL, body, (void *)i);
		while (waiting <= i)
			pause_ms(1);
		pause_ms(10);
	}
}

static void join(pthread_t *threads, int nr)
{
	for (int i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
}

static void bitsets(void)
{
	pthread_t threads[4];

	word = 0;
	start(threads, 4, wait_bits);
	tell_woken("none of bit 7", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 128));
	tell_woken("bit 2", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 4));
	tell_woken("a shared wake", futex(&word, FUTEX_WAKE, 9, NULL, NULL, 0));
	tell_woken("the first", futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	tell_woken("all", futex(&word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
	join(threads, 4);
}

static void requeue(void)
{
	pthread_t threads[4];

	word = word2 = 0;
	start(threads, 4, wait_bits);
	tell_woken("requeue 1 + 2",
		   futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &word2, 0));
	tell_woken("the one that stayed", futex(&word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
	tell_woken("those that were moved", futex(&word2, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
	join(threads, 4);

	word2 = 5;
	start(threads, 2, wait_bits);
	tell_woken("wake_op, compares", futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word,
					      FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0)));
	printf("word %u\n", word);
	tell_woken("wake_op, does not", futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word,
					      FUTEX_OP((FUTEX_OP_OR | 8), 4, FUTEX_OP_CMP_LT, 3)));
	printf("word %u\n", word);
	tell("wake_op, no such",
	     futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word, FUTEX_OP(6, 0, 0, 0)));
	futex(&word, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0);
	join(threads, 2);
}

static void between_processes(void)
{
	int status;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	if (!fork()) {
		shared[1] = 1;
		while (!shared[0])
			futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(shared[0]);
	}
	while (!shared[1])
		pause_ms(1);
	pause_ms(10);
	shared[0] = 3;
	tell("private wake of a shared one", futex(shared, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
	tell("shared wake", futex(shared, FUTEX_WAKE, 9, NULL, NULL, 0));
	wait(&status);
	printf("status %#x\n", status);
}

/* Who opened a file once more, as sem_open() does in another process, has the same futexes. */
static void file_opened_twice(void)
{
	int fd = memfd_create("futexes", 0), again, status;
	char name[64];

	ftruncate(fd, 4096);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	again = open(name, O_RDWR);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fflush(stdout);
	if (!fork()) {
		shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
		shared[1] = 1;
		while (!shared[0])
			futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(shared[0]);
	}
	while (!shared[1])
		pause_ms(1);
	pause_ms(10);
	shared[0] = 4;
	tell("wake by another file", futex(shared, FUTEX_WAKE, 9, NULL, NULL, 0));
	wait(&status);
	printf("status %#x\n", status);
}

static pthread_mutex_t mutex, other;
static volatile int order[8], next;

static void make(pthread_mutex_t *one, int protocol, int robust, int type, int pshared)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, protocol);
	pthread_mutexattr_setrobust(&attr, robust);
	pthread_mutexattr_settype(&attr, type);
	pthread_mutexattr_setpshared(&attr, pshared);
	pthread_mutex_init(one, &attr);
}

static void *lock_in_order(void *arg)
{
	long number = (long)arg;

	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&mutex);
	order[next++] = number;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void *lock_both(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&other);
	waiting = 1;
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	pthread_mutex_unlock(&other);
	return NULL;
}

static void pi(void)
{
	struct timespec when;
	pthread_t threads[4];

	make(&mutex, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ERRORCHECK, 0);
	make(&other, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL, 0);
	pthread_mutex_lock(&mutex);
	start(threads, 4, lock_in_order);
	pthread_mutex_unlock(&mutex);
	join(threads, 4);
	printf("order %d%d%d%d\n", order[0], order[1], order[2], order[3]);

	pthread_mutex_lock(&mutex);
	start(threads, 1, lock_both);
	clock_gettime(CLOCK_REALTIME, &when);
	when.tv_sec++;
	uint32_t *owner = (uint32_t *)&other.__data.__lock;

	tell("deadlock", futex(owner, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	tell("trylock", futex(owner, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	tell("unlock of another's", futex(owner, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	tell("a plain wake",
	     futex((uint32_t *)&mutex.__data.__lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	pthread_mutex_unlock(&mutex);
	join(threads, 1);
	printf("then: %d\n", pthread_mutex_lock(&other));
	pthread_mutex_unlock(&other);
}

static void *hold_and_end(void *arg)
{
	pthread_mutex_lock(&mutex);
	waiting = 1;
	if (arg)
		pause_ms(30);
	return NULL;
}

static void robust(const char *what, int protocol)
{
	pthread_t threads[1];

	printf("-- %s\n", what);
	make(&mutex, protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL, 0);
	start(threads, 1, hold_and_end);
	join(threads, 1);
	printf("after its end: %s\n", strerrorname_np(pthread_mutex_lock(&mutex)));
	printf("consistent %d\n", pthread_mutex_consistent(&mutex));
	printf("unlock %d\n", pthread_mutex_unlock(&mutex));

	waiting = 0;
	pthread_create(&threads[0], NULL, hold_and_end, (void *)1);
	while (!waiting)
		pause_ms(1);
	printf("while it ends: %s\n", strerrorname_np(pthread_mutex_lock(&mutex)));
	printf("unlock %d\n", pthread_mutex_unlock(&mutex));
	printf("not recoverable: %s\n", strerrorname_np(pthread_mutex_lock(&mutex)));
	join(threads, 1);
}

static void robust_process(int protocol)
{
	pthread_mutex_t *one = (pthread_mutex_t *)(shared + 64);
	int status;

	make(one, protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL, 1);
	shared[2] = 0;
	if (!fork()) {
		pthread_mutex_lock(one);
		shared[2] = 1;
		for (;;)
			pause();
	}
	while (!shared[2])
		pause_ms(1);
	pid_t pid = fork();

	if (!pid)
		_exit(pthread_mutex_lock(one));
	pause_ms(20);
	kill(pid - 1, 0);
	kill(0, 0);
	for (pid_t p = pid - 1; p > pid - 20; p--)
		if (!kill(p, 0) && waitpid(p, &status, WNOHANG) == 0 && !kill(p, SIGKILL))
			break;
	waitpid(pid, &status, 0);
	printf("a killed process's: %s\n", strerrorname_np(WEXITSTATUS(status)));
	while (wait(&status) > 0)
		;
}

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static uint32_t condition;
static volatile int got;

static void *wait_requeue(void *arg)
{
	uint32_t *lock = (uint32_t *)&mutex.__data.__lock;

	(void)arg;
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	if (!futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, lock, 0)) {
		got += (*lock & FUTEX_TID_MASK) == (uint32_t)gettid();
		futex(lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	}
	return NULL;
}

static void requeue_pi(void)
{
	struct timespec soon = { 0, 1 };
	uint32_t *lock = (uint32_t *)&mutex.__data.__lock;
	pthread_t threads[4];

	make(&mutex, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL, 0);
	tell("timeout", futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &soon, lock, 0));
	tell("other value", futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 1, NULL, lock, 0));
	tell("nobody", futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, lock, 0));
	start(threads, 4, wait_requeue);
	tell("a plain wake", futex(&condition, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	tell("to another lock",
	     futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &word2, 0));
	tell("free lock", futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)1, lock, 0));
	pause_ms(20);
	printf("got %d\n", got);
	futex(lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	tell("held lock", futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)7, lock, 0));
	pause_ms(20);
	printf("got %d\n", got);
	futex(lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	join(threads, 4);
	printf("got %d, lock %u\n", got, *lock);
}

struct waitv {
	uint64_t value, addr;
	uint32_t flags, reserved;
};

static void *wake_second(void *arg)
{
	(void)arg;
	pause_ms(10);
	while (futex(&word2, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) != 1)
		pause_ms(1);
	return NULL;
}

static void waitv(void)
{
	struct waitv both[2] = { { 0, (uintptr_t)&word, 2 | 128, 0 },
				 { 0, (uintptr_t)&word2, 2 | 128, 0 } };
	struct timespec past = { 0, 1 };
	pthread_t thread;

	word = word2 = 0;
	tell("none", syscall(449, both, 0, 0, NULL, 1));
	tell("flags", syscall(449, both, 2, 1, NULL, 1));
	tell("too many", syscall(449, both, 129, 0, NULL, 1));
	tell("clock", syscall(449, both, 2, 0, &past, 7));
	tell("past", syscall(449, both, 2, 0, &past, 1));
	pthread_create(&thread, NULL, wake_second, NULL);
	tell("second", syscall(449, both, 2, 0, NULL, 1));
	pthread_join(thread, NULL);
	both[1].value = 1;
	tell("other value", syscall(449, both, 2, 0, NULL, 1));
	both[1].reserved = 1;
	tell("reserved", syscall(449, both, 2, 0, NULL, 1));
}

static void on_signal(int signo)
{
	(void)signo;
}

static void *interrupt_main(void *arg)
{
	pause_ms(10);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	pause_ms(10);
	word = 1;
	futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return NULL;
}

static void interrupted(int flags)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
	struct timespec long_time = { 100, 0 };
	pthread_t self = pthread_self(), thread;

	sigaction(SIGUSR1, &action, NULL);
	for (int timed = 0; timed < 2; timed++) {
		word = 0;
		pthread_create(&thread, NULL, interrupt_main, &self);
		tell(timed ? "interrupted, timed" : "interrupted",
		     futex(&word, FUTEX_WAIT_PRIVATE, 0, timed ? &long_time : NULL, NULL, 0));
		pthread_join(thread, NULL);
	}
}

int main(void)
{
	errors();
	bitsets();
	requeue();
	between_processes();
	file_opened_twice();
	pi();
	robust("robust", PTHREAD_PRIO_NONE);
	robust("robust and PI", PTHREAD_PRIO_INHERIT);
	robust_process(PTHREAD_PRIO_NONE);
	robust_process(PTHREAD_PRIO_INHERIT);
	requeue_pi();
	waitv();
	interrupted(0);
	interrupted(SA_RESTART);
	(void)cond;
	return 0;
}
