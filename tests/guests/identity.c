// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who a task is and may become: random sequences of the calls that change it, each with its result
 * and all that is known of it afterwards. argv: a seed, how many.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long state;

static unsigned chance(unsigned n)
{
	state = state * 6364136223846793005ul + 1442695040888963407ul;
	return (unsigned)(state >> 33) % n;
}

static int id(void)
{
	static const int ids[] = { 0, 0, 1000, 1001, 65534, -1 };

	return ids[chance(6)];
}

static void told(const char *call, long result)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	unsigned r, e, s, groups[32];
	int saved = errno, fsuid, fsgid;
	long n;

	fsuid = (int)syscall(SYS_setfsuid, -1);
	fsgid = (int)syscall(SYS_setfsgid, -1);
	printf("%s = %ld %s;", call, result, result < 0 ? strerrorname_np(saved) : "");
	syscall(SYS_getresuid, &r, &e, &s);
	printf(" uid %d %d %d %d", r, e, s, fsuid);
	syscall(SYS_getresgid, &r, &e, &s);
	printf(" gid %d %d %d %d", r, e, s, fsgid);
	n = syscall(SYS_getgroups, 32, groups);
	printf(" groups");
	for (long i = 0; i < n; i++)
		printf(" %u", groups[i]);
	syscall(SYS_capget, &header, data);
	printf(" caps %08x %08x %08x", data[0].effective, data[0].permitted, data[0].inheritable);
	printf(" keep %d dumpable %d\n", prctl(PR_GET_KEEPCAPS), prctl(PR_GET_DUMPABLE));
}

static void change(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	unsigned groups[3] = { 7, 3, 5 };
	char call[100];
	int a = id(), b = id(), c = id();
	long result;

	switch (chance(14)) {
	case 0:
		sprintf(call, "setuid(%d)", a);
		result = syscall(SYS_setuid, a);
		break;
	case 1:
		sprintf(call, "setgid(%d)", a);
		result = syscall(SYS_setgid, a);
		break;
	case 2:
		sprintf(call, "setreuid(%d, %d)", a, b);
		result = syscall(SYS_setreuid, a, b);
		break;
	case 3:
		sprintf(call, "setregid(%d, %d)", a, b);
		result = syscall(SYS_setregid, a, b);
		break;
	case 4:
	case 5:
		sprintf(call, "setresuid(%d, %d, %d)", a, b, c);
		result = syscall(SYS_setresuid, a, b, c);
		break;
	case 6:
		sprintf(call, "setresgid(%d, %d, %d)", a, b, c);
		result = syscall(SYS_setresgid, a, b, c);
		break;
	case 7:
		sprintf(call, "setfsuid(%d)", a);
		result = syscall(SYS_setfsuid, a);
		break;
	case 8:
		sprintf(call, "setfsgid(%d)", a);
		result = syscall(SYS_setfsgid, a);
		break;
	case 9:
		sprintf(call, "setgroups(%d)", a & 3);
		result = syscall(SYS_setgroups, a & 3, groups);
		break;
	case 10:
		a = (int)chance(3);
		sprintf(call, "PR_SET_KEEPCAPS(%d)", a);
		result = prctl(PR_SET_KEEPCAPS, (unsigned long)a);
		break;
	case 11:
		a = (int)chance(32);
		sprintf(call, "PR_CAPBSET_DROP(%d)", a);
		result = prctl(PR_CAPBSET_DROP, (unsigned long)a, 0, 0, 0);
		break;
	case 12:
		a = (int)chance(32);
		b = 1 + (int)chance(2);
		sprintf(call, "PR_CAP_AMBIENT(%d, %d)", b, a);
		result = prctl(PR_CAP_AMBIENT, b, (unsigned long)a, 0, 0);
		break;
	default:
		syscall(SYS_capget, &header, data);
		a = (int)(1u << chance(32));
		switch (chance(4)) {
		case 0:
			data[0].effective ^= (unsigned)a;
			break;
		case 1:
			data[0].permitted &= ~(unsigned)a;
			data[0].effective &= ~(unsigned)a;
			break;
		case 2:
			data[0].permitted |= (unsigned)a;
			break;
		default:
			data[0].inheritable ^= (unsigned)a;
		}
		sprintf(call, "capset(%08x)", (unsigned)a);
		result = syscall(SYS_capset, &header, data);
	}
	told(call, result);
}

int main(int argc, char **argv)
{
	int seed = atoi(argv[1]), count = atoi(argv[2]);

	if (argc > 3) {
		printf("secure %lu ", getauxval(AT_SECURE));
		told("exec", 0);
		return 0;
	}
	for (int n = 0; n < count; n++) {
		fflush(stdout);
		if (fork() == 0) {
			state = (unsigned long)(seed + n);
			chance(1);
			prctl(PR_SET_DUMPABLE, 1);
			for (int i = 0; i < 12; i++)
				change();
			fflush(stdout);
			execv("/proc/self/exe", (char *[]){ argv[0], "0", "0", "again", NULL });
			printf("execv: %s\n", strerrorname_np(errno));
			exit(0);
		}
		wait(NULL);
	}
	return 0;
}
