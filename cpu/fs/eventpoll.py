# SPDX-License-Identifier: GPL-2.0-or-later
"""epoll: a set of files, and a list of those that may be ready (fs/eventpoll.c, v6.18).

::

    a file's PollHead.wake()  ->  EpItem.callback()     puts the item on the ready list
    epoll_wait()              ->  EventPoll.send()      asks each file on it: poll()
        level      the item goes to the list's end again
        EPOLLET    it stays off until the file tells of something new
        EPOLLONESHOT  it is deaf until EPOLL_CTL_MOD
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from cpu.fs.eventfd import ANON_INODE
from cpu.fs.files import O_RDWR, OpenFile
from cpu.fs.poll import POLLERR, POLLHUP, POLLIN, POLLRDNORM, PollHead
from cpu.fs.streams import Stream
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.scheduler import Scheduler

EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
EP_PRIVATE_BITS: Final = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET
EP_MAX_NESTS: Final = 4
"""Sets that may lie in one another."""


class EpItem:
    """A struct epitem: a file under one descriptor in one set."""

    def __init__(self, ep: EventPoll, key: Key, events: int, data: int) -> None:
        self.ep = ep
        self.key = key
        self.file = key[1]
        self.events = events
        self.data = data
        self._edge = -1
        self._end: Callable[[], None] | None = None
        if not isinstance(self.file, Stream):
            self._end = self.file.listen(self.callback)
        self.file.on_release.append(self.release)

    def callback(self, events: int) -> None:
        """The file tells of ``events`` (ep_poll_callback())."""
        if not self.events & ~EP_PRIVATE_BITS:
            return
        if not events or events & self.events:
            self.ep.add_ready(self)

    def revents(self) -> int:
        """What of its events is so now."""
        return self.file.poll() & self.events & ~EP_PRIVATE_BITS

    def stream_is_ready(self, stream: Stream) -> bool:
        """Whether a stream has something to tell; with EPOLLET, something new."""
        if not self.revents():
            return False
        if self.events & EPOLLET and self._edge == stream.edge:
            return False
        self._edge = stream.edge
        return True

    def release(self) -> None:
        """Out of the set: removed, or its file was closed (ep_remove())."""
        if self._end is not None:
            self._end()
        self.file.on_release.remove(self.release)
        self.ep.items.pop(self.key, None)
        self.ep.ready.pop(self, None)


Key = tuple[int, OpenFile]
"""What names an item: the descriptor it was added under, and the file."""


class EventPoll(OpenFile):
    """A struct eventpoll: what epoll_create() makes."""

    mode = 0o600
    inode = ANON_INODE
    path = "anon_inode:[eventpoll]"

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.flags = O_RDWR
        self.items: dict[Key, EpItem] = {}
        self.ready: dict[EpItem, None] = {}
        """The ready list, oldest first."""
        self.poll_head: PollHead = PollHead(scheduler, "an event of epoll")

    def add_ready(self, item: EpItem) -> None:
        """The item's file may be ready: whoever waits for the set looks."""
        self.ready.setdefault(item)
        self.poll_head.wake(POLLIN | POLLRDNORM)

    def insert(self, fd: int, file: OpenFile, events: int, data: int) -> None:
        """EPOLL_CTL_ADD (ep_insert())."""
        key = (fd, file)
        if key in self.items:
            raise LinuxError(errno.EEXIST)
        if isinstance(file, EventPoll):
            if events & EPOLLEXCLUSIVE:
                raise LinuxError(errno.EINVAL)
            if file.holds(self) or 1 + file.depth() > EP_MAX_NESTS:
                raise LinuxError(errno.ELOOP)
        item = self.items[key] = EpItem(self, key, events | POLLERR | POLLHUP, data)
        if item.revents():
            self.add_ready(item)

    def modify(self, fd: int, file: OpenFile, events: int, data: int) -> None:
        """EPOLL_CTL_MOD (ep_modify())."""
        item = self._item(fd, file)
        if (item.events | events) & EPOLLEXCLUSIVE:
            raise LinuxError(errno.EINVAL)
        item.events, item.data = events | POLLERR | POLLHUP, data
        if item.revents():
            self.add_ready(item)

    def remove(self, fd: int, file: OpenFile) -> None:
        """EPOLL_CTL_DEL."""
        self._item(fd, file).release()

    def _item(self, fd: int, file: OpenFile) -> EpItem:
        item = self.items.get((fd, file))
        if item is None:
            raise LinuxError(errno.ENOENT)
        return item

    def send(self, most: int, put: Callable[[int, int, int], None]) -> int:
        """Tell of at most ``most`` files that are ready, by ``put(number, events, data)``; returns
        how many (ep_send_events()).

        If ``put`` raises, that file stays first on the list; it is raised on if it was for the
        first.
        """
        self._look_at_streams()
        nr = 0
        again: dict[EpItem, None] = {}
        for item in list(self.ready):
            if nr == most:
                break
            revents = item.revents()
            if revents:
                try:
                    put(nr, revents, item.data)
                except LinuxError:
                    if not nr:
                        raise
                    break
                nr += 1
            del self.ready[item]
            if item.events & EPOLLONESHOT:
                if revents:
                    item.events &= EP_PRIVATE_BITS
            elif revents and not item.events & EPOLLET:
                again[item] = None
        self.ready.update(again)
        return nr

    def _look_at_streams(self) -> None:
        """A stream tells nobody when the host has input: it is asked."""
        for item in self.items.values():
            if isinstance(item.file, Stream) and item.stream_is_ready(item.file):
                self.ready.setdefault(item)

    def listen_to_streams(self, ends: ExitStack) -> None:
        """Until ``ends`` is closed hear of the host's input."""
        for item in self.items.values():
            if isinstance(item.file, Stream):
                ends.callback(item.file.listen(item.callback))

    def poll(self) -> int:
        """Whether any of its files is ready (ep_eventpoll_poll())."""
        self._look_at_streams()
        for item in list(self.ready):
            if item.revents():
                return POLLIN | POLLRDNORM
            del self.ready[item]
        return 0

    def seek(self, offset: int, whence: int) -> int:
        """There is no position: it is 0."""
        return 0

    def holds(self, other: EventPoll) -> bool:
        """Whether ``other`` is this set, or in it, or in one in it."""
        return other is self or any(
            isinstance(item.file, EventPoll) and item.file.holds(other)
            for item in self.items.values()
        )

    def depth(self) -> int:
        """How many sets lie in one another here."""
        inner = [
            item.file.depth() for item in self.items.values() if isinstance(item.file, EventPoll)
        ]
        return 1 + max(inner, default=0)

    def close(self) -> None:
        """It lets go of its files."""
        for item in list(self.items.values()):
            item.release()
