// SPDX-License-Identifier: GPL-2.0-or-later
/* Sockets inside one machine: each line must be the same on the host. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static char buffer[1 << 18];
static const char *directory = "/tmp";

static void tell(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
}

static void events(const char *what, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
	int nr = poll(&p, 1, 0);

	printf("%s: poll %d:%s%s%s%s%s%s\n", what, nr, p.revents & POLLIN ? " IN" : "",
	       p.revents & POLLOUT ? " OUT" : "", p.revents & POLLRDHUP ? " RDHUP" : "",
	       p.revents & POLLHUP ? " HUP" : "", p.revents & POLLERR ? " ERR" : "",
	       p.revents & POLLPRI ? " PRI" : "");
}

static void error_of(const char *what, int fd)
{
	int error = -1;
	socklen_t size = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	printf("%s: SO_ERROR %s\n", what, error ? strerrorname_np(error) : "0");
}

static socklen_t abstract(struct sockaddr_un *un, const char *name)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	sprintf(un->sun_path + 1, "ucmmu-%d-%s", getppid() == 1 ? 0 : getpid(), name);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(un->sun_path + 1);
}

static int listener(int kind, struct sockaddr_un *un, socklen_t *size, int backlog)
{
	int fd = socket(AF_UNIX, kind, 0);

	*size = abstract(un, "listener");
	if (bind(fd, (void *)un, *size) || listen(fd, backlog))
		perror("listener");
	return fd;
}

static void names(void)
{
	struct sockaddr_un un, other = { AF_UNIX };
	socklen_t size = abstract(&un, "names"), length;
	int a = socket(AF_UNIX, SOCK_STREAM, 0), b = socket(AF_UNIX, SOCK_STREAM, 0);

	length = sizeof(other);
	tell("getsockname", getsockname(a, (void *)&other, &length));
	printf("length %d\n", length);
	tell("bind", bind(a, (void *)&un, size));
	tell("bind again", bind(a, (void *)&un, size));
	tell("bind in use", bind(b, (void *)&un, size));
	length = sizeof(other);
	getsockname(a, (void *)&other, &length);
	printf("length right %d, name right %d\n", length == size, !memcmp(&other, &un, size));
	length = 3;
	getsockname(a, (void *)&other, &length);
	printf("length told whole %d\n", length == size);
	tell("getpeername", getpeername(a, (void *)&other, &length));
	tell("autobind", bind(b, (void *)&un, sizeof(sa_family_t)));
	length = sizeof(other);
	getsockname(b, (void *)&other, &length);
	printf("length %d\n", length);
	tell("connect to one that does not listen", connect(b, (void *)&un, size));
	tell("listen without a name", listen(socket(AF_UNIX, SOCK_STREAM, 0), 1));
	tell("too long", bind(b, (void *)&un, 200));
	tell("too short", bind(b, (void *)&un, 1));
	un.sun_family = AF_INET;
	tell("of another family", bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&un, size));
	tell("connect of another family", connect(b, (void *)&un, size));
	tell("datagram listens", listen(socket(AF_UNIX, SOCK_DGRAM, 0), 1));
	tell("datagram accepts", accept(socket(AF_UNIX, SOCK_DGRAM, 0), NULL, NULL));
	tell("accept of one that does not listen", accept(a, NULL, NULL));
	close(a);
	un.sun_family = AF_UNIX;
	tell("connect to a name that is gone", connect(b, (void *)&un, size));
	tell("socket of a file", bind(1, (void *)&un, size));
	tell("bad domain", socket(99, SOCK_STREAM, 0));
	tell("bad type", socket(AF_UNIX, 7, 0));
	tell("bad flags", socket(AF_UNIX, SOCK_STREAM | 0x100000, 0));
	tell("bad protocol", socket(AF_UNIX, SOCK_STREAM, 7));
	tell("raw", socket(AF_UNIX, SOCK_RAW, 0) > 0);
	tell("read of one that is not connected", read(b, buffer, 1));
	tell("write", write(b, buffer, 1));
}

static void listening(void)
{
	struct sockaddr_un un, other;
	socklen_t size, length = sizeof(other);
	int s = listener(SOCK_STREAM, &un, &size, 1), c[4], a;
	struct ucred cred;

	events("listener", s);
	for (int i = 0; i < 4; i++) {
		c[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		events("fresh", c[i]);
		tell("connect", connect(c[i], (void *)&un, size));
	}
	events("listener", s);
	events("connected", c[0]);
	tell("connected again", connect(c[0], (void *)&un, size));
	tell("write before accept", write(c[0], "early", 5));
	a = accept4(s, (void *)&other, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
	printf("flags %x %x, name %d\n", fcntl(a, F_GETFL), fcntl(a, F_GETFD), length);
	tell("accept4 with bad flags", accept4(s, NULL, NULL, 1));
	tell("read", read(a, buffer, 10));
	tell("read", read(a, buffer, 10));
	tell("connect when there is room", connect(c[2], (void *)&un, size));
	length = sizeof(other);
	getpeername(c[0], (void *)&other, &length);
	printf("peer's name %d\n", length == size);
	length = sizeof(cred);
	getsockopt(c[0], SOL_SOCKET, SO_PEERCRED, &cred, &length);
	printf("listener is me %d\n", cred.pid == getpid() && cred.uid == geteuid());
	length = sizeof(other);
	tell("recvfrom tells the name", recvfrom(a, buffer, 1, 0, (void *)&other, &length));
	write(c[0], "xy", 2);
	length = sizeof(other);
	tell("recvfrom", recvfrom(a, buffer, 1, 0, (void *)&other, &length));
	printf("length %d\n", length);
	close(s);
	events("never accepted", c[1]);
	tell("read", read(c[1], buffer, 1));
	tell("read", read(c[1], buffer, 1));
	tell("send", send(c[1], buffer, 1, MSG_NOSIGNAL));
	shutdown(a, SHUT_WR);
	events("half closed", c[0]);
	tell("the other way", write(c[0], "z", 1));
	events("shut", a);
	close(c[0]);
	events("closed", a);
	tell("rest", read(a, buffer, 10));
	tell("end", read(a, buffer, 10));
}

static void blocking_connect(void)
{
	struct sockaddr_un un;
	socklen_t size;
	int s = listener(SOCK_STREAM, &un, &size, 0), nr = 0;
	struct timeval tv = { 0, 20000 };

	for (int i = 0; i < 3; i++)
		if (!fork()) {
			int c = socket(AF_UNIX, SOCK_STREAM, 0);

			if (connect(c, (void *)&un, size))
				_exit(1);
			write(c, "hello", 5);
			_exit(0);
		}
	for (int i = 0; i < 3; i++) {
		int a = accept(s, NULL, NULL);

		while (read(a, buffer + nr, 1) > 0)
			nr++;
		close(a);
	}
	while (wait(NULL) > 0)
		;
	printf("three came: %.15s\n", buffer);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	tell("accept in time", accept(s, NULL, NULL));
}

static ssize_t send_fds(int to, int *fds, int nr, const char *data, size_t size)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)data, size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE(nr * sizeof(int)) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	*cmsg = (struct cmsghdr){ CMSG_LEN(nr * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(cmsg), fds, nr * sizeof(int));
	return sendmsg(to, &msg, MSG_NOSIGNAL);
}

static int receive(const char *what, int from, size_t size, size_t room, int flags, int *fds)
{
	union {
		struct cmsghdr align;
		char space[256];
	} control = { 0 };
	struct iovec iov = { buffer, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = room
	};
	ssize_t got = recvmsg(from, &msg, flags);
	int nr = 0;

	printf("%s: %zd '%.*s' flags %x control %zd", what, got, got > 0 ? (int)got : 0, buffer,
	       msg.msg_flags, msg.msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		printf(" [%d %d %zu]", c->cmsg_level, c->cmsg_type, c->cmsg_len);
		if (c->cmsg_type == SCM_RIGHTS) {
			nr = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			for (int i = 0; i < nr; i++) {
				int fd = ((int *)CMSG_DATA(c))[i];

				if (fds)
					fds[i] = fd;
				printf(" %s", fcntl(fd, F_GETFD) ? "cloexec" : "fd");
				if (!fds)
					close(fd);
			}
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred *cred = (void *)CMSG_DATA(c);

			printf(" me %d", cred->pid == getpid() && cred->uid == getuid());
		}
	}
	printf("\n");
	return nr;
}

static void rights(void)
{
	int p[2], s[2], q[2], fds[16];

	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	pipe(p);
	tell("send", send_fds(s[0], p, 2, "two", 3));
	tell("more", write(s[0], "more", 4));
	receive("peek", s[1], 10, 256, MSG_PEEK, NULL);
	receive("two", s[1], 10, 256, MSG_CMSG_CLOEXEC, fds);
	tell("write to what came", write(fds[1], "pipe", 4));
	tell("read", read(p[0], buffer, 10));
	receive("more", s[1], 10, 256, 0, NULL);
	close(fds[0]);
	close(fds[1]);
	send_fds(s[0], p, 2, "abc", 3);
	receive("one has room", s[1], 10, CMSG_SPACE(sizeof(int)) - 4, 0, NULL);
	send_fds(s[0], p, 2, "abc", 3);
	receive("none has room", s[1], 10, 0, 0, NULL);
	send_fds(s[0], p, 1, "abc", 3);
	receive("half", s[1], 2, 256, 0, NULL);
	receive("other half", s[1], 2, 256, 0, NULL);
	send_fds(s[0], p, 1, "abc", 3);
	tell("read drops them", read(s[1], buffer, 10));
	send_fds(s[0], p, 1, "abc", 3);
	send_fds(s[0], p, 1, "def", 3);
	receive("first", s[1], 10, 256, 0, NULL);
	receive("second", s[1], 10, 256, 0, NULL);
	send_fds(s[0], &p[1], 1, "end", 3);
	close(p[1]);
	tell("write to the message's", fcntl(p[0], F_SETFL, O_NONBLOCK));
	tell("still somebody writes", read(p[0], buffer, 1));
	close(s[1]);
	tell("nobody writes", read(p[0], buffer, 1));
	fds[0] = 99;
	socketpair(AF_UNIX, SOCK_DGRAM, 0, q);
	tell("bad descriptor", send_fds(q[0], fds, 1, "x", 1));
	send_fds(q[0], p, 1, "datagram", 8);
	receive("datagram", q[1], 4, 256, 0, NULL);
	send_fds(q[0], q, 2, "cycle", 5);
	close(q[0]);
	close(q[1]);
	/* A pipe that only a lost cycle holds. */
	pipe(p);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	fds[0] = s[0];
	fds[1] = s[1];
	fds[2] = p[1];
	send_fds(s[0], fds, 3, "cycle", 5);
	close(s[0]);
	close(s[1]);
	close(p[1]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	close(s[0]);
	close(s[1]);
	for (int i = 0; i < 100 && read(p[0], buffer, 0); i++)
		usleep(1000);
	tell("a lost cycle is freed", read(p[0], buffer, 1));
}

