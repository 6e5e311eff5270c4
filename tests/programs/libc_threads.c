/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads of libc: mutexes of each kind, conditions, barriers, cancellation, keys, fork. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

#include "libc_check.h"

static const char *told(int error)
{
	errno = error;
	return outcome(error ? -1 : 0);
}

static pthread_mutex_t *mutex_of(int kind, int robust, int shared)
{
	pthread_mutex_t *mutex =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, kind);
	pthread_mutexattr_setrobust(&attributes, robust);
	pthread_mutexattr_setpshared(&attributes, shared);
	pthread_mutex_init(mutex, &attributes);
	return mutex;
}

static void *lock_and_end(void *mutex)
{
	pthread_mutex_lock(mutex);
	return NULL;
}

static void *try(void *mutex)
{
	return (void *)(long)pthread_mutex_trylock(mutex);
}

CHECK(thread_mutex_kinds)
{
	pthread_mutex_t *mutex = mutex_of(PTHREAD_MUTEX_ERRORCHECK, 0, 0);
	pthread_t thread;
	void *result;

	say("lock %s", told(pthread_mutex_lock(mutex)));
	say("again %s", told(pthread_mutex_lock(mutex)));
	pthread_create(&thread, NULL, try, mutex);
	pthread_join(thread, &result);
	say("other %s", told((long)result));
	say("unlock %s", told(pthread_mutex_unlock(mutex)));
	say("unlocked %s", told(pthread_mutex_unlock(mutex)));
	mutex = mutex_of(PTHREAD_MUTEX_RECURSIVE, 0, 0);
	for (int i = 0; i < 3; i++)
		say("recursive %s", told(pthread_mutex_lock(mutex)));
	for (int i = 0; i < 4; i++)
		say("unlock %s", told(pthread_mutex_unlock(mutex)));
}

CHECK(thread_mutex_robust)
{
	pthread_mutex_t *mutex = mutex_of(PTHREAD_MUTEX_NORMAL, 1, 0);
	pthread_t thread;

	for (int consistent = 1; consistent >= 0; consistent--) {
		pthread_create(&thread, NULL, lock_and_end, mutex);
		pthread_join(thread, NULL);
		say("after its owner %s", told(pthread_mutex_lock(mutex)));
		if (consistent)
			say("consistent %s", told(pthread_mutex_consistent(mutex)));
		say("unlock %s", told(pthread_mutex_unlock(mutex)));
	}
	say("lock %s", told(pthread_mutex_lock(mutex)));
}

