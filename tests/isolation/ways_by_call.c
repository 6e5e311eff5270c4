// SPDX-License-Identifier: GPL-2.0-or-later
/* Ways out by calls: other processes, networks, the kernel itself, sizes beyond all sense. */
#include "ways_out.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/user.h>

/* Descriptors. */

WAY(inherited_descriptors, HARMLESS)
{
	for (int fd = 3; fd < 1100; fd++) {
		char data[64] = { 0 };
		ssize_t n = pread(fd, data, sizeof(data) - 1, 0);

		if (n > 0)
			printf(" %d: %s", fd, data);
	}
	leak("/proc/self/fd/7");
	leak("/dev/fd/7");
}

WAY(standard_streams_are_no_way_to_the_host, ONLY_HERE)
{
	snprintf(path_buffer[0], 4096, "/proc/self/fd/0/../../key");
	leak(path_buffer[0]);
	leak("/dev/stdin/../key");
	GOT(ioctl(0, TIOCSTI, "x"));
	GOT(ioctl(1, TIOCSTI, "x"));
	GOT(ioctl(0, 0x541c, "\x02")); /* TIOCLINUX */
	GOT(ioctl(0, TIOCSCTTY, 1));
	GOT(ioctl(0, TIOCNOTTY));
	spoil("/dev/tty");
	spoil("/dev/console");
	spoil("/dev/tty1");
	spoil("/dev/pts/0");
}

/* Processes. */

static void signal_victim(int number)
{
	GOT(kill(victim, number));
	GOT(syscall(SYS_tgkill, victim, victim, number));
	GOT(syscall(SYS_tkill, victim, number));
	GOT(sigqueue(victim, number, (union sigval){ 0 }));
}

WAY(signal_a_process, HARMLESS)
{
	signal_victim(SIGUSR1);
}

WAY(signal_all_processes, ONLY_HERE)
{
	signal_victim(SIGKILL);
	signal(SIGTERM, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	GOT(kill(-1, SIGTERM));
	GOT(kill(0, SIGUSR1));
	GOT(kill(-victim, SIGKILL));
	GOT(kill(1, SIGKILL));
	for (int pid = 2; pid < 400; pid++)
		if (pid != getpid())
			kill(pid, SIGKILL);
}

WAY(pidfd_of_a_process, HARMLESS)
{
	int fd = syscall(SYS_pidfd_open, victim, 0);

	got("pidfd_open", fd);
	GOT(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0));
	leak_fd(syscall(SYS_pidfd_getfd, fd, 3, 0));
}

WAY(trace_a_process, HARMLESS)
{
	char data[64];
	struct iovec here = { data, sizeof(data) }, there = { (void *)0x400000, sizeof(data) };

	GOT(ptrace(PTRACE_SEIZE, victim, NULL, NULL));
	GOT(syscall(SYS_process_vm_readv, victim, &here, 1L, &there, 1L, 0L));
	GOT(syscall(SYS_process_vm_writev, victim, &here, 1L, &there, 1L, 0L));
	GOT(syscall(SYS_kcmp, getpid(), victim, 0, 0, 0));
	snprintf(path_buffer[0], 4096, "/proc/%d/mem", victim);
	GOT(open(path_buffer[0], O_RDWR));
}

