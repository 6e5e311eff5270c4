/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Affinity, policies, priorities, membarrier(), getcpu(): what they answer on any machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long result)
{
	printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "",
	       result < 0 ? strerrorname_np(errno) : "");
}

static void affinity(void)
{
	unsigned long mask[16] = { 0 }, all[16] = { 0 }, one;
	unsigned int cpu = 99, node = 99;

	tell("size 0", syscall(SYS_sched_getaffinity, 0, 0, mask));
	tell("size 12", syscall(SYS_sched_getaffinity, 0, 12, mask));
	tell("nobody", syscall(SYS_sched_getaffinity, 0x7fffffff, sizeof(mask), mask));
	tell("some", syscall(SYS_sched_getaffinity, 0, sizeof(all), all) > 0);
	tell("no CPU", syscall(SYS_sched_setaffinity, 0, 8, mask));
	tell("bad mask", syscall(SYS_sched_setaffinity, 0, 8, 8));
	for (int i = 0; i < 64; i++) {
		if (!(all[0] >> i & 1))
			continue;
		one = 1ul << i;
		if (syscall(SYS_sched_setaffinity, 0, 8, &one))
			printf("CPU %d cannot be had\n", i);
		syscall(SYS_getcpu, &cpu, &node, NULL);
		syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
		unsigned int aux;

		__asm__ volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
		if ((aux & 0xfff) != cpu)
			printf("RDTSCP says CPU %u, not %u\n", aux & 0xfff, cpu);
		if (cpu != (unsigned int)i || mask[0] != one)
			printf("on CPU %u, not on %d\n", cpu, i);
	}
	if (!fork()) {
		syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
		_exit(mask[0] == one);
	}
	int status;

	wait(&status);
	printf("inherited: %d\n", WEXITSTATUS(status));
	syscall(SYS_sched_setaffinity, 0, 8, all);
}

static void policies(void)
{
	struct sched_param param = { 0 };
	struct rlimit limit;

	tell("policy", sched_getscheduler(0));
	tell("policy of nobody", sched_getscheduler(0x7fffffff));
	tell("policy of -1", sched_getscheduler(-1));
	for (int policy = -1; policy < 9; policy++)
		printf("policy %d: max %d, min %d\n", policy, sched_get_priority_max(policy),
		       sched_get_priority_min(policy));
	tell("SCHED_BATCH", sched_setscheduler(0, SCHED_BATCH, &param));
	tell("policy", sched_getscheduler(0));
	tell("no such policy", sched_setscheduler(0, 77, &param));
	param.sched_priority = 5;
	tell("priority of SCHED_OTHER", sched_setscheduler(0, SCHED_OTHER, &param));
	param.sched_priority = 100;
	tell("SCHED_FIFO, 100", sched_setscheduler(0, SCHED_FIFO, &param));
	param.sched_priority = 0;
	tell("SCHED_FIFO, 0", sched_setscheduler(0, SCHED_FIFO, &param));
	tell("null", syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
	tell("back", sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &param));
	tell("policy", sched_getscheduler(0));
	tell("param", sched_getparam(0, &param));
	printf("priority %d\n", param.sched_priority);

	errno = 0;
	tell("nice", getpriority(PRIO_PROCESS, 0));
	tell("setpriority", setpriority(PRIO_PROCESS, 0, 7));
	tell("nice", getpriority(PRIO_PROCESS, 0));
	tell("of nobody", setpriority(PRIO_PROCESS, 0x7fffffff, 7));
	tell("bad which", getpriority(9, 0));
	tell("most", setpriority(PRIO_PROCESS, 0, 100));
	tell("nice", getpriority(PRIO_PROCESS, 0));

	tell("prlimit of nobody", syscall(SYS_prlimit64, 0x7fffffff, RLIMIT_STACK, NULL, &limit));
}