CHECK(thread_mutex_of_processes)
{
	pthread_mutex_t *mutex = mutex_of(PTHREAD_MUTEX_NORMAL, 1, 1);
	atomic_int *count = (atomic_int *)(mutex + 1);

	for (int i = 0; i < 4; i++)
		if (!fork()) {
			for (int k = 0; k < 100; k++) {
				pthread_mutex_lock(mutex);
				int seen = *count;
				if (k % 10 == 0)
					sched_yield();
				*count = seen + 1;
				pthread_mutex_unlock(mutex);
			}
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	if (!fork()) {
		pthread_mutex_lock(mutex);
		_exit(0);
	}
	wait(NULL);
	say("count %d, lock %s", *count, told(pthread_mutex_lock(mutex)));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *in_turn(void *which)
{
	pthread_mutex_lock(&lock);
	while (turn != (long)which)
		pthread_cond_wait(&changed, &lock);
	say("thread %ld", (long)which);
	turn++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return which;
}

CHECK(thread_condition)
{
	pthread_t threads[5];
	struct timespec until;
	void *result;
	long sum = 0;

	for (long i = 4; i >= 0; i--)
		pthread_create(&threads[i], NULL, in_turn, (void *)i);
	for (int i = 0; i < 5; i++) {
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	say("sum %ld", sum);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 20000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&lock);
	say("wait %s", told(pthread_cond_timedwait(&changed, &lock, &until)));
	say("clockwait %s", told(pthread_mutex_unlock(&lock)));
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static void *try_both(void *unused)
{
	int read = pthread_rwlock_tryrdlock(&rwlock);
	int written;

	if (!read)
		pthread_rwlock_unlock(&rwlock);
	written = pthread_rwlock_trywrlock(&rwlock);
	if (!written)
		pthread_rwlock_unlock(&rwlock);
	say("read %d, write %d", read == 0, written == 0);
	return unused;
}

static void elsewhere(void *(*function)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, NULL);
	pthread_join(thread, NULL);
}

CHECK(thread_rwlock)
{
	elsewhere(try_both);
	pthread_rwlock_rdlock(&rwlock);
	elsewhere(try_both);
	pthread_rwlock_unlock(&rwlock);
	pthread_rwlock_wrlock(&rwlock);
	elsewhere(try_both);
	say("own %s", told(pthread_rwlock_tryrdlock(&rwlock)));
}

static pthread_barrier_t barrier;
static atomic_int serials, arrived;

static void *meet(void *unused)
{
	for (int i = 0; i < 20; i++) {
		arrived++;
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			serials++;
		if (arrived < 4 * (i + 1))
			say("too early");
		pthread_barrier_wait(&barrier);
	}
	return unused;
}

CHECK(thread_barrier)
{
	pthread_t threads[4];

	pthread_barrier_init(&barrier, NULL, 4);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, meet, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	say("%d serial, %d arrived", serials, arrived);
}

static void cleanup(void *what)
{
	say("cleanup %s", (char *)what);
}

static void *cancelled(void *asynchronous)
{
	int old;

	if (asynchronous)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	arrived = 1;
	for (volatile long turns = 0;; turns++)
		if (!asynchronous)
			pause();
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(thread_cancel)
{
	pthread_t thread;
	void *result;

#ifdef __GLIBC__
	const long kinds = 2;
#else
	const long kinds = 1; /* musl may crash in an asynchronous one */
#endif

	for (long i = 0; i < kinds; i++) {
		arrived = 0;
		pthread_create(&thread, NULL, cancelled, (void *)i);
		while (!arrived)
			sched_yield();
		pthread_cancel(thread);
		pthread_join(thread, &result);
		say("cancelled %d", result == PTHREAD_CANCELED);
	}
}

static pthread_key_t keys[3];

static void forget(void *value)
{
	static int rounds;

	say("destructor %s", (char *)value);
	if (!strcmp(value, "again") && rounds++ < 2)
		pthread_setspecific(keys[1], value);
}

static void *with_keys(void *unused)
{
	pthread_setspecific(keys[0], "once");
	pthread_setspecific(keys[1], "again");
	say("third %s", pthread_getspecific(keys[2]) ? "there" : "none");
	pthread_exit(unused);
}

CHECK(thread_keys)
{
	for (int i = 0; i < 3; i++)
		pthread_key_create(&keys[i], forget);
	elsewhere(with_keys);
	say("delete %s", told(pthread_key_delete(keys[0])));
	say("deleted %s", told(pthread_key_delete(keys[0])));
}

static _Thread_local int local = 7;
static _Thread_local char large[20000];

static void *change(void *unused)
{
	say("local %d, large %d", local, large[19999]);
	local = 8;
	large[19999] = 1;
	return unused;
}

CHECK(thread_storage)
{
	elsewhere(change);
	elsewhere(change);
	say("local %d", local);
}

static void *stack(void *unused)
{
	volatile char big[200000];
	pthread_attr_t attributes;
	size_t size, guard;

	big[0] = big[199999] = 1;
	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstacksize(&attributes, &size);
	pthread_attr_getguardsize(&attributes, &guard);
	say("stack at least 256 KiB %d, guard %zu", size >= 262144, guard);
	return unused;
}

CHECK(thread_attributes)
{
	pthread_attr_t attributes;
	pthread_t thread;
	char name[16];

	pthread_attr_init(&attributes);
	say("small %s", told(pthread_attr_setstacksize(&attributes, 1)));
	say("fits %s", told(pthread_attr_setstacksize(&attributes, 262144)));
	pthread_create(&thread, &attributes, stack, NULL);
	pthread_join(thread, NULL);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_create(&thread, &attributes, stack, NULL);
	usleep(20000);
	say("name %s", told(pthread_setname_np(pthread_self(), "fifteen letters")));
	say("too long %s", told(pthread_setname_np(pthread_self(), "sixteen  letters")));
	pthread_getname_np(pthread_self(), name, sizeof(name));
	say("%s", name);
}

static void before(void)
{
	say("before fork");
}

static void in_parent(void)
{
	arrived = 1;
}

static void in_child(void)
{
	say("in the child");
}

CHECK(thread_atfork)
{
	pid_t pid;

	pthread_atfork(before, in_parent, in_child);
	pid = fork();
	if (!pid)
		_exit(5);
	waitpid(pid, NULL, 0);
	say("in the parent %d", arrived);
}

static sem_t semaphore;

static void *post(void *unused)
{
	for (int i = 0; i < 3; i++)
		sem_post(&semaphore);
	return unused;
}

CHECK(thread_semaphore)
{
	struct timespec past = { 1, 0 };
	int value;

	sem_init(&semaphore, 0, 1);
	elsewhere(post);
	sem_getvalue(&semaphore, &value);
	say("value %d", value);
	for (int i = 0; i < 5; i++)
		say("%s", outcome(sem_trywait(&semaphore)));
	say("timed %s", outcome(sem_timedwait(&semaphore, &past)));
}

CHECK(thread_named_semaphore)
{
	char name[64];
	sem_t *named;

	snprintf(name, sizeof(name), "/libc-check-%d", getpid());
	named = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	if (named == SEM_FAILED)
		give_up("sem_open");
	say("again %s", outcome(sem_open(name, O_CREAT | O_EXCL, 0600, 0) == SEM_FAILED ? -1 : 0));
	if (!fork()) {
		sem_post(sem_open(name, 0));
		_exit(0);
	}
	say("wait %s", outcome(sem_wait(named)));
	wait(NULL);
	say("unlink %s", outcome(sem_unlink(name)));
	say("gone %s", outcome(sem_open(name, 0) == SEM_FAILED ? -1 : 0));
}

static once_flag once = ONCE_FLAG_INIT;

static void first(void)
{
	say("once");
}

static int c11(void *mutex)
{
	call_once(&once, first);
	mtx_lock(mutex);
	local++;
	mtx_unlock(mutex);
	return local;
}

CHECK(thread_c11)
{
	thrd_t threads[3];
	mtx_t mutex;
	int result;

	mtx_init(&mutex, mtx_plain);
	for (int i = 0; i < 3; i++)
		thrd_create(&threads[i], c11, &mutex);
	for (int i = 0; i < 3; i++) {
		thrd_join(threads[i], &result);
		say("result %d", result);
	}
}

static void handler(int number)
{
	(void)number;
	arrived = 1;
}

static void *sleeper(void *unused)
{
	serials = 1;
	say("pause %s", outcome(pause()));
	return unused;
}

CHECK(thread_kill)
{
	struct sigaction action = { .sa_handler = handler };
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, sleeper, NULL);
	while (!serials)
		sched_yield();
	usleep(20000);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	say("handled %d", arrived);
}
