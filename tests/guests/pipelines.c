// SPDX-License-Identifier: GPL-2.0-or-later
/* Files between processes: each line must be the same on the host, whoever runs when. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 16];

static void msleep(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static int reap(const char *what, pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		printf("%s: %s\n", what, strsignal(WTERMSIG(status)));
	else
		printf("%s: exit %d\n", what, WEXITSTATUS(status));
	fflush(stdout);
	return status;
}

static void write_fully(int fd, const void *data, size_t size)
{
	if (write(fd, data, size) != (ssize_t)size)
		_exit(90);
}

static void ping_pong(void)
{
	int to[2], from[2], n = 0;
	pid_t pid;

	pipe(to);
	pipe(from);
	pid = fork();
	if (!pid) {
		close(to[1]);
		close(from[0]);
		while (read(to[0], &n, sizeof(n)) == sizeof(n)) {
			n++;
			write_fully(from[1], &n, sizeof(n));
		}
		_exit(n);
	}
	close(to[0]);
	close(from[1]);
	for (int i = 0; i < 50; i++) {
		write(to[1], &n, sizeof(n));
		read(from[0], &n, sizeof(n));
	}
	close(to[1]);
	printf("ping-pong %d, then %zd bytes\n", n, read(from[0], &n, sizeof(n)));
	reap("pong", pid);
	close(from[0]);
}

#define WRITERS 6
#define RECORDS 60
#define RECORD 200

static void never_torn(void)
{
	int p[2], counts[WRITERS] = { 0 }, torn = 0, fill = 0;
	char record[RECORD];
	ssize_t got;

	pipe(p);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	for (int i = 0; i < WRITERS; i++)
		if (!fork()) {
			memset(record, 'a' + i, sizeof(record));
			for (int k = 0; k < RECORDS; k++)
				write_fully(p[1], record, sizeof(record));
			_exit(0);
		}
	close(p[1]);
	while ((got = read(p[0], record + fill, sizeof(record) - fill)) > 0) {
		fill += got;
		if (fill < RECORD)
			continue;
		fill = 0;
		for (int k = 1; k < RECORD; k++)
			torn += record[k] != record[0];
		counts[record[0] - 'a']++;
	}
	printf("torn %d:", torn);
	for (int i = 0; i < WRITERS; i++)
		printf(" %d", counts[i]);
	printf("\n");
	while (wait(NULL) > 0)
		;
	close(p[0]);
}

static void large(void)
{
	int p[2];
	unsigned long sum = 0, total = 0;
	ssize_t got;
	pid_t pid;

	pipe(p);
	pid = fork();
	if (!pid) {
		close(p[0]);
		for (size_t i = 0; i < sizeof(buffer); i++)
			buffer[i] = (char)(i * 7);
		for (int i = 0; i < 16; i++)
			write_fully(p[1], buffer, sizeof(buffer));
		_exit(0);
	}
	close(p[1]);
	while ((got = read(p[0], buffer, 5000)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			sum = sum * 31 + (unsigned char)buffer[i];
		total += got;
	}
	printf("%lu bytes, sum %lx\n", total, sum);
	reap("writer", pid);
	close(p[0]);
}

static void in_order_of_time(void)
{
	struct pollfd fds[3];
	int left = 3, p[2];

	for (int i = 0; i < 3; i++) {
		pipe(p);
		fds[i] = (struct pollfd){ p[0], POLLIN, 0 };
		if (!fork()) {
			msleep(300 - 140 * i);
			write_fully(p[1], "x", 1);
			msleep(200);
			_exit(0);
		}
		close(p[1]);
	}
	printf("poll:");
	while (left) {
		poll(fds, 3, -1);
		for (int i = 0; i < 3; i++)
			if (fds[i].revents & POLLIN) {
				printf(" %d", i);
				read(fds[i].fd, buffer, 1);
				fds[i].events = 0;
				close(fds[i].fd);
				fds[i].fd = -1;
				left--;
			}
	}
	printf("\n");
	while (wait(NULL) > 0)
		;
}

static void epoll_edges(void)
{
	int ep = epoll_create1(0), s[4][2], sums[4] = { 0 }, open = 4;
	struct epoll_event e, found[4];

	for (int i = 0; i < 4; i++) {
		socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]);
		fcntl(s[i][0], F_SETFL, O_NONBLOCK);
		e = (struct epoll_event){ .events = EPOLLIN | EPOLLET | EPOLLRDHUP, .data.u32 = i };
		epoll_ctl(ep, EPOLL_CTL_ADD, s[i][0], &e);
		if (!fork()) {
			for (int k = 1; k <= 20; k++)
				write_fully(s[i][1], &k, 1);
			_exit(0);
		}
		close(s[i][1]);
	}
	while (open) {
		int n = epoll_wait(ep, found, 4, -1);

		for (int i = 0; i < n; i++) {
			int who = found[i].data.u32;
			ssize_t got;

			while ((got = read(s[who][0], buffer, 8)) > 0)
				for (ssize_t k = 0; k < got; k++)
					sums[who] += buffer[k];
			if (!got) {
				close(s[who][0]);
				open--;
			}
		}
	}
	printf("epoll: %d %d %d %d\n", sums[0], sums[1], sums[2], sums[3]);
	while (wait(NULL) > 0)
		;
	close(ep);
}

static void semaphore(void)
{
	int room = eventfd(2, EFD_SEMAPHORE), done = eventfd(0, 0);
	uint64_t one = 1, value, total = 0;

	for (int i = 0; i < 5; i++)
		if (!fork()) {
			for (int k = 0; k < 10; k++) {
				read(room, &value, 8);
				value = i + 1;
				write(done, &value, 8);
				write(room, &one, 8);
			}
			_exit(0);
		}
	while (total < 150) {
		read(done, &value, 8);
		total += value;
	}
	printf("eventfd %lu\n", (unsigned long)total);
	while (wait(NULL) > 0)
		;
	close(room);
	close(done);
}

static pid_t spawn(char *const argv[], int in, int out)
{
	pid_t pid = fork();

	if (!pid) {
		dup2(in, 0);
		dup2(out, 1);
		execve("/proc/self/exe", argv, (char *[]){ "COLOUR=blue", NULL });
		_exit(91);
	}
	return pid;
}

static void pipeline(void)
{
	int p[2], q[2], r[2];
	pid_t first, second;
	ssize_t got;

	pipe2(p, O_CLOEXEC);
	pipe2(q, O_CLOEXEC);
	pipe2(r, O_CLOEXEC);
	first = spawn((char *[]){ "self", "upper", NULL }, p[0], q[1]);
	second = spawn((char *[]){ "self", "reverse", NULL }, q[0], r[1]);
	close(p[0]);
	close(q[0]);
	close(q[1]);
	close(r[1]);
	write(p[1], "a pipe", 6);
	close(p[1]);
	got = read(r[0], buffer, 100);
	printf("pipeline: %.*s\n", (int)got, buffer);
	reap("upper", first);
	reap("reverse", second);
	close(r[0]);
}

static void broken(void)
{
	int p[2];
	pid_t pid;

	pipe(p);
	close(p[0]);
	pid = fork();
	if (!pid) {
		write(p[1], "x", 1);
		_exit(0);
	}
	reap("write to nobody", pid);
	pid = fork();
	if (!pid) {
		signal(SIGPIPE, SIG_IGN);
		_exit(write(p[1], "x", 1) < 0 ? errno : 0);
	}
	reap("ignoring it", pid);
	close(p[1]);
}

static volatile int alarms;

static void on_alarm(int signo)
{
	(void)signo;
	alarms++;
}

static void arm(int flags)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } };

	alarms = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
}

static int disarm(void)
{
	setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
	return alarms > 0;
}

/* The timer goes on until the call has ended: it may come before the call, but not for ever. */
#define INTERRUPTED(call)                                                                         \
	do {                                                                                      \
		long result_;                                                                     \
		int errno_;                                                                       \
		arm(0);                                                                           \
		errno = 0;                                                                        \
		result_ = (long)(call);                                                           \
		errno_ = errno;                                                                   \
		printf("%s: %ld %s, %d\n", #call, result_, errno_ ? strerrorname_np(errno_) : "", \
		       disarm());                                                                 \
		fflush(stdout);                                                                   \
	} while (0)