static void credentials(void)
{
	int s[2], q[2], on = 1, fds[1] = { 1 };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct ucred))];
	} control = { 0 };
	struct ucred me = { getpid(), getuid(), getgid() };
	struct iovec iov = { "creds", 5 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, q);
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	setsockopt(q[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	write(s[0], "plain", 5);
	receive("plain", s[1], 10, 256, 0, NULL);
	send_fds(s[0], fds, 1, "with", 4);
	receive("with a descriptor", s[1], 10, 256, 0, NULL);
	write(s[0], "none", 4);
	receive("no room", s[1], 10, 0, 0, NULL);
	*cmsg = (struct cmsghdr){ CMSG_LEN(sizeof(me)), SOL_SOCKET, SCM_CREDENTIALS };
	memcpy(CMSG_DATA(cmsg), &me, sizeof(me));
	tell("send", sendmsg(q[0], &msg, 0));
	receive("packet", q[1], 10, 256, 0, NULL);
	cmsg->cmsg_len -= 1;
	tell("bad length", sendmsg(q[0], &msg, 0));
	cmsg->cmsg_len = 4;
	tell("shorter than its head", sendmsg(q[0], &msg, 0));
	*cmsg = (struct cmsghdr){ CMSG_LEN(sizeof(me)), SOL_SOCKET, 77 };
	tell("bad type", sendmsg(q[0], &msg, 0));
	msg.msg_iovlen = 2000;
	tell("too many vectors", sendmsg(q[0], &msg, 0));
}

static void datagrams(void)
{
	struct sockaddr_un un, other;
	socklen_t size = abstract(&un, "datagrams"), length = sizeof(other);
	int s = socket(AF_UNIX, SOCK_DGRAM, 0), c = socket(AF_UNIX, SOCK_DGRAM, 0), d, i;

	bind(s, (void *)&un, size);
	events("fresh", c);
	tell("send without a peer", send(c, "x", 1, 0));
	tell("sendto", sendto(c, "first", 5, 0, (void *)&un, size));
	tell("recvfrom", recvfrom(s, buffer, 3, MSG_TRUNC, (void *)&other, &length));
	printf("no name: %d\n", length);
	bind(c, (void *)&un, sizeof(sa_family_t));
	tell("connect", connect(c, (void *)&un, size));
	tell("send nothing", send(c, "", 0, 0));
	tell("empty", recv(s, buffer, 10, 0));
	send(c, "named", 5, 0);
	length = sizeof(other);
	recvfrom(s, buffer, 10, 0, (void *)&other, &length);
	printf("name: %d\n", length);
	tell("answer", sendto(s, "answer", 6, 0, (void *)&other, length));
	tell("recv", recv(c, buffer, 10, 0));
	tell("connect back", connect(s, (void *)&other, length));
	d = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	tell("of a third", sendto(d, "x", 1, 0, (void *)&un, size));
	other.sun_family = AF_UNSPEC;
	tell("disconnect", connect(s, (void *)&other, sizeof(sa_family_t)));
	for (i = 0; i < 5; i++)
		tell("of a third", sendto(d, "x", 1, 0, (void *)&un, size));
	tell("peek", recv(s, buffer, 10, MSG_PEEK));
	ioctl(s, FIONREAD, &i);
	printf("FIONREAD %d\n", i);
	tell("too long", send(c, buffer, 250000, 0));
	shutdown(s, SHUT_RD);
	tell("to one that does not receive", send(c, "x", 1, 0));
	tell("recv goes on", recv(s, buffer, 10, 0));
	close(s);
	tell("to nobody", send(c, "x", 1, 0));
	tell("again", send(c, "x", 1, 0));
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(s, (void *)&un, size);
	tell("to a stream", sendto(c, "x", 1, 0, (void *)&un, size));
}

static void full(void)
{
	static const int kinds[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	static const int sizes[] = { 1, 100, 1000, 4096, 5000, 20000, 70000 };
	int s[2], small = 10000;

	for (unsigned int k = 0; k < ARRAY_SIZE(kinds); k++)
		for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
			long nr = 0, bytes = 0;
			ssize_t n;

			socketpair(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0, s);
			if (i == 2)
				setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
			while ((n = write(s[0], buffer, sizes[i])) > 0) {
				nr++;
				bytes += n;
			}
			printf("kind %d, %d bytes: %ld writes, %ld bytes, %s\n", kinds[k], sizes[i],
			       nr, bytes, strerrorname_np(errno));
			events("full", s[0]);
			read(s[1], buffer, sizeof(buffer));
			events("after a read", s[0]);
			close(s[0]);
			close(s[1]);
		}
}

static struct sockaddr_in in4(int port)
{
	struct sockaddr_in in = { AF_INET, htons(port), { htonl(INADDR_LOOPBACK) } };

	return in;
}

static int port_of(int fd)
{
	struct sockaddr_in6 in;
	socklen_t size = sizeof(in);

	getsockname(fd, (void *)&in, &size);
	return ntohs(in.sin6_port);
}

static int tcp_listener(int backlog, struct sockaddr_in *to)
{
	struct sockaddr_in in = in4(0);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	bind(s, (void *)&in, sizeof(in));
	listen(s, backlog);
	*to = in4(port_of(s));
	return s;
}

static void tcp_pair(int pair[2])
{
	struct sockaddr_in to;
	int s = tcp_listener(5, &to);

	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	connect(pair[0], (void *)&to, sizeof(to));
	pair[1] = accept(s, NULL, NULL);
	close(s);
}

static void settle(void)
{
	usleep(20000);
}

static void tcp(void)
{
	struct sockaddr_in to, name;
	socklen_t size = sizeof(name);
	int s = tcp_listener(5, &to), c, a, n, status;
	pid_t pid;

	events("listener", s);
	pid = fork();
	if (!pid) {
		c = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(c, (void *)&to, sizeof(to)))
			_exit(1);
		getpeername(c, (void *)&name, &size);
		if (memcmp(&name, &to, sizeof(to)))
			_exit(2);
		for (int i = 0; i < 50; i++)
			write(c, buffer, 1000);
		shutdown(c, SHUT_WR);
		n = read(c, buffer, 100);
		_exit(n == 5 && !memcmp(buffer, "50000", 5) && !read(c, buffer, 1) ? 0 : 3);
	}
	a = accept(s, (void *)&name, &size);
	printf("from %s, port is there %d\n", inet_ntoa(name.sin_addr), name.sin_port != 0);
	n = 0;
	for (ssize_t got; (got = read(a, buffer, 777)) > 0;)
		n += got;
	printf("%d bytes\n", n);
	write(a, buffer, sprintf(buffer, "%d", n));
	close(a);
	waitpid(pid, &status, 0);
	printf("client %d\n", status);
	tell("listener sends", send(s, "x", 1, MSG_NOSIGNAL));
	tell("listener reads", read(s, buffer, 1));
	tell("listen again", listen(s, 3));
	tell("listener connects", connect(s, (void *)&to, sizeof(to)));
	tell("shutdown", shutdown(s, SHUT_RD));
	events("listens no more", s);
	tell("accept", accept(s, NULL, NULL));
	tell("listen once more", listen(s, 3));
}

