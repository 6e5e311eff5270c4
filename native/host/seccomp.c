// SPDX-License-Identifier: GPL-2.0-or-later
/* A seccomp filter: the system calls that a process which runs guests never makes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/walls.h"

#define TIOCSTI_CMD 0x5412
#define TIOCLINUX_CMD 0x541c
#define X32_SYSCALL_BIT 0x40000000
#define SPECIAL_MODES 07000 /* S_ISUID, S_ISGID, S_ISVTX */
#define MADE (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))
#define MAX_FILTER 512

#ifdef __x86_64__

/* Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl, v6.18). */
static const u16 denied[] = {
	/* programs and processes */
	57 /* fork */,
	58 /* vfork */,
	59 /* execve */,
	322 /* execveat */,
	134 /* uselib */,
	135 /* personality */,
	154 /* modify_ldt */,
	/* other processes */
	101 /* ptrace */,
	310 /* process_vm_readv */,
	311 /* process_vm_writev */,
	312 /* kcmp */,
	424 /* pidfd_send_signal */,
	434 /* pidfd_open */,
	438 /* pidfd_getfd */,
	440 /* process_madvise */,
	448 /* process_mrelease */,
	200 /* tkill */,
	129 /* rt_sigqueueinfo */,
	297 /* rt_tgsigqueueinfo */,
	256 /* migrate_pages */,
	279 /* move_pages */,
	/* networks, and descriptors to and from others */
	41 /* socket */,
	42 /* connect */,
	43 /* accept */,
	44 /* sendto */,
	46 /* sendmsg */,
	47 /* recvmsg */,
	49 /* bind */,
	50 /* listen */,
	53 /* socketpair */,
	288 /* accept4 */,
	299 /* recvmmsg */,
	307 /* sendmmsg */,
	/* what has had holes */
	425 /* io_uring_setup */,
	426 /* io_uring_enter */,
	427 /* io_uring_register */,
	321 /* bpf */,
	298 /* perf_event_open */,
	323 /* userfaultfd */,
	248 /* add_key */,
	249 /* request_key */,
	250 /* keyctl */,
	300 /* fanotify_init */,
	301 /* fanotify_mark */,
	303 /* name_to_handle_at */,
	304 /* open_by_handle_at */,
	278 /* vmsplice */,
	206 /* io_setup */,
	209 /* io_submit */,
	/* System V IPC and message queues */
	29 /* shmget */,
	30 /* shmat */,
	31 /* shmctl */,
	64 /* semget */,
	65 /* semop */,
	66 /* semctl */,
	68 /* msgget */,
	69 /* msgsnd */,
	70 /* msgrcv */,
	71 /* msgctl */,
	220 /* semtimedop */,
	240 /* mq_open */,
	241 /* mq_unlink */,
	/* namespaces and mounts */
	272 /* unshare */,
	308 /* setns */,
	155 /* pivot_root */,
	161 /* chroot */,
	165 /* mount */,
	166 /* umount2 */,
	428 /* open_tree */,
	429 /* move_mount */,
	430 /* fsopen */,
	431 /* fsconfig */,
	432 /* fsmount */,
	433 /* fspick */,
	442 /* mount_setattr */,
	467 /* open_tree_attr */,
	/* the whole host */
	103 /* syslog */,
	153 /* vhangup */,
	159 /* adjtimex */,
	163 /* acct */,
	164 /* settimeofday */,
	167 /* swapon */,
	168 /* swapoff */,
	169 /* reboot */,
	170 /* sethostname */,
	171 /* setdomainname */,
	172 /* iopl */,
	173 /* ioperm */,
	174 /* create_module */,
	175 /* init_module */,
	176 /* delete_module */,
	179 /* quotactl */,
	180 /* nfsservctl */,
	227 /* clock_settime */,
	246 /* kexec_load */,
	305 /* clock_adjtime */,
	313 /* finit_module */,
	320 /* kexec_file_load */,
	443 /* quotactl_fd */,
	/* users */
	105 /* setuid */,
	106 /* setgid */,
	113 /* setreuid */,
	114 /* setregid */,
	116 /* setgroups */,
	117 /* setresuid */,
	119 /* setresgid */,
	122 /* setfsuid */,
	123 /* setfsgid */,
	126 /* capset */,
	/* owners, devices and attributes of files */
	92 /* chown */,
	93 /* fchown */,
	94 /* lchown */,
	260 /* fchownat */,
	133 /* mknod */,
	259 /* mknodat */,
	188 /* setxattr */,
	189 /* lsetxattr */,
	190 /* fsetxattr */,
	197 /* removexattr */,
	198 /* lremovexattr */,
	199 /* fremovexattr */,
	463 /* setxattrat */,
	466 /* removexattrat */,
};