static void interrupted(void)
{
	int p[2], full[2], s[2], ep = epoll_create1(0);
	struct pollfd one;
	struct epoll_event e = { .events = EPOLLIN };
	struct timespec late = { 10, 0 };
	sigset_t none;
	uint64_t value = 1;
	fd_set r;
	pid_t pid;

	sigemptyset(&none);
	pipe(p);
	pipe(full);
	fcntl(full[1], F_SETPIPE_SZ, 4096);
	write(full[1], buffer, 4096);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	one = (struct pollfd){ p[0], POLLIN, 0 };
	epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e);
	INTERRUPTED(read(p[0], buffer, 1));
	INTERRUPTED(write(full[1], buffer, 100));
	INTERRUPTED(recv(s[0], buffer, 1, 0));
	INTERRUPTED(poll(&one, 1, 5000));
	INTERRUPTED(ppoll(&one, 1, &late, &none));
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	INTERRUPTED(select(p[0] + 1, &r, NULL, NULL, NULL));
	INTERRUPTED(pselect(p[0] + 1, &r, NULL, NULL, NULL, &none));
	INTERRUPTED(epoll_wait(ep, &e, 1, -1));
	INTERRUPTED(epoll_pwait(ep, &e, 1, -1, &none));
	INTERRUPTED(read(eventfd(0, 0), &value, 8));

	/* Half of it fits, then the signal comes: the half counts. */
	read(full[0], buffer, 4096);
	INTERRUPTED(write(full[1], buffer, 6000));

	/* With SA_RESTART the call goes on. */
	pid = fork();
	if (!pid) {
		msleep(80);
		write_fully(p[1], "abc", 3);
		_exit(0);
	}
	arm(SA_RESTART);
	printf("restarted: %zd", read(p[0], buffer, 100));
	printf(", %d\n", disarm());
	arm(SA_RESTART);
	errno = 0;
	printf("poll is not: %d", poll(&one, 1, 5000));
	printf(" %s, %d\n", strerrorname_np(errno), disarm());
	reap("helper", pid);
	close(ep);
}