static void tcp_connecting(void)
{
	struct sockaddr_in to, away = in4(9);
	int s = tcp_listener(2, &to), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	events("fresh", c);
	tell("write", send(c, "x", 1, MSG_NOSIGNAL));
	tell("read", read(c, buffer, 1));
	tell("shutdown", shutdown(c, SHUT_RDWR));
	tell("connect", connect(c, (void *)&to, sizeof(to)));
	settle();
	events("connected", c);
	tell("connect 2", connect(c, (void *)&to, sizeof(to)));
	tell("connect 3", connect(c, (void *)&to, sizeof(to)));
	error_of("connected", c);
	close(s);
	settle();
	events("the listener closed", c);
	error_of("the listener closed", c);
	events("after SO_ERROR", c);
	tell("read", read(c, buffer, 1));
	tell("write", send(c, "x", 1, MSG_NOSIGNAL));
	close(c);
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	tell("connect to nobody", connect(c, (void *)&to, sizeof(to)));
	settle();
	events("refused", c);
	error_of("refused", c);
	events("after SO_ERROR", c);
	tell("connect", connect(c, (void *)&to, sizeof(to)));
	close(c);
	c = socket(AF_INET, SOCK_STREAM, 0);
	tell("blocking, to nobody", connect(c, (void *)&to, sizeof(to)));
	tell("and again", connect(c, (void *)&to, sizeof(to)));
	tell("short", connect(c, (void *)&to, 8));
	tell("very short", connect(c, (void *)&to, 1));
	away.sin_family = AF_UNIX;
	tell("of another family", connect(c, (void *)&away, sizeof(away)));
	close(c);
}