/* Calls whose second or third argument is a mode. */
static const struct {
	u16 nr, argument;
} modes[] = {
	{ 90, 1 } /* chmod */,	    { 91, 1 } /* fchmod */, { 268, 2 } /* fchmodat */,
	{ 452, 2 } /* fchmodat2 */, { 83, 1 } /* mkdir */,  { 258, 2 } /* mkdirat */,
	{ 85, 1 } /* creat */,
};

struct program {
	struct sock_filter code[MAX_FILTER];
	u16 length;
};

static void add(struct program *p, u16 code, u32 k, u8 jt, u8 jf)
{
	p->code[p->length++] = (struct sock_filter)BPF_JUMP(code, k, jt, jf);
}

static void load(struct program *p, size_t offset)
{
	add(p, BPF_LD | BPF_W | BPF_ABS, (u32)offset, 0, 0);
}

/* The low half of an argument: what the kernel looks at in an int. */
static void load_argument(struct program *p, u32 number)
{
	load(p, offsetof(struct seccomp_data, args) + 8 * number);
}

static void end(struct program *p, u32 action)
{
	add(p, BPF_RET | BPF_K, action, 0, 0);
}

static void deny(struct program *p)
{
	end(p, SECCOMP_RET_ERRNO | EPERM);
}

/* What follows, `length` instructions that end, is for the call of this number only. */
static void only_for(struct program *p, u32 nr, u8 length)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, length);
}

/* Call `nr` is denied unless its argument is `value`. */
static void allow_value(struct program *p, u32 nr, u32 argument, u32 value)
{
	only_for(p, nr, 4);
	load_argument(p, argument);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
	deny(p);
	end(p, SECCOMP_RET_ALLOW);
}

/* Call `nr` is denied if its argument is `one` or `two`. */
static void deny_values(struct program *p, u32 nr, u32 argument, u32 one, u32 two)
{
	only_for(p, nr, 5);
	load_argument(p, argument);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, one, 1, 0);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, two, 0, 1);
	deny(p);
	end(p, SECCOMP_RET_ALLOW);
}

/* Call `nr` is denied if its argument has one of `bits`. */
static void deny_bits(struct program *p, u32 nr, u32 argument, u32 bits)
{
	only_for(p, nr, 4);
	load_argument(p, argument);
	add(p, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
	deny(p);
	end(p, SECCOMP_RET_ALLOW);
}

/* An open() that makes a file may give it no special mode. */
static void deny_special_open(struct program *p, u32 nr, u32 flags)
{
	only_for(p, nr, 6);
	load_argument(p, flags);
	add(p, BPF_JMP | BPF_JSET | BPF_K, MADE, 0, 3);
	load_argument(p, flags + 1);
	add(p, BPF_JMP | BPF_JSET | BPF_K, SPECIAL_MODES, 0, 1);
	deny(p);
	end(p, SECCOMP_RET_ALLOW);
}

/* clone() of threads only; clone3() hides its flags: libc does without it if there is none. */
static void allow_threads(struct program *p)
{
	only_for(p, 56 /* clone */, 4);
	load_argument(p, 0);
	add(p, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
	deny(p);
	end(p, SECCOMP_RET_ALLOW);
	only_for(p, 435 /* clone3 */, 1);
	end(p, SECCOMP_RET_ERRNO | ENOSYS);
}

/* prlimit() of the process itself, which is also called 0. */
static void allow_own_limits(struct program *p, u32 pid)
{
	only_for(p, 302 /* prlimit64 */, 5);
	load_argument(p, 0);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, pid, 1, 0);
	deny(p);
	end(p, SECCOMP_RET_ALLOW);
}

static void assemble(struct program *p, u32 pid)
{
	load(p, offsetof(struct seccomp_data, arch));
	add(p, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	end(p, SECCOMP_RET_KILL_PROCESS);
	load(p, offsetof(struct seccomp_data, nr));
	add(p, BPF_JMP | BPF_JGE | BPF_K, X32_SYSCALL_BIT, 0, 1);
	deny(p);
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
		only_for(p, denied[i], 1);
		deny(p);
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		deny_bits(p, modes[i].nr, modes[i].argument, SPECIAL_MODES);
	deny_special_open(p, 2 /* open */, 1);
	deny_special_open(p, 257 /* openat */, 2);
	allow_threads(p);
	allow_own_limits(p, pid);
	allow_value(p, 62 /* kill */, 0, pid);
	allow_value(p, 234 /* tgkill */, 0, pid);
	deny_values(p, 16 /* ioctl */, 1, TIOCSTI_CMD, TIOCLINUX_CMD);
	end(p, SECCOMP_RET_ALLOW);
}

int host_seccomp(void)
{
	struct program program = { .length = 0 };
	long thread;

	assemble(&program, (u32)getpid());
	struct sock_fprog filter = { .len = program.length, .filter = program.code };

	thread = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
	if (thread > 0)
		return -EBUSY; /* that thread has a filter of its own */
	return thread < 0 ? -errno : 0;
}

#else

int host_seccomp(void)
{
	return -ENOSYS;
}

#endif