static void killed_while_waiting(void)
{
	int p[2], status;
	pid_t pid;

	pipe(p);
	pid = fork();
	if (!pid) {
		close(p[1]);
		read(p[0], buffer, 1);
		_exit(1);
	}
	msleep(20);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	printf("killed in read: %d\n", WTERMSIG(status));
	close(p[0]);
	close(p[1]);
}

static long field(pid_t pid, const char *key, char *word)
{
	char path[64], text[8192], *at;
	int fd, got;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		strcpy(word, strerrorname_np(errno));
		return -1;
	}
	got = read(fd, text, sizeof(text) - 1);
	text[got] = 0;
	close(fd);
	at = strstr(text, key);
	sscanf(at + strlen(key), "%63s", word);
	return strtol(word, NULL, 16);
}

/* Wait until the process is in this state; word says which it is in. */
static void await_state(pid_t pid, const char *state, char *word)
{
	for (int i = 0; i < 500; i++) {
		field(pid, "State:", word);
		if (!strcmp(word, state))
			return;
		msleep(10);
	}
}

static void zombie(pid_t pid, const char *name)
{
	char path[64];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY);
	got = read(fd, buffer, 1000);
	printf("%s: %zd %.*s\n", name, got, got > 0 ? (int)got - 1 : 0, buffer);
	close(fd);
}