static void tcp_ends(void)
{
	struct linger now = { 1, 0 };
	int t[2];

	signal(SIGPIPE, SIG_IGN);
	tcp_pair(t);
	write(t[0], "data", 4);
	settle();
	close(t[1]);
	settle();
	events("closed with data unread", t[0]);
	tell("read", read(t[0], buffer, 10));
	tell("read", read(t[0], buffer, 10));
	tell("write", write(t[0], "x", 1));
	close(t[0]);
	tcp_pair(t);
	write(t[1], "left", 4);
	close(t[1]);
	settle();
	events("closed", t[0]);
	tell("write goes", write(t[0], "x", 1));
	settle();
	events("after RST", t[0]);
	tell("write", write(t[0], "x", 1));
	tell("read", read(t[0], buffer, 10));
	tell("read", read(t[0], buffer, 10));
	close(t[0]);
	tcp_pair(t);
	setsockopt(t[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	write(t[1], "left", 4);
	settle();
	close(t[1]);
	settle();
	events("no lingering", t[0]);
	error_of("no lingering", t[0]);
	tell("read", read(t[0], buffer, 10));
	tell("read", read(t[0], buffer, 10));
	close(t[0]);
	tcp_pair(t);
	tell("shut", shutdown(t[0], SHUT_WR));
	settle();
	events("FIN sent", t[0]);
	events("FIN received", t[1]);
	tell("write", write(t[0], "x", 1));
	tell("read", read(t[1], buffer, 10));
	tell("back", write(t[1], "back", 4));
	tell("read", read(t[0], buffer, 10));
	tell("shut", shutdown(t[1], SHUT_WR));
	settle();
	events("both sent", t[0]);
	events("both sent", t[1]);
	tell("read", read(t[0], buffer, 10));
	tell("shut again", shutdown(t[0], SHUT_WR));
	close(t[0]);
	close(t[1]);
	tcp_pair(t);
	tell("shut reading", shutdown(t[0], SHUT_RD));
	events("reads no more", t[0]);
	tell("read", read(t[0], buffer, 10));
	tell("write to it", write(t[1], "still", 5));
	settle();
	tell("read", read(t[0], buffer, 10));
	close(t[0]);
	close(t[1]);
}

static void tcp_data(void)
{
	struct iovec parts[2] = { { buffer, 3 }, { buffer + 100, 10 } };
	struct timeval tv = { 0, 30000 };
	int t[2], n, low = 4;
	pid_t pid;

	tcp_pair(t);
	write(t[0], "abcdefgh", 8);
	settle();
	ioctl(t[1], FIONREAD, &n);
	printf("FIONREAD %d\n", n);
	tell("peek", recv(t[1], buffer, 3, MSG_PEEK));
	tell("readv", readv(t[1], parts, 2));
	printf("%.3s %.5s\n", buffer, buffer + 100);
	tell("nothing", recv(t[1], buffer, 3, MSG_DONTWAIT));
	setsockopt(t[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	tell("in time", recv(t[1], buffer, 3, 0));
	tell("flags of old", recv(t[1], buffer, 3, MSG_DONTWAIT | MSG_ERRQUEUE));
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 10; i++) {
			write(t[0], "0123456789", 10);
			usleep(1000);
		}
		_exit(0);
	}
	tv.tv_sec = 5;
	setsockopt(t[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	tell("all of it", recv(t[1], buffer, 100, MSG_WAITALL));
	waitpid(pid, NULL, 0);
	setsockopt(t[1], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	write(t[0], "123", 3);
	settle();
	events("below the mark", t[1]);
	write(t[0], "4", 1);
	settle();
	events("at the mark", t[1]);
	tell("thrown away", recv(t[1], buffer, 4, MSG_TRUNC));
	write(t[0], "last", 4);
	close(t[0]);
	settle();
	tell("less than all", recv(t[1], buffer, 100, MSG_WAITALL));
	close(t[1]);
}

static int bound(int family, int kind, const char *ip, int port, int reuse, int only)
{
	struct sockaddr_in6 in6 = { AF_INET6, htons(port) };
	struct sockaddr_in in = { AF_INET, htons(port) };
	int fd = socket(family, kind, 0), on = 1;

	inet_pton(AF_INET6, ip, &in6.sin6_addr);
	inet_pton(AF_INET, ip, &in.sin_addr);
	if (reuse)
		setsockopt(fd, SOL_SOCKET, reuse, &on, sizeof(on));
	if (only)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (family == AF_INET6 ? bind(fd, (void *)&in6, sizeof(in6))
			       : bind(fd, (void *)&in, sizeof(in))) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void ports(void)
{
	int s = bound(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0, 0), port = port_of(s), fd, t[2],
	    on = 1;
	struct sockaddr_in in;

	tell("the same", bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, 0, 0));
	tell("every address", bound(AF_INET, SOCK_STREAM, "0.0.0.0", port, 0, 0));
	tell("another address", !!bound(AF_INET, SOCK_STREAM, "127.0.0.2", port, 0, 0));
	tell("one of us wants to reuse",
	     bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, SO_REUSEADDR, 0));
	close(s);
	s = bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, SO_REUSEADDR, 0);
	fd = bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, SO_REUSEADDR, 0);
	tell("both do", !!fd);
	tell("one listens", listen(s, 1));
	tell("the other", listen(fd, 1));
	tell("a third", bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, SO_REUSEADDR, 0));
	close(s);
	close(fd);
	s = bound(AF_INET, SOCK_STREAM, "127.0.0.1", 0, SO_REUSEPORT, 0);
	fd = bound(AF_INET, SOCK_STREAM, "127.0.0.1", port_of(s), SO_REUSEPORT, 0);
	tell("SO_REUSEPORT", listen(s, 1) + listen(fd, 1));
	tell("without", bound(AF_INET, SOCK_STREAM, "127.0.0.1", port_of(s), 0, 0));
	close(s);
	close(fd);
	tell("not here", bound(AF_INET, SOCK_STREAM, "8.8.8.8", 0, 0, 0));
	s = bound(AF_INET, SOCK_DGRAM, "127.0.0.1", 0, 0, 0);
	tell("UDP", bound(AF_INET, SOCK_DGRAM, "127.0.0.1", port_of(s), 0, 0));
	tell("TCP has others", !!bound(AF_INET, SOCK_STREAM, "127.0.0.1", port_of(s), 0, 0));
	in = in4(0);
	tell("bind again", bind(s, (void *)&in, sizeof(in)));
	tell("short", bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&in, 10));
	/* The side that closes first keeps the port for a while. */
	s = tcp_listener(1, &in);
	t[0] = socket(AF_INET, SOCK_STREAM, 0);
	connect(t[0], (void *)&in, sizeof(in));
	t[1] = accept(s, NULL, NULL);
	close(t[1]);
	settle();
	close(t[0]);
	close(s);
	port = ntohs(in.sin_port);
	tell("TIME_WAIT", bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, 0, 0));
	s = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	tell("TIME_WAIT with SO_REUSEADDR", bind(s, (void *)&in, sizeof(in)));
}