/* Of block/ioprio.c: the class above bit 13, and the level. */
static void io_priorities(void)
{
	enum {
		PROCESS = 1,
		GROUP,
		USER
	};
	int idle = 3 << 13, best_effort = 2 << 13, status;

	tell("none yet", syscall(SYS_ioprio_get, PROCESS, 0));
	tell("no class, level 3", syscall(SYS_ioprio_set, PROCESS, 0, 3));
	tell("no such class", syscall(SYS_ioprio_set, PROCESS, 0, 5 << 13));
	tell("of what", syscall(SYS_ioprio_get, 0, 0));
	tell("set of what", syscall(SYS_ioprio_set, 4, 0, best_effort));
	tell("of nobody", syscall(SYS_ioprio_get, PROCESS, 0x7fffffff));
	tell("set of nobody", syscall(SYS_ioprio_set, GROUP, 0x7fffffff, best_effort));
	tell("best effort", syscall(SYS_ioprio_set, PROCESS, 0, best_effort | 5));
	tell("read back", syscall(SYS_ioprio_get, PROCESS, getpid()));
	fflush(stdout);
	if (!fork())
		_exit(syscall(SYS_ioprio_get, PROCESS, 0) == (best_effort | 5));
	wait(&status);
	printf("a child has it: %d\n", WEXITSTATUS(status));
	tell("idle", syscall(SYS_ioprio_set, PROCESS, 0, idle));
	tell("read back", syscall(SYS_ioprio_get, PROCESS, 0));
	tell("none again", syscall(SYS_ioprio_set, PROCESS, 0, 0));
	tell("read back", syscall(SYS_ioprio_get, PROCESS, 0));
	setpgid(0, 0);
	tell("by the nice value, of the group", syscall(SYS_ioprio_get, GROUP, 0));
}

static void barriers(void)
{
	int commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	int known = MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED |
		    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
		    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
		    MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE |
		    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;

	printf("commands: %#x\n", commands & known);
	tell("flags", syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 1, 0));
	tell("no such", syscall(SYS_membarrier, 3, 0, 0));
	tell("not registered", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	tell("register", syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	tell("private", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	tell("of cores, not registered",
	     syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
	tell("global", syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
	tell("global, expedited", syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0));
}

static volatile int stop;

static void *spin(void *arg)
{
	while (!stop)
		;
	return arg;
}

static void barriers_of_threads(void)
{
	pthread_t thread;
	int bad = 0;

	pthread_create(&thread, NULL, spin, NULL);
	for (int i = 0; i < 20; i++) {
		bad += !!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
		sched_yield();
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("barriers that failed: %d\n", bad);
}

static void prctls(void)
{
	int value = 9;
	char name[16];

	tell("PR_SET_NAME", prctl(PR_SET_NAME, "a name that is too long"));
	tell("PR_GET_NAME", prctl(PR_GET_NAME, name));
	printf("%s\n", name);
	tell("PR_GET_DUMPABLE", prctl(PR_GET_DUMPABLE));
	tell("PR_SET_DUMPABLE 0", prctl(PR_SET_DUMPABLE, 0));
	tell("PR_GET_DUMPABLE", prctl(PR_GET_DUMPABLE));
	tell("PR_SET_DUMPABLE 7", prctl(PR_SET_DUMPABLE, 7));
	tell("PR_SET_PDEATHSIG 77", prctl(PR_SET_PDEATHSIG, 77));
	tell("PR_SET_PDEATHSIG", prctl(PR_SET_PDEATHSIG, 10));
	tell("PR_GET_PDEATHSIG", prctl(PR_GET_PDEATHSIG, &value));
	printf("%d\n", value);
	tell("PR_GET_PDEATHSIG to nowhere", prctl(PR_GET_PDEATHSIG, 8));
	tell("PR_SET_NO_NEW_PRIVS 2", prctl(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0));
	tell("PR_SET_NO_NEW_PRIVS", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	tell("PR_GET_NO_NEW_PRIVS", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	tell("PR_GET_KEEPCAPS", prctl(PR_GET_KEEPCAPS));
	tell("no such", prctl(12345, 0, 0, 0, 0));
	tell("unshare nothing", unshare(0));
	tell("unshare files", unshare(CLONE_FILES | CLONE_FS));
	tell("unshare, unknown", unshare(1));
}

int main(void)
{
	affinity();
	policies();
	io_priorities();
	barriers();
	barriers_of_threads();
	prctls();
	return 0;
}