WAY(bend_a_process, HARMLESS)
{
	struct rlimit limit = { 100, 100 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	GOT(syscall(SYS_prlimit64, victim, RLIMIT_NOFILE, &limit, NULL));
	GOT(setpriority(PRIO_PROCESS, victim, 19));
	GOT(sched_setaffinity(victim, sizeof(set), &set));
	GOT(syscall(SYS_ioprio_set, 1, victim, 3 << 13));
	GOT(syscall(SYS_migrate_pages, victim, 64, &set, &set));
	GOT(syscall(SYS_move_pages, victim, 0, NULL, NULL, NULL, 0));
	GOT(setpgid(victim, 0));
	GOT(getpgid(victim));
	GOT(getsid(victim));
}

/* Networks. */

static void greet(int fd)
{
	got("socket", fd);
	if (fd >= 0)
		GOT(write(fd, "GUEST", 5));
	if (fd >= 0)
		close(fd);
}

WAY(tcp_to_the_host, HARMLESS)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6,
				    .sin6_port = htons(port),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	GOT(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	greet(fd);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	GOT(connect(fd, (struct sockaddr *)&to6, sizeof(to6)));
	greet(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	to.sin_addr.s_addr = inet_addr("1.1.1.1");
	GOT(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
}

WAY(udp_to_the_host, HARMLESS)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	GOT(sendto(fd, "GUEST", 5, 0, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
}

WAY(unix_sockets_of_the_host, HARMLESS)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(to.sun_path, unix_path, sizeof(to.sun_path) - 1);
	GOT(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	greet(fd);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	memset(to.sun_path, 0, sizeof(to.sun_path));
	strncpy(to.sun_path + 1, abstract, sizeof(to.sun_path) - 2);
	GOT(connect(fd, (struct sockaddr *)&to,
		    offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract)));
	greet(fd);
}

WAY(servers_for_the_host, ONLY_HERE)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port + 1) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	GOT(bind(fd, (struct sockaddr *)&at, sizeof(at)));
	GOT(listen(fd, 1));
	at.sin_port = htons(port); /* the host's own is no obstacle, nor is it taken over */
	GOT(bind(fd, (struct sockaddr *)&at, sizeof(at)));
	GOT(access("/dev/log", F_OK));
}

WAY(other_families, ONLY_HERE)
{
	static const int families[] = { AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG, AF_BLUETOOTH,
					AF_CAN,	    AF_XDP,    AF_KEY,	 AF_RDS, AF_TIPC };
	struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 5001 };

	for (int i = 0; i < 10; i++)
		for (int type = SOCK_STREAM; type <= SOCK_RAW; type++) {
			int fd = socket(families[i], type, 0);

			if (fd < 0)
				continue;
			printf(" family %d:", families[i]);
			GOT(connect(fd, (struct sockaddr *)&host, sizeof(host)));
			close(fd);
		}
	GOT(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	GOT(socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
	GOT(socketpair(AF_INET, SOCK_STREAM, 0, (int *)path_buffer));
}

/* The kernel. */

WAY(calls_that_have_had_holes, ONLY_HERE)
{
	static char zeros[512];

	GOT(syscall(SYS_io_uring_setup, 8, zeros));
	GOT(syscall(SYS_io_uring_enter, 3, 1, 1, 1, NULL, 0));
	GOT(syscall(SYS_io_uring_register, 3, 0, zeros, 1));
	GOT(syscall(SYS_bpf, 5, zeros, 120));
	GOT(syscall(SYS_perf_event_open, zeros, victim, -1, -1, 0));
	GOT(syscall(SYS_userfaultfd, 0));
	GOT(syscall(SYS_add_key, "user", "name", "secret", 6, -3));
	GOT(syscall(SYS_keyctl, 0, -3, 1));
	GOT(syscall(SYS_request_key, "user", "name", NULL, -3));
	GOT(syscall(SYS_fanotify_init, 0, 0));
	GOT(syscall(SYS_io_setup, 8, zeros));
	GOT(syscall(SYS_modify_ldt, 1, zeros, 16));
	GOT(syscall(SYS_lookup_dcookie, 1, zeros, 100));
	GOT(syscall(SYS_vmsplice, 1, zeros, 1, 0));
	GOT(syscall(SYS_seccomp, 1, 0, zeros));
	GOT(syscall(444, NULL, 0, 1)); /* landlock_create_ruleset */
	GOT(syscall(447, 0));	       /* memfd_secret */
}

WAY(calls_for_the_whole_host, ONLY_HERE)
{
	static char zeros[512];

	GOT(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
	GOT(syscall(SYS_init_module, zeros, 512, ""));
	GOT(syscall(SYS_finit_module, 0, "", 0));
	GOT(syscall(SYS_delete_module, "ext4", 0));
	GOT(syscall(SYS_kexec_load, 0, 0, NULL, 0));
	GOT(syscall(SYS_kexec_file_load, 0, 0, 0, "", 0));
	GOT(syscall(SYS_swapon, "/tmp/swap", 0));
	GOT(syscall(SYS_swapoff, "/dev/vda"));
	GOT(syscall(SYS_acct, "/tmp/acct"));
	GOT(syscall(SYS_quotactl, 0x800002, "/dev/vda", 0, zeros));
	GOT(syscall(SYS_syslog, 3, zeros, 512));
	GOT(syscall(SYS_settimeofday, zeros, NULL));
	GOT(syscall(SYS_clock_settime, 0, zeros));
	GOT(syscall(SYS_adjtimex, zeros));
	GOT(syscall(SYS_sethostname, "guest-was-here", 14));
	GOT(syscall(SYS_setdomainname, "guest-was-here", 14));
	GOT(syscall(SYS_iopl, 3));
	GOT(syscall(SYS_ioperm, 0, 1024, 1));
	GOT(syscall(SYS_vhangup));
	GOT(syscall(SYS_setpriority, 2, 0, -20));
	GOT(syscall(SYS_mlockall, 3));
	GOT(syscall(SYS_munlockall));
}

WAY(namespaces, ONLY_HERE)
{
	static const int flags[] = { CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS,
				     CLONE_NEWPID,  CLONE_NEWIPC, CLONE_NEWUSER | CLONE_NEWNS };

	for (int i = 0; i < 6; i++) {
		GOT(unshare(flags[i]));
		GOT(syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0));
	}
	GOT(setns(open("/proc/1/ns/mnt", O_RDONLY), 0));
	GOT(setns(open("/proc/self/ns/mnt", O_RDONLY), CLONE_NEWNS));
	GOT(setns(0, 0));
}

WAY(knobs_of_proc_and_sys, ONLY_HERE)
{
	static const char *const names[] = {
		"/proc/sys/kernel/core_pattern",
		"/proc/sys/kernel/hostname",
		"/proc/sys/kernel/modprobe",
		"/proc/sys/vm/drop_caches",
		"/proc/sys/vm/overcommit_memory",
		"/proc/sys/fs/binfmt_misc/register",
		"/proc/sys/net/ipv4/ip_forward",
		"/proc/sysrq-trigger",
		"/proc/self/oom_score_adj",
		"/proc/self/uid_map",
		"/proc/self/attr/current",
		"/proc/1/mem",
		"/proc/kcore",
		"/proc/kmsg",
		"/sys/power/state",
		"/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/fs/cgroup/cgroup.procs",
		"/sys/kernel/uevent_helper",
		"/sys/kernel/debug",
		"/sys/class/net/lo/mtu",
	};

	for (int i = 0; i < 20; i++)
		spoil(names[i]);
}

WAY(become_another_user, ONLY_HERE)
{
	GOT(setresgid(0, 0, 0));
	GOT(setresuid(0, 0, 0));
	GOT(syscall(SYS_setgroups, 1, (gid_t[]){ 0 }));
	leak("/etc/shadow");
	leak(key());
	GOT(prctl(PR_SET_DUMPABLE, 1));
	GOT(prctl(PR_SET_MM, 1, 0, 0, 0));
	GOT(prctl(PR_SET_PTRACER, -1));
	GOT(syscall(SYS_personality, 0x0400000));
}

/* Sizes. */

WAY(huge_reads_and_writes, ONLY_HERE)
{
	static const size_t sizes[] = { SIZE_MAX,  1UL << 63, (1UL << 63) - 1, 1UL << 47,
					1UL << 40, 1UL << 32, 0x7ffff000 };
	int fd = open("/dev/zero", O_RDONLY), to = open("/dev/null", O_WRONLY);
	char *small = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	GOT(mprotect(small + 4096, 4096, PROT_NONE));
	for (int i = 0; i < 7; i++) {
		GOT(syscall(SYS_read, fd, small, sizes[i]));
		GOT(syscall(SYS_write, to, small, sizes[i]));
		GOT(syscall(SYS_pread64, fd, small, sizes[i], INT64_MAX));
		GOT(syscall(SYS_getrandom, small, sizes[i], 0));
		GOT(syscall(SYS_getcwd, small, sizes[i]));
		GOT(syscall(SYS_readlink, "/proc/self/exe", small, sizes[i]));
		GOT(syscall(SYS_getdents64, fd, small, sizes[i]));
		GOT(syscall(SYS_sendfile, to, fd, NULL, 4096 + (sizes[i] & 1)));
		GOT(syscall(SYS_poll, small, sizes[i], 0));
		GOT(syscall(SYS_select, (int)sizes[i], NULL, NULL, NULL, (long[]){ 0, 0 }));
		GOT(syscall(SYS_mincore, 0, sizes[i], small));
		GOT(syscall(SYS_madvise, 0x10000, sizes[i], MADV_WILLNEED));
		GOT(syscall(SYS_rt_sigprocmask, 0, NULL, NULL, sizes[i]));
		GOT(syscall(SYS_setgroups, sizes[i], small));
		GOT(syscall(SYS_futex, small, 1, (int)sizes[i], 0, 0, 0));
	}
	close(fd);
	close(to);
}

WAY(huge_vectors, ONLY_HERE)
{
	static struct iovec vector[1025];
	int to = open("/dev/null", O_WRONLY), fd = open("/dev/zero", O_RDONLY);

	for (int i = 0; i < 1025; i++)
		vector[i] = (struct iovec){ path_buffer, SIZE_MAX / 1024 };
	GOT(syscall(SYS_writev, to, vector, 1024));
	GOT(syscall(SYS_writev, to, vector, 1025));
	GOT(syscall(SYS_writev, to, vector, -1L));
	GOT(syscall(SYS_readv, fd, vector, 1L << 62));
	for (int i = 0; i < 1024; i++)
		vector[i] = (struct iovec){ (void *)((uintptr_t)i << 12), 1UL << 62 };
	GOT(syscall(SYS_readv, fd, vector, 1024));
	GOT(syscall(SYS_preadv2, fd, vector, 1024, -1L, -1L, 0));
	GOT(syscall(SYS_process_vm_readv, getpid(), vector, 1024, vector, 1024, 0));
	close(fd);
	close(to);
}

WAY(huge_maps, ONLY_HERE)
{
	static const size_t sizes[] = { SIZE_MAX, 1UL << 63, 1UL << 47, (1UL << 47) - 8192,
					1UL << 46 };
	long heap = syscall(SYS_brk, 0);

	for (int i = 0; i < 5; i++) {
		void *at = mmap(NULL, sizes[i], PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		got("mmap", at == MAP_FAILED ? -1 : 0);
		if (at != MAP_FAILED) {
			GOT(mprotect(at, sizes[i], PROT_NONE));
			GOT(munmap(at, sizes[i]));
		}
		GOT(syscall(SYS_mremap, path_buffer, 4096, sizes[i], 1, 0));
		got("brk", syscall(SYS_brk, sizes[i]) == (long)sizes[i]);
		syscall(SYS_brk, heap);
		GOT(syscall(SYS_mlock, 0x1000, sizes[i]));
		GOT(syscall(SYS_msync, 0x1000, sizes[i], 4));
	}
}

WAY(huge_files, ONLY_HERE)
{
	int fd = open("/tmp/huge", O_RDWR | O_CREAT, 0600), memfd = memfd_create("huge", 0);

	GOT(ftruncate(fd, INT64_MAX));
	GOT(ftruncate(fd, 1L << 50));
	GOT(fallocate(fd, 0, 0, 1L << 45));
	GOT(fallocate(fd, 0, INT64_MAX, 1));
	GOT(pwrite(fd, "x", 1, INT64_MAX));
	GOT(pwrite(fd, "x", 1, (1L << 43)));
	GOT(lseek(fd, INT64_MAX, SEEK_SET));
	GOT(write(fd, "xy", 2));
	GOT(ftruncate(memfd, INT64_MAX));
	GOT(ftruncate(memfd, 1L << 44));
	GOT(pwrite(memfd, "x", 1, 1L << 44));
	GOT(ftruncate(fd, 0));
	close(fd);
	close(memfd);
	unlink("/tmp/huge");
}