static void udp(void)
{
	struct sockaddr_in to = in4(0), from;
	socklen_t size = sizeof(from);
	int s = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0), n, d;
	struct mmsghdr many[3] = { 0 };
	struct iovec iov[3] = { { buffer, 4 }, { buffer + 8, 4 }, { buffer + 16, 4 } };
	struct timespec soon = { 0, 1000000 };

	events("fresh", s);
	bind(s, (void *)&to, sizeof(to));
	to = in4(port_of(s));
	tell("send without a peer", send(c, "x", 1, 0));
	tell("sendto", sendto(c, "hello", 5, 0, (void *)&to, sizeof(to)));
	tell("recvfrom", recvfrom(s, buffer, 3, 0, (void *)&from, &size));
	printf("from %s, its port %d\n", inet_ntoa(from.sin_addr),
	       ntohs(from.sin_port) == port_of(c));
	tell("nothing left", recv(s, buffer, 3, MSG_DONTWAIT));
	tell("connect", connect(c, (void *)&to, sizeof(to)));
	tell("empty", send(c, "", 0, 0));
	events("empty", s);
	tell("recv", recv(s, buffer, 3, 0));
	tell("with MSG_TRUNC", send(c, "0123456789", 10, 0));
	ioctl(s, FIONREAD, &n);
	printf("FIONREAD %d\n", n);
	tell("peek", recv(s, buffer, 4, MSG_PEEK | MSG_TRUNC));
	receive("recvmsg", s, 4, 256, 0, NULL);
	d = socket(AF_INET, SOCK_DGRAM, 0);
	from = in4(port_of(c));
	tell("a third sends", sendto(d, "x", 1, 0, (void *)&from, sizeof(from)));
	tell("a connected one hears its peer alone", recv(c, buffer, 4, MSG_DONTWAIT));
	for (int i = 0; i < 3; i++) {
		memcpy(iov[i].iov_base, "one two" + (i == 1 ? 4 : 0), 4);
		many[i].msg_hdr.msg_iov = &iov[i];
		many[i].msg_hdr.msg_iovlen = 1;
	}
	tell("sendmmsg", sendmmsg(c, many, 3, 0));
	printf("%u %u %u\n", many[0].msg_len, many[1].msg_len, many[2].msg_len);
	tell("recvmmsg", recvmmsg(s, many, 2, 0, NULL));
	tell("recvmmsg", recvmmsg(s, many, 3, MSG_WAITFORONE, &soon));
	tell("too long", send(c, buffer, 65508, 0));
	tell("longest", send(c, buffer, 65507, 0));
	tell("longest", recv(s, buffer, sizeof(buffer), 0));
	close(s);
	tell("to nobody", send(c, "x", 1, 0));
	settle();
	events("refused", c);
	tell("recv", recv(c, buffer, 1, MSG_DONTWAIT));
	send(c, "x", 1, 0);
	settle();
	tell("send", send(c, "x", 1, 0));
	error_of("after", c);
	shutdown(c, SHUT_RD);
	events("shut", c);
	tell("recv", recv(c, buffer, 1, 0));
	from.sin_family = AF_UNSPEC;
	tell("disconnect", connect(c, (void *)&from, sizeof(from)));
	tell("shutdown without a peer", shutdown(c, SHUT_WR));
	tell("port 0",
	     sendto(d, "x", 1, 0, (void *)&(struct sockaddr_in){ AF_INET }, sizeof(from)));
	tell("listen", listen(d, 1));
	tell("accept", accept(d, NULL, NULL));
}

