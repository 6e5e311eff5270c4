// SPDX-License-Identifier: GPL-2.0-or-later
/* Files of one process that nobody else has: each line is a call and its answer. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 17];
static void *volatile nowhere = (void *)8;

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	return result;
}
#define SAY(call) say(#call, (long)(call))

static void ready(const char *what, int fd)
{
	struct pollfd one = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
	int n = poll(&one, 1, 0);

	printf("%s: poll %d %#x\n", what, n, one.revents);
}

static void pipes(void)
{
	int p[2], q[2], more[2], size;
	struct iovec v[3] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } };

	SAY(pipe(p));
	ready("empty, read", p[0]);
	ready("empty, write", p[1]);
	SAY(write(p[1], "0123456789", 10));
	ready("some", p[0]);
	SAY(ioctl(p[0], FIONREAD, &size));
	SAY(size);
	SAY(read(p[0], buffer, 4));
	SAY(readv(p[0], (struct iovec[]){ { buffer, 2 }, { buffer + 2, 2 } }, 2));
	printf("%.4s\n", buffer);
	SAY(writev(p[1], v, 3));
	SAY(read(p[0], buffer, 100));
	printf("%.7s\n", buffer);
	SAY(write(p[0], "x", 1));
	SAY(read(p[1], buffer, 1));
	SAY(lseek(p[0], 0, SEEK_CUR));
	SAY(pread(p[0], buffer, 1, 0));
	SAY(pwrite(p[1], buffer, 1, 0));
	SAY(write(p[1], NULL, 1));
	SAY(write(p[1], NULL, 0));
	SAY(fcntl(p[1], F_GETFL));
	SAY(fcntl(p[1], F_SETFL, O_NONBLOCK | O_APPEND));
	SAY(fcntl(p[1], F_GETFL));
	SAY(fcntl(p[1], F_SETFL, O_NONBLOCK));
	SAY(fcntl(p[0], F_SETFL, O_NONBLOCK));
	SAY(read(p[0], buffer, 1));
	SAY(fcntl(p[0], F_GETPIPE_SZ));
	SAY(write(p[1], buffer, sizeof(buffer)));
	ready("full, write", p[1]);
	SAY(write(p[1], "x", 1));
	SAY(fcntl(p[1], F_SETPIPE_SZ, 4096));
	SAY(read(p[0], buffer, 4095));
	SAY(write(p[1], "xy", 2));
	SAY(read(p[0], buffer, 1));
	SAY(write(p[1], "xy", 2));
	SAY(write(p[1], buffer, 4096));
	SAY(fcntl(p[1], F_SETPIPE_SZ, 100000));
	SAY(write(p[1], buffer, 4096));
	SAY(write(p[1], buffer, 200));
	SAY(write(p[1], buffer, 3900));
	SAY(ioctl(p[0], FIONREAD, &size));
	SAY(size);
	SAY(fcntl(p[1], F_SETPIPE_SZ, 0x80000001u));
	SAY(close(p[1]));
	ready("no writer, some left", p[0]);
	while (read(p[0], buffer, sizeof(buffer)) > 0)
		;
	ready("no writer, empty", p[0]);
	SAY(read(p[0], buffer, 1));
	SAY(close(p[0]));
	SAY(pipe2(q, O_DIRECT | O_NONBLOCK | O_CLOEXEC));
	SAY(fcntl(q[0], F_GETFD));
	SAY(fcntl(q[0], F_GETFL) & ~O_LARGEFILE);
	SAY(write(q[1], "one", 3));
	SAY(write(q[1], "three", 5));
	SAY(read(q[0], buffer, 2));
	SAY(read(q[0], buffer, 100));
	SAY(read(q[0], buffer, 100));
	signal(SIGPIPE, SIG_IGN);
	SAY(close(q[0]));
	ready("no reader", q[1]);
	SAY(write(q[1], "x", 1));
	SAY(write(q[1], "", 0));
	SAY(close(q[1]));
	SAY(pipe2(more, 0x40000000));
	SAY(pipe(nowhere));
	SAY(fcntl(0, F_GETPIPE_SZ + 100));
}

static void descriptors(void)
{
	struct stat st;
	int fd = open("/dev/null", O_RDWR), other, nr = 0;

	SAY(fd);
	SAY(write(fd, "gone", 4));
	SAY(read(fd, buffer, 4));
	SAY(lseek(fd, 100, SEEK_SET));
	SAY(fcntl(fd, F_GETFL));
	SAY(fstat(fd, &st));
	SAY(S_ISCHR(st.st_mode));
	ready("null", fd);
	other = SAY(fcntl(fd, F_DUPFD_CLOEXEC, 50));
	SAY(fcntl(other, F_GETFD));
	SAY(fcntl(other, F_SETFD, 0));
	SAY(fcntl(other, F_GETFD));
	SAY(ioctl(other, FIOCLEX));
	SAY(fcntl(other, F_GETFD));
	SAY(ioctl(fd, TIOCGWINSZ, buffer));
	SAY(dup3(fd, other, O_CLOEXEC));
	SAY(dup3(fd, fd, 0));
	SAY(syscall(SYS_close_range, 50, ~0u, 0));
	SAY(close(other));
	SAY(close(fd));
	fd = open("/dev/zero", O_RDONLY);
	buffer[0] = 1;
	SAY(read(fd, buffer, 5000));
	char *much =
		mmap(NULL, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SAY(read(fd, much, (3 << 20) - 5));
	SAY(munmap(much, 3 << 20));
	SAY(buffer[0]);
	SAY(write(fd, "x", 1));
	volatile char *zero = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	SAY(zero[17]++);
	SAY(zero[17]);
	close(fd);
	fd = open("/dev/full", O_WRONLY);
	SAY(write(fd, "x", 1));
	close(fd);
	fd = open("/dev/urandom", O_RDONLY);
	SAY(read(fd, buffer, 1000));
	close(fd);
	SAY(open("/dev/nosuch", O_RDONLY));
	SAY(open("/proc/self/fd", O_RDWR));
	SAY(chdir("/proc"));
	fd = SAY(open("self/fd", O_RDONLY | O_DIRECTORY));
	DIR *directory = fdopendir(fd);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL; nr++)
		;
	SAY(nr);
	rewinddir(directory);
	SAY(readdir(directory)->d_name[0]);
	SAY(read(fd, buffer, 1));
	SAY(fchdir(fd));
	SAY(readlink("0", buffer, 4));
	closedir(directory);
	SAY(chdir("/nosuch"));
	SAY(chdir("/dev/null"));
	SAY(chdir("/"));
	SAY(fchdir(1));
	SAY(open("/dev/null", O_RDONLY | O_DIRECTORY));
	SAY(openat(1, "x", O_RDONLY));
	SAY(openat(99, "x", O_RDONLY));
	SAY(openat(99, "/dev/null", O_RDONLY | O_CLOEXEC));
	SAY(umask(077));
	SAY(umask(022));
	fd = open("/dev", O_PATH);
	SAY(fcntl(fd, F_GETFL));
	SAY(read(fd, buffer, 1));
	SAY(faccessat(fd, "null", R_OK | W_OK, 0));
	close(fd);
}

static void selects(void)
{
	struct timeval now = { 0, 0 }, later = { 0, 20000 };
	struct timespec soon = { 0, 1000000 };
	struct pollfd many[3];
	fd_set r, w;
	int p[2];

	pipe(p);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	SAY(select(p[1] + 1, &r, &w, NULL, &now));
	SAY(FD_ISSET(p[0], &r));
	SAY(FD_ISSET(p[1], &w));
	FD_SET(p[0], &r);
	SAY(select(p[0] + 1, &r, NULL, NULL, &later));
	SAY(later.tv_usec);
	SAY(FD_ISSET(p[0], &r));
	write(p[1], "x", 1);
	FD_SET(p[0], &r);
	SAY(select(p[0] + 1, &r, NULL, NULL, NULL));
	SAY(pselect(0, NULL, NULL, NULL, &soon, NULL));
	FD_ZERO(&r);
	FD_SET(60, &r);
	SAY(select(61, &r, NULL, NULL, &now));
	SAY(select(-1, NULL, NULL, NULL, &now));
	later.tv_sec = -1;
	SAY(select(0, NULL, NULL, NULL, &later));
	many[0] = (struct pollfd){ p[0], POLLIN, 99 };
	many[1] = (struct pollfd){ -5, POLLIN, 99 };
	many[2] = (struct pollfd){ 77, 0, 99 };
	SAY(poll(many, 3, -1));
	printf("%#x %#x %#x\n", many[0].revents, many[1].revents, many[2].revents);
	read(p[0], buffer, 1);
	SAY(poll(many, 2, 5));
	SAY(ppoll(many, 1, &soon, NULL));
	SAY(poll(nowhere, 2000000, 0));
	SAY(poll(nowhere, 1, 0));
	SAY(poll(NULL, 0, 1));
	close(p[0]);
	close(p[1]);
}

static void events(void)
{
	uint64_t value = 5;
	int fd = eventfd(3, EFD_NONBLOCK), s = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);

	ready("eventfd 3", fd);
	SAY(write(fd, &value, 8));
	SAY(read(fd, &value, 8));
	SAY((long)value);
	SAY(read(fd, &value, 8));
	SAY(read(fd, &value, 7));
	SAY(write(fd, &value, 7));
	value = ~0ull;
	SAY(write(fd, &value, 8));
	value = ~0ull - 1;
	SAY(write(fd, &value, 8));
	ready("eventfd full", fd);
	value = 1;
	SAY(write(fd, &value, 8));
	SAY(read(s, &value, 8));
	SAY((long)value);
	SAY(read(s, &value, 8));
	SAY(read(s, &value, 8));
	SAY(eventfd(0, 4));
	SAY(lseek(s, 0, SEEK_SET));
	close(fd);
	close(s);

	struct itimerspec t = { { 0, 0 }, { 0, 200000000 } }, was;
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	ready("timerfd", timer);
	SAY(read(timer, &value, 8));
	SAY(timerfd_settime(timer, 0, &t, NULL));
	SAY(timerfd_gettime(timer, &was));
	SAY(was.it_value.tv_nsec > 0 && was.it_value.tv_nsec <= 200000000);
	struct pollfd one = { timer, POLLIN, 0 };
	SAY(poll(&one, 1, 1000));
	SAY(read(timer, &value, 8));
	SAY((long)value);
	SAY(timerfd_gettime(timer, &was));
	SAY(was.it_value.tv_nsec);
	t.it_value.tv_nsec = 2000000;
	t.it_interval.tv_nsec = 1000000;
	SAY(timerfd_settime(timer, 0, &t, NULL));
	nanosleep(&(struct timespec){ 0, 5500000 }, NULL);
	SAY(read(timer, &value, 8));
	SAY(value >= 4);
	SAY(timerfd_settime(timer, 0, &(struct itimerspec){ 0 }, &was));
	SAY(was.it_interval.tv_nsec);
	SAY(read(timer, &value, 8));
	struct timespec past;
	clock_gettime(CLOCK_REALTIME, &past);
	int real = timerfd_create(CLOCK_REALTIME, 0);
	t = (struct itimerspec){ { 0, 0 }, past };
	SAY(timerfd_settime(real, TFD_TIMER_ABSTIME, &t, NULL));
	SAY(read(real, &value, 8));
	SAY(timerfd_create(12345, 0));
	SAY(timerfd_create(CLOCK_MONOTONIC, 2));
	SAY(timerfd_settime(1, 0, &t, NULL));
	t.it_value.tv_nsec = 1000000000;
	SAY(timerfd_settime(real, 0, &t, NULL));
	close(real);
	close(timer);
}

static void waits(const char *what, int ep, int most)
{
	struct epoll_event found[4];
	int n = epoll_wait(ep, found, most, 0);

	printf("%s:", what);
	for (int i = 0; i < n; i++)
		printf(" %#x/%llu", found[i].events, (unsigned long long)found[i].data.u64);
	printf(" = %d\n", n);
}

static void epolls(void)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 1 };
	int ep = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create(1), p[2], q[2];

	pipe(p);
	pipe(q);
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	waits("none", ep, 4);
	write(p[1], "x", 1);
	waits("level", ep, 4);
	waits("level again", ep, 4);
	e.events = EPOLLIN | EPOLLET;
	e.data.u64 = 2;
	SAY(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	waits("edge", ep, 4);
	waits("edge again", ep, 4);
	write(p[1], "y", 1);
	waits("new edge", ep, 4);
	e.events = EPOLLIN | EPOLLONESHOT;
	SAY(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	waits("once", ep, 4);
	write(p[1], "z", 1);
	waits("no more", ep, 4);
	SAY(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	waits("armed again", ep, 4);
	e.events = EPOLLIN;
	SAY(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	e.events = EPOLLOUT;
	e.data.u64 = 3;
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &e));
	e.events = EPOLLIN;
	e.data.u64 = 4;
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, q[0], &e));
	write(q[1], "x", 1);
	waits("one", ep, 1);
	waits("the next", ep, 1);
	waits("the third", ep, 1);
	waits("all", ep, 4);
	SAY(epoll_ctl(outer, EPOLL_CTL_ADD, ep, &e));
	waits("outer", outer, 4);
	ready("outer", outer);
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, outer, &e));
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e));
	SAY(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
	SAY(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
	SAY(epoll_ctl(ep, EPOLL_CTL_MOD, p[1], &e));
	SAY(epoll_ctl(ep, 7, p[1], &e));
	SAY(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &e));
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, 99, &e));
	SAY(epoll_ctl(99, EPOLL_CTL_ADD, p[0], &e));
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], nowhere));
	int null = open("/dev/null", O_RDONLY);
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, null, &e));
	SAY(epoll_wait(ep, &e, 0, 0));
	SAY(epoll_wait(null, &e, 1, 0));
	SAY(epoll_wait(ep, nowhere, 1, 0));
	close(q[1]);
	waits("hung up", ep, 4);
	close(q[0]);
	waits("closed", ep, 4);
	read(p[0], buffer, 100);
	waits("empty", ep, 4);
	SAY(epoll_wait(ep, &e, 1, 3));
	SAY(epoll_create(0));
	SAY(epoll_create1(1));
	close(outer);
	close(ep);
}

static void sockets(void)
{
	int s[2], d[2], size, type;
	socklen_t length = sizeof(type);

	SAY(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	ready("socket", s[0]);
	SAY(send(s[0], "hello", 5, 0));
	SAY(write(s[0], " you", 4));
	ready("with data", s[1]);
	SAY(ioctl(s[1], FIONREAD, &size));
	SAY(size);
	SAY(recv(s[1], buffer, 3, MSG_PEEK));
	SAY(recv(s[1], buffer, 100, MSG_WAITALL | MSG_DONTWAIT));
	printf("%.9s\n", buffer);
	SAY(read(s[1], buffer, 1));
	SAY(recv(s[0], buffer, 1, MSG_DONTWAIT));
	SAY(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &length));
	SAY(type);
	SAY(getsockopt(s[0], SOL_SOCKET, 12345, &type, &length));
	SAY(shutdown(s[0], SHUT_WR));
	ready("shut, other", s[1]);
	ready("shut, own", s[0]);
	SAY(read(s[1], buffer, 1));
	SAY(send(s[0], "x", 1, MSG_NOSIGNAL));
	SAY(write(s[1], "back", 4));
	SAY(close(s[0]));
	ready("gone", s[1]);
	SAY(read(s[1], buffer, 1));
	SAY(read(s[1], buffer, 1));
	SAY(send(s[1], "x", 1, MSG_NOSIGNAL));
	SAY(shutdown(s[1], 9));
	SAY(shutdown(1, SHUT_RD));
	SAY(lseek(s[1], 0, SEEK_CUR));
	close(s[1]);
	SAY(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, d));
	SAY(write(d[0], "one", 3));
	SAY(write(d[0], "three", 5));
	SAY(read(d[1], buffer, 2));
	SAY(read(d[1], buffer, 100));
	close(d[0]);
	SAY(read(d[1], buffer, 100));
	close(d[1]);
	SAY(socketpair(AF_UNIX, SOCK_DGRAM, 0, d));
	SAY(write(d[0], "x", 1));
	close(d[0]);
	SAY(read(d[1], buffer, 100));
	SAY(send(d[1], "x", 1, MSG_NOSIGNAL));
	close(d[1]);
	struct iovec v[2] = { { "abcd", 4 }, { "efg", 3 } },
		     w[2] = { { buffer, 2 }, { buffer + 2, 3 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	SAY(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, d));
	SAY(sendmsg(d[0], &m, 0));
	m = (struct msghdr){ .msg_iov = w, .msg_iovlen = 2, .msg_namelen = 0 };
	SAY(recvmsg(d[1], &m, 0));
	printf("%.5s\n", buffer);
	SAY(m.msg_flags & MSG_TRUNC);
	SAY(recvmsg(d[1], &m, MSG_DONTWAIT));
	SAY(recvmsg(1, &m, 0));
	close(d[0]);
	close(d[1]);
	SAY(socketpair(AF_INET, SOCK_STREAM, 0, d));
	SAY(socketpair(AF_UNIX, 77, 0, d));
	SAY(socketpair(AF_UNIX, SOCK_STREAM, 99, d));
}

static void memory(void)
{
	int fd = memfd_create("name", MFD_CLOEXEC), more;
	struct stat st;
	char *map, path[64];

	SAY(fcntl(fd, F_GETFD));
	SAY(fcntl(fd, F_GETFL) & ~O_LARGEFILE);
	SAY(write(fd, "hello", 5));
	SAY(pwrite(fd, "far", 3, 10000));
	SAY(fstat(fd, &st));
	SAY(st.st_size);
	SAY(st.st_blocks);
	SAY(st.st_nlink);
	SAY(st.st_mode);
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(lseek(fd, -5, SEEK_END));
	SAY(read(fd, buffer, 100));
	SAY(ioctl(fd, FIONREAD, &more));
	map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SAY(map[10000]);
	map[1] = 'a';
	map[5000] = 'b';
	SAY(pread(fd, buffer, 5, 0));
	printf("%.5s\n", buffer);
	SAY(pread(fd, buffer, 1, 5000));
	SAY(buffer[0]);
	struct statx x;
	SAY(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
	SAY(x.stx_size);
	SAY(x.stx_blocks);
	SAY(x.stx_mode);
	SAY(x.stx_nlink);
	SAY(statx(AT_FDCWD, "/dev/null", 0, STATX_BASIC_STATS, &x));
	SAY(S_ISCHR(x.stx_mode));
	SAY(statx(AT_FDCWD, "/nosuch", 0, STATX_BASIC_STATS, &x));
	SAY(statx(AT_FDCWD, "", 0, STATX_BASIC_STATS, &x));
	SAY(statx(AT_FDCWD, "/", 0x6000, STATX_BASIC_STATS, &x));
	SAY(fstat(fd, &st));
	SAY(st.st_blocks);
	SAY(ftruncate(fd, 4));
	SAY(ftruncate(fd, 20000));
	SAY(map[0]);
	SAY(map[4]);
	SAY(map[5000]);
	SAY(fallocate(fd, 0, 0, 40000));
	SAY(fstat(fd, &st));
	SAY(st.st_blocks);
	map[8192] = 'c';
	map[12287] = 'd';
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8000));
	SAY(map[8192]);
	SAY(map[12287]);
	SAY(fstat(fd, &st));
	SAY(st.st_blocks);
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1));
	SAY(fallocate(fd, 0, 0, 0));
	SAY(fcntl(fd, F_SETFL, O_APPEND));
	SAY(write(fd, "end", 3));
	SAY(lseek(fd, 0, SEEK_CUR));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	SAY(readlink(path, buffer, 100));
	printf("%.21s\n", buffer);
	more = open(path, O_RDWR);
	SAY(pread(more, buffer, 3, 40000));
	SAY(close(more));
	SAY(close(fd));
	SAY(map[0]);
	SAY(munmap(map, 16384));
	SAY(memfd_create("x", 0x4000));
	SAY(memfd_create(nowhere, 0));
	memset(buffer, 'n', 250);
	buffer[250] = 0;
	SAY(memfd_create(buffer, 0));
	SAY(ftruncate(1, 5));
	SAY(ftruncate(open("/dev/null", O_RDWR), 5));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	pipes();
	descriptors();
	selects();
	events();
	epolls();
	sockets();
	memory();
	return 0;
}
