# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has which port (net/ipv4/inet_connection_sock.c, udp.c, v6.18)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from cpu.net.addresses import Endpoint
from mmu.errors import LinuxError

FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999
"""net.ipv4.ip_local_port_range."""
IP_UNPRIVILEGED_PORT_START: Final = 1024
TIME_WAIT_NS: Final = 60 * 10**9


class Bound(Protocol):
    """A socket, as far as ports go."""

    local: Endpoint

    @property
    def reuse(self) -> bool:
        """SO_REUSEADDR."""

    @property
    def reuseport(self) -> bool:
        """SO_REUSEPORT."""

    @property
    def listens(self) -> bool:
        """Whether it waits for connections."""

    @property
    def is_connection(self) -> bool:
        """Whether it is one of two ends."""

    def covers(self, at: Endpoint) -> tuple[bytes, ...]:
        """The addresses that packets for ``at`` have."""


S = TypeVar("S", bound=Bound)


@dataclass(frozen=True)
class TimeWait:
    """A connection that this side closed first: its port is not free for a while."""

    at: Endpoint
    reuse: bool
    until_ns: int


class Ports(Generic[S]):
    """The ports of one protocol, and the sockets bound to them in the order of their coming.

    ``listening`` says that two that are bound with SO_REUSEADDR still clash if one listens (TCP).
    """

    def __init__(self, now_ns: Callable[[], int], *, listening: bool) -> None:
        self._now_ns = now_ns
        self._listening = listening
        self._bound: dict[int, list[S]] = {}
        self._time_wait: dict[int, list[TimeWait]] = {}
        self._next = FIRST_EPHEMERAL

    def bound(self, port: int) -> list[S]:
        """The sockets that have the port."""
        return self._bound.get(port, [])

    def sockets(self) -> Iterator[S]:
        """All of them, by port."""
        for port in sorted(self._bound):
            yield from self._bound[port]

    def bind(self, sock: S, at: Endpoint) -> None:
        """Give ``sock`` the address, and the port, 0: any. EADDRINUSE."""
        if at.port:
            if self.clashes(sock, at):
                raise LinuxError(errno.EADDRINUSE)
        else:
            at = at._replace(port=self._free_port())
        sock.local = at
        self._bound.setdefault(at.port, []).append(sock)

    def share(self, sock: S) -> None:
        """``sock`` has the port of the one that it came from (an accepted connection)."""
        self._bound[sock.local.port].append(sock)

    def unbind(self, sock: S) -> None:
        """Let go of the port."""
        port = sock.local.port
        sockets = self._bound.get(port)
        if not sockets or sock not in sockets:
            return
        sockets.remove(sock)
        if not sockets:
            del self._bound[port]

    def wait_time(self, sock: S) -> None:
        """A connection was closed here first (TIME_WAIT)."""
        entry = TimeWait(sock.local, sock.reuse, self._now_ns() + TIME_WAIT_NS)
        self._time_wait.setdefault(sock.local.port, []).append(entry)

    def clashes(self, sock: S, at: Endpoint) -> bool:
        """Whether somebody who has the port forbids it (inet_csk_bind_conflict())."""
        for other in self.bound(at.port):
            if other is sock or not _overlap(sock.covers(at), other.covers(other.local)):
                continue
            if sock.reuse and other.reuse and not (self._listening and other.listens):
                continue
            if sock.reuseport and other.reuseport and not other.is_connection:
                continue
            return True
        return any(
            not (sock.reuse and entry.reuse) and _overlap(sock.covers(at), (entry.at.ip,))
            for entry in self._waiting(at.port)
        )

    def _waiting(self, port: int) -> list[TimeWait]:
        now = self._now_ns()
        entries = [entry for entry in self._time_wait.get(port, ()) if entry.until_ns > now]
        if entries:
            self._time_wait[port] = entries
        else:
            self._time_wait.pop(port, None)
        return entries

    def _free_port(self) -> int:
        for _ in range(FIRST_EPHEMERAL, LAST_EPHEMERAL + 1):
            port = self._next
            self._next = port + 1 if port < LAST_EPHEMERAL else FIRST_EPHEMERAL
            if port not in self._bound and not self._waiting(port):
                return port
        raise LinuxError(errno.EADDRINUSE)


def _overlap(ones: tuple[bytes, ...], others: tuple[bytes, ...]) -> bool:
    """Whether a packet could be for both: addresses of one length that are equal, or one is every
    address.
    """
    return any(
        len(one) == len(other) and (one == other or not any(one) or not any(other))
        for one in ones
        for other in others
    )