static void six(void)
{
	int s = bound(AF_INET6, SOCK_STREAM, "::", 0, 0, 0), port = port_of(s), c, a, only;
	struct sockaddr_in in = in4(port);
	struct sockaddr_in6 in6 = { AF_INET6, htons(port), 0, IN6ADDR_LOOPBACK_INIT }, name;
	socklen_t size = sizeof(name);
	char text[INET6_ADDRSTRLEN];

	listen(s, 5);
	tell("IPv4 has the port too", bound(AF_INET, SOCK_STREAM, "127.0.0.1", port, 0, 0));
	c = socket(AF_INET, SOCK_STREAM, 0);
	tell("IPv4 to IPv6", connect(c, (void *)&in, sizeof(in)));
	a = accept(s, (void *)&name, &size);
	inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof(text));
	printf("%d %s\n", size, text);
	size = sizeof(name);
	getsockname(a, (void *)&name, &size);
	inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof(text));
	printf("%d %s\n", size, text);
	close(a);
	c = socket(AF_INET6, SOCK_STREAM, 0);
	tell("IPv6", connect(c, (void *)&in6, sizeof(in6)));
	size = sizeof(name);
	a = accept(s, (void *)&name, &size);
	inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof(text));
	printf("%s\n", text);
	write(c, "six", 3);
	tell("read", read(a, buffer, 10));
	tell("V6ONLY when bound", setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &port, sizeof(port)));
	close(s);
	only = bound(AF_INET6, SOCK_STREAM, "::", 0, 0, 1);
	tell("with V6ONLY", !!bound(AF_INET, SOCK_STREAM, "0.0.0.0", port_of(only), 0, 0));
	in6.sin6_port = htons(port_of(only));
	c = socket(AF_INET6, SOCK_STREAM, 0);
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr);
	tell("mapped, to nobody", connect(c, (void *)&in6, sizeof(in6)));
	c = socket(AF_INET, SOCK_STREAM, 0);
	tell("IPv6 address, IPv4 socket", connect(c, (void *)&in6, sizeof(in6)));
	c = socket(AF_INET6, SOCK_DGRAM, 0);
	s = bound(AF_INET6, SOCK_DGRAM, "::1", 0, 0, 0);
	in6.sin6_port = htons(port_of(s));
	in6.sin6_addr = in6addr_loopback;
	tell("UDP", sendto(c, "datagram", 8, 0, (void *)&in6, sizeof(in6)));
	tell("recv", recv(s, buffer, 10, 0));
	tell("short", sendto(c, "datagram", 8, 0, (void *)&in6, 20));
}

