# SPDX-License-Identifier: GPL-2.0-or-later
"""What all sockets have (net/core/sock.c, include/net/sock.h, v6.18).

Nothing here waits: what cannot be done now raises EAGAIN, and the system call waits
(cpu.syscalls.io).
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_NONBLOCK, O_RDWR, OpenFile
from cpu.fs.poll import POLLERR, POLLHUP, POLLRDHUP, READABLE, WRITABLE, PollHead
from cpu.net.families import AF_UNSPEC
from cpu.net.net import NOBODY, Ucred
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.net.net import Net

SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET = 1, 2, 3, 5
RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK = 1, 2, 3
EVENTS: Final = READABLE | WRITABLE | POLLERR | POLLHUP | POLLRDHUP

MSG_OOB, MSG_PEEK, MSG_DONTROUTE, MSG_CTRUNC, MSG_TRUNC = 0x1, 0x2, 0x4, 0x8, 0x20
MSG_DONTWAIT, MSG_EOR, MSG_WAITALL, MSG_CONFIRM = 0x40, 0x80, 0x100, 0x800
MSG_ERRQUEUE, MSG_NOSIGNAL, MSG_MORE, MSG_WAITFORONE = 0x2000, 0x4000, 0x8000, 0x10000
MSG_FASTOPEN, MSG_CMSG_CLOEXEC = 0x20000000, 0x40000000

WMEM_DEFAULT: Final = 212_992
"""net.core.wmem_default, rmem_default, and their maxima."""
SOMAXCONN: Final = 4096

SKB_OVERHEAD: Final = 256
"""What a struct sk_buff takes."""
SKB_SHARED_INFO: Final = 320
"""What lies behind the data of each (struct skb_shared_info, aligned)."""


def skb_truesize(head: int, frags: int = 0) -> int:
    """Bytes of memory that ``head`` bytes of data in one piece, and ``frags`` in pages, count for
    (SKB_TRUESIZE() of what kmalloc() gives).
    """
    size = (head + 63 & ~63) + SKB_SHARED_INFO
    if size <= 512:
        size = 512
    elif size <= 8192:
        size = 1 << (size - 1).bit_length()
    else:
        size = 1 << (size - 1).bit_length()
    return SKB_OVERHEAD + size + (frags + 4095 & ~4095)


@dataclass
class Message:
    """What sendmsg() was given: ``name`` is where to, None: to the peer; ``files`` go along; each
    has a user more, the message.
    """

    data: bytes
    name: bytes | None = None
    flags: int = 0
    creds: Ucred | None = None
    files: list[OpenFile] = field(default_factory=list)


@dataclass
class Received:
    """What recvmsg() gives: ``size`` is the whole message's, ``flags`` are MSG_TRUNC and its like,
    ``control`` are (level, type, data) of control messages.
    """

    data: bytes
    name: bytes = b""
    flags: int = 0
    size: int = 0
    creds: Ucred | None = None
    files: list[OpenFile] = field(default_factory=list)
    control: list[tuple[int, int, bytes]] = field(default_factory=list)


class Sock(OpenFile):
    """A struct socket with its struct sock; this base can do nothing.

    ``options`` are those of SOL_SOCKET that are an int, and of other levels by (level, name).
    ``error`` is what the next call says, once (sk_err). ``dead``: nobody has it open.
    """

    mode = stat.S_IFSOCK | 0o777
    family = AF_UNSPEC
    protocol = 0
    accepts = False
    """SO_ACCEPTCONN: it listens."""

    def __init__(self, net: Net, kind: int, flags: int) -> None:
        super().__init__()
        self.net = net
        self.kind = kind
        self.sigpipe = kind == SOCK_STREAM
        self.inode = net.new_inode()
        _, self.uid, self.gid = net.current()
        self.path = f"socket:[{self.inode}]"
        self.flags = O_RDWR | flags & O_NONBLOCK
        self.poll_head: PollHead = PollHead(net.scheduler, "a socket")
        self.shut = 0
        self.error = 0
        self.dead = False
        self.sndbuf = self.rcvbuf = WMEM_DEFAULT
        self.rcvlowat = 1
        self.rcvtimeo: int | None = None
        """Nanoseconds that a call waits at most; None: for ever."""
        self.sndtimeo: int | None = None
        self.linger: int | None = None
        """Seconds of SO_LINGER; None: off."""
        self.peercred = NOBODY
        self.options: dict[tuple[int, int], int] = {}

    # What each family does.

    def bind(self, address: bytes) -> None:
        """Give it a name; ``address`` is a whole struct sockaddr."""
        raise LinuxError(errno.EOPNOTSUPP)

    def connect(self, address: bytes, *, nonblock: bool) -> None:
        """Connect; EAGAIN if that must be waited for, EINPROGRESS if it goes on by itself."""
        raise LinuxError(errno.EOPNOTSUPP)

    def listen_for(self, backlog: int) -> None:
        """listen()."""
        raise LinuxError(errno.EOPNOTSUPP)

    def accept(self, flags: int) -> Sock:
        """The next connection; EAGAIN if there is none yet."""
        raise LinuxError(errno.EOPNOTSUPP)

    def getsockname(self) -> bytes:
        """Its own name, a whole struct sockaddr."""
        raise LinuxError(errno.EOPNOTSUPP)

    def getpeername(self) -> bytes:
        """Its peer's name; ENOTCONN."""
        raise LinuxError(errno.ENOTCONN)

    def sendmsg(self, message: Message) -> int:
        """Send as much as there is room for; EAGAIN, EPIPE."""
        raise LinuxError(errno.EOPNOTSUPP)

    def recvmsg(self, count: int, flags: int) -> Received:
        """At most ``count`` bytes; EAGAIN if none have come yet. ``flags``: MSG_PEEK."""
        raise LinuxError(errno.EOPNOTSUPP)

    def shutdown(self, how: int) -> None:
        """No more is received, or sent: ``how`` has RCV_SHUTDOWN, SEND_SHUTDOWN."""
        raise LinuxError(errno.EOPNOTSUPP)

    def option_set(self, level: int, name: int, value: int) -> None:
        """setsockopt() of a level that is not SOL_SOCKET."""
        raise LinuxError(errno.ENOPROTOOPT)

    def option(self, level: int, name: int) -> bytes:
        """getsockopt() of a level that is not SOL_SOCKET."""
        raise LinuxError(errno.ENOPROTOOPT)

    # As a file.

    def read(self, count: int) -> bytes:
        """What has come; b"" once no more can."""
        return self.recvmsg(count, 0).data

    def write(self, data: bytes) -> int:
        """Send as much as there is room for, or the message whole; EAGAIN."""
        return self.sendmsg(Message(data))

    def wait(self, events: int, ready: Callable[[], bool], what: str) -> int:
        """Sleep until ``ready()``; EAGAIN after SO_RCVTIMEO or SO_SNDTIMEO, EINTR if a signal comes
        meanwhile; without one of them -ERESTARTSYS.
        """
        limit = self.rcvtimeo if events & READABLE else self.sndtimeo
        result = self.poll_head.wait(ready, what, limit)
        if result == -errno.ETIME:
            raise LinuxError(errno.EAGAIN)
        if result and limit is not None:
            raise LinuxError(errno.EINTR)
        return result

    def raise_error(self) -> None:
        """Say what is to be said once (sock_error())."""
        if self.error:
            error, self.error = self.error, 0
            raise LinuxError(error)

    def wake(self, events: int = EVENTS) -> None:
        """Whoever waits for it looks again."""
        self.poll_head.wake(events)