static void proc(void)
{
	char word[64], path[64], link[64];
	int p[2], n = 0;
	struct stat st;
	pid_t pid;
	ssize_t got;
	DIR *directory;

	pipe(p);
	pid = fork();
	if (!pid) {
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set, NULL);
		signal(SIGUSR2, SIG_IGN);
		signal(SIGHUP, on_alarm);
		raise(SIGUSR1);
		close(p[1]);
		read(p[0], buffer, 1);
		_exit(3);
	}
	await_state(pid, "S", word);
	got = readlink("/proc/self", link, sizeof(link) - 1);
	link[got > 0 ? got : 0] = 0;
	printf("self is mine: %d\n", atoi(link) == getpid());
	printf("child: %s", word);
	field(pid, "PPid:", word);
	printf(", parent mine %d", atoi(word) == getpid());
	printf(", pending %lx", field(pid, "SigPnd:", word) | field(pid, "ShdPnd:", word));
	printf(", blocked %lx", field(pid, "SigBlk:", word));
	printf(", ignored %lx", field(pid, "SigIgn:", word) & 0x800);
	printf(", caught %lx", field(pid, "SigCgt:", word) & 1);
	field(pid, "Threads:", word);
	printf(", threads %s\n", word);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, p[0]);
	printf("its pipe: %d\n", readlink(path, link, 5) == 5 && !strncmp(link, "pipe:", 5));
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	directory = opendir(path);
	while (readdir(directory))
		n++;
	closedir(directory);
	printf("entries of task: %d\n", n);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	int fd = open(path, O_RDONLY);
	got = read(fd, buffer, 1000);
	printf("cmdline ends with its words: %d\n", got > 6 && !strcmp(buffer + got - 6, "proc!"));
	close(fd);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	printf("exe: %d\n", !stat(path, &st) && S_ISREG(st.st_mode));
	close(p[1]);
	await_state(pid, "Z", word);
	printf("dead: %s\n", word);
	field(pid, "Threads:", word);
	printf("threads %s, exe %zd %s\n", word, readlink(path, link, 5), strerrorname_np(errno));
	zombie(pid, "statm");
	zombie(pid, "maps");
	zombie(pid, "cmdline");
	reap("child", pid);
	field(pid, "State:", word);
	printf("gone: %s\n", word);
	close(p[0]);
}

static void cloexec(void)
{
	int kept = dup(1), gone = fcntl(1, F_DUPFD_CLOEXEC, 0);
	char a[16], b[16];
	pid_t pid = fork();

	snprintf(a, sizeof(a), "%d", kept);
	snprintf(b, sizeof(b), "%d", gone);
	if (!pid) {
		execve("/proc/self/exe", (char *[]){ "self", "open?", a, b, NULL }, NULL);
		_exit(92);
	}
	reap("open after exec", pid);
	close(kept);
	close(gone);
}

static int child(char **argv)
{
	ssize_t got;

	if (!strcmp(argv[1], "open?"))
		return (fcntl(atoi(argv[2]), F_GETFD) == 0) * 10 +
		       (fcntl(atoi(argv[3]), F_GETFD) == 0);
	got = read(0, buffer, 100);
	if (!strcmp(argv[1], "upper"))
		for (ssize_t i = 0; i < got; i++)
			buffer[i] -= buffer[i] >= 'a' && buffer[i] <= 'z' ? 32 : 0;
	else
		for (ssize_t i = 0; i < got / 2; i++) {
			char c = buffer[i];

			buffer[i] = buffer[got - 1 - i];
			buffer[got - 1 - i] = c;
		}
	write(1, buffer, got);
	return read(0, buffer, 1) ? 93 : 0;
}

static int held[2];

static void *read_held(void *unused)
{
	(void)unused;
	return (void *)read(held[0], buffer, 3);
}

static void *change(void *unused)
{
	chdir("/proc");
	umask(027);
	close(9);
	return unused;
}

/* Descriptors and working directory of threads are one; a call keeps the file that it uses. */
static void threads(void)
{
	pthread_t thread;
	ssize_t written;
	void *got;
	pid_t pid;

	pipe(held);
	pthread_create(&thread, NULL, read_held, NULL);
	msleep(20);
	printf("close %d\n", close(held[0]));
	printf("write %zd\n", write(held[1], "abc", 3));
	pthread_join(thread, &got);
	printf("read %ld %.3s\n", (long)got, buffer);
	signal(SIGPIPE, SIG_IGN);
	written = write(held[1], "abc", 3);
	printf("write %zd %s\n", written, strerrorname_np(errno));
	dup2(1, 9);
	pthread_create(&thread, NULL, change, NULL);
	pthread_join(thread, NULL);
	printf("%s %o %d\n", getcwd(buffer, 100), umask(022), fcntl(9, F_GETFD));
	pid = fork();
	if (!pid) {
		chdir("/dev");
		close(1);
		_exit(umask(0));
	}
	reap("child", pid);
	printf("%s %o %d\n", getcwd(buffer, 100), umask(022), fcntl(1, F_GETFD));
	signal(SIGPIPE, SIG_DFL);
}

