# SPDX-License-Identifier: GPL-2.0-or-later
"""The network of a machine, which ends at the machine: what its sockets are named and found by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cpu.net.ports import Ports

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler


class Ucred(NamedTuple):
    """A struct ucred: who made a call."""

    pid: int
    uid: int
    gid: int


NOBODY = Ucred(0, 0xFFFFFFFF, 0xFFFFFFFF)
"""What SO_PEERCRED says where there is no peer, and SCM_CREDENTIALS of who sent none."""


class Carrier(Protocol):
    """An AF_UNIX socket, as far as open files travel through it."""

    users: int

    def carried(self) -> Iterator[object]:
        """The open files in messages that wait at it, or at a connection that it has not
        accepted.
        """

    def drop_lost(self) -> None:
        """Nobody can receive what waits here: it goes."""


@dataclass
class Net:
    """A struct net. ``current`` says who makes the call that is under way."""

    scheduler: Scheduler
    new_inode: Callable[[], int]
    current: Callable[[], Ucred]
    now_ns: Callable[[], int]
    tcp: Ports[Any] = field(init=False)
    udp: Ports[Any] = field(init=False)
    unix_names: dict[object, Carrier] = field(default_factory=dict)
    """AF_UNIX sockets that are bound: by abstract name (bytes), or by what tells an inode."""
    unix_sockets: dict[Carrier, None] = field(default_factory=dict)
    """All AF_UNIX sockets, those in nobody's hands included, for the search for lost ones."""
    unix_inflight: dict[Carrier, int] = field(default_factory=dict)
    """How often each AF_UNIX socket is on its way in a message."""
    last_autobind: int = 0
    last_portid: int = 0

    def __post_init__(self) -> None:
        self.tcp = Ports(self.now_ns, listening=True)
        self.udp = Ports(self.now_ns, listening=False)