struct option {
	const char *name;
	int level, option, value;
};

static void options_of(const char *what, int fd)
{
	static const struct option options[] = {
		{ "TYPE", SOL_SOCKET, SO_TYPE, 1 },
		{ "DOMAIN", SOL_SOCKET, SO_DOMAIN, 1 },
		{ "PROTOCOL", SOL_SOCKET, SO_PROTOCOL, 1 },
		{ "REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 7 },
		{ "REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 1 },
		{ "KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ "BROADCAST", SOL_SOCKET, SO_BROADCAST, 1 },
		{ "OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1 },
		{ "SNDBUF", SOL_SOCKET, SO_SNDBUF, 10000 },
		{ "RCVBUF", SOL_SOCKET, SO_RCVBUF, 100 },
		{ "RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 5 },
		{ "PRIORITY", SOL_SOCKET, SO_PRIORITY, 3 },
		{ "ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN, 1 },
		{ "none", SOL_SOCKET, 999, 1 },
		{ "NODELAY", IPPROTO_TCP, TCP_NODELAY, 5 },
		{ "CORK", IPPROTO_TCP, TCP_CORK, 1 },
		{ "KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 10 },
		{ "KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 0 },
		{ "KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 200 },
		{ "no TCP", IPPROTO_TCP, 999, 1 },
		{ "TTL", IPPROTO_IP, IP_TTL, 300 },
		{ "TOS", IPPROTO_IP, IP_TOS, 16 },
		{ "no IP", IPPROTO_IP, 999, 1 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];
		int value = -1, before;
		socklen_t size = sizeof(value);

		before = getsockopt(fd, o->level, o->option, &value, &size);
		printf("%s %s: %s %d (%d), ", what, o->name, before ? strerrorname_np(errno) : "ok",
		       value, size);
		before = setsockopt(fd, o->level, o->option, &o->value, sizeof(o->value));
		printf("set %s, ", before ? strerrorname_np(errno) : "ok");
		value = -1;
		getsockopt(fd, o->level, o->option, &value, &size);
		printf("%d\n", value);
	}
}

static void options(void)
{
	struct timeval tv = { 1, 2000000 };
	struct linger linger = { 1, 7 };
	socklen_t size = 2;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	options_of("tcp", fd);
	options_of("udp", socket(AF_INET, SOCK_DGRAM, 0));
	options_of("unix", socket(AF_UNIX, SOCK_STREAM, 0));
	tell("bad time", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	tv.tv_usec = 250000;
	tell("time", setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
	tell("short time", setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, 8));
	memset(&tv, 0xff, sizeof(tv));
	tell("two bytes of it", getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &size));
	printf("%ld, size %d\n", (long)tv.tv_sec & 0xffff, size);
	tell("linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	tell("short", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
	size = sizeof(linger);
	getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size);
	printf("%d %d\n", linger.l_onoff, linger.l_linger);
	size = -1;
	tell("negative size", getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size));
	tell("of a file", setsockopt(1, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	tell("of nothing", setsockopt(99, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	tell("short int", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &linger, 2));
	tell("seek", lseek(fd, 0, SEEK_SET));
	tell("pread", pread(fd, buffer, 1, 0));
	tell("raw", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	tell("sequenced", socket(AF_INET, SOCK_SEQPACKET, 0));
	tell("pair", socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){ 0 }));
}

static void edges(void)
{
	struct epoll_event e = { EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, { .u32 = 1 } };
	int t[2], ep = epoll_create1(0);

	tcp_pair(t);
	epoll_ctl(ep, EPOLL_CTL_ADD, t[0], &e);
	for (int i = 0; i < 7; i++) {
		if (i == 1)
			write(t[1], "a", 1);
		if (i == 2)
			write(t[1], "b", 1);
		if (i == 4)
			read(t[0], buffer, 10);
		if (i == 5)
			shutdown(t[1], SHUT_WR);
		if (i == 6)
			write(t[0], "c", 1);
		settle();
		e.events = 0;
		printf("step %d: %d", i, epoll_wait(ep, &e, 1, 0));
		printf(" %x\n", e.events);
	}
	close(t[1]);
	settle();
	e.events = 0;
	printf("closed: %d", epoll_wait(ep, &e, 1, 0));
	printf(" %x\n", e.events);
}

static void paths(void)
{
	struct sockaddr_un un = { AF_UNIX, "" }, other;
	socklen_t size = sizeof(un), length = sizeof(other);
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c, d;
	struct stat st;

	chdir(directory);
	umask(027);
	strcpy(un.sun_path, "name");
	tell("bind", bind(s, (void *)&un, size));
	getsockname(s, (void *)&other, &length);
	printf("%d %s\n", length, other.sun_path);
	stat("name", &st);
	printf("mode %o links %d\n", st.st_mode, (int)st.st_nlink);
	tell("open", open("name", O_RDWR));
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	tell("in use", bind(c, (void *)&un, size));
	tell("nobody listens", connect(c, (void *)&un, size));
	listen(s, 5);
	tell("connect", connect(c, (void *)&un, size));
	rename("name", "renamed");
	link("renamed", "linked");
	symlink("linked", "symbolic");
	strcpy(un.sun_path, "name");
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	tell("no such name", connect(c, (void *)&un, size));
	strcpy(un.sun_path, "symbolic");
	tell("through links", connect(c, (void *)&un, size));
	length = sizeof(other);
	getpeername(c, (void *)&other, &length);
	printf("its name is still %s\n", other.sun_path);
	d = socket(AF_UNIX, SOCK_DGRAM, 0);
	tell("another kind", connect(d, (void *)&un, size));
	close(creat("file", 0600));
	strcpy(un.sun_path, "file");
	tell("a file", connect(d, (void *)&un, size));
	tell("bind to a file", bind(d, (void *)&un, size));
	strcpy(un.sun_path, "file/name");
	tell("below a file", bind(d, (void *)&un, size));
	strcpy(un.sun_path, "none/name");
	tell("no directory", bind(d, (void *)&un, size));
	unlink("renamed");
	unlink("linked");
	close(s);
	strcpy(un.sun_path, "symbolic");
	tell("nothing at the link's end", bind(d, (void *)&un, size));
	strcpy(un.sun_path, "datagrams");
	tell("bind", bind(d, (void *)&un, size));
	c = socket(AF_UNIX, SOCK_DGRAM, 0);
	tell("sendto", sendto(c, "hello", 5, 0, (void *)&un, size));
	tell("recv", recv(d, buffer, 10, 0));
	close(d);
	tell("the name outlives the socket", stat("datagrams", &st));
	tell("sendto", sendto(c, "hello", 5, 0, (void *)&un, size));
	memset(un.sun_path, 'x', sizeof(un.sun_path));
	d = socket(AF_UNIX, SOCK_DGRAM, 0);
	tell("a name of 108 bytes", bind(d, (void *)&un, sizeof(un)));
	length = sizeof(other);
	getsockname(d, (void *)&other, &length);
	printf("%d\n", length);
}

static const struct {
	const char *name;
	void (*run)(void);
} parts[] = {
	{ "names", names },
	{ "listening", listening },
	{ "blocking_connect", blocking_connect },
	{ "rights", rights },
	{ "credentials", credentials },
	{ "datagrams", datagrams },
	{ "full", full },
	{ "tcp", tcp },
	{ "tcp_connecting", tcp_connecting },
	{ "tcp_ends", tcp_ends },
	{ "tcp_data", tcp_data },
	{ "ports", ports },
	{ "udp", udp },
	{ "six", six },
	{ "options", options },
	{ "edges", edges },
	{ "paths", paths },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2)
		directory = argv[2];
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++)
		if (argc > 1 && !strcmp(argv[1], parts[i].name))
			parts[i].run();
	return 0;
}