/* Memory of a file is one for all that map it. */
static void shared_memory(void)
{
	int fd = memfd_create("shared", 0), status;
	volatile int *map, *anonymous;
	pid_t pid;

	ftruncate(fd, 8192);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	anonymous = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	map[0] = 1;
	map[1024] = 2;
	pid = fork();
	if (!pid) {
		volatile int *other = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		other[0] += 10;
		map[1024] += 20;
		anonymous[5] = 7;
		pwrite(fd, "\3", 1, 4);
		_exit(other[1024]);
	}
	reap("adds", pid);
	printf("%d %d %d %d\n", map[0], map[1], map[1024], anonymous[5]);
	pid = fork();
	if (!pid) {
		ftruncate(fd, 4096);
		map[1024] = 1;
		_exit(1);
	}
	waitpid(pid, &status, 0);
	printf("beyond the end: %s\n", strsignal(WTERMSIG(status)));
	ftruncate(fd, 8192);
	printf("%d %d\n", map[0], map[1024]);
	munmap((void *)map, 8192);
	close(fd);
}

/* Not among the parts: it waits for whoever types. */
static void terminal(void)
{
	ssize_t got;

	if (!fork()) {
		msleep(5);
		write_fully(1, "child done\n", 11);
		_exit(0);
	}
	got = read(0, buffer, 100);
	printf("read %.*s", (int)got, buffer);
	wait(NULL);
}

static void look(const char *what, int ep, int timeout)
{
	struct pollfd one = { 0, POLLIN, 0 };
	struct epoll_event e[2];
	int found = epoll_wait(ep, e, 2, timeout), n = poll(&one, 1, timeout);

	printf("%s: poll %d %#x, epoll %d\n", what, n, one.revents, found);
}

/* As above: sets with descriptor 0 in them, level and edge. */
static void watch_terminal(void)
{
	int level = epoll_create1(0), edge = epoll_create1(0);
	struct epoll_event e = { .events = EPOLLIN };

	epoll_ctl(level, EPOLL_CTL_ADD, 0, &e);
	e.events |= EPOLLET;
	epoll_ctl(edge, EPOLL_CTL_ADD, 0, &e);
	look("nothing", level, 0);
	printf("type\n");
	look("typed", level, -1);
	look("still", level, 0);
	look("edge", edge, -1);
	look("no edge", edge, 0);
	printf("read %zd\n", read(0, buffer, 100));
	look("taken", level, 0);
	look("no new edge", edge, 0);
	printf("close\n");
	look("closed", level, -1);
	look("edge of closing", edge, -1);
	printf("read %zd\n", read(0, buffer, 100));
}

static const struct {
	const char *name;
	void (*run)(void);
} parts[] = {
	{ "ping_pong", ping_pong },
	{ "never_torn", never_torn },
	{ "large", large },
	{ "in_order_of_time", in_order_of_time },
	{ "epoll_edges", epoll_edges },
	{ "semaphore", semaphore },
	{ "pipeline", pipeline },
	{ "broken", broken },
	{ "interrupted", interrupted },
	{ "killed_while_waiting", killed_while_waiting },
	{ "proc", proc },
	{ "cloexec", cloexec },
	{ "threads", threads },
	{ "shared_memory", shared_memory },
};

/* pipelines PART proc! runs a part; "self" is the other side of exec(). */
int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 1 << 12);
	if (!strcmp(argv[0], "self"))
		return child(argv);
	if (argc > 1 && !strcmp(argv[1], "terminal"))
		terminal();
	else if (argc > 1 && !strcmp(argv[1], "watch_terminal"))
		watch_terminal();
	else
		for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
			if (argc < 3 || !strcmp(argv[1], parts[i].name)) {
				parts[i].run();
				fflush(stdout);
			}
	return 0;
}
