# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's descriptors that guests wait for: their standard streams."""

from __future__ import annotations

import select
from collections.abc import Callable
from itertools import count
from typing import Final

_ERRORS: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


class HostWatch:
    """Descriptors of the host, and what is called as long as poll() has something for them."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[int, int, Callable[[], object]]] = {}
        self._background: set[int] = set()
        self._numbers = count()

    def __bool__(self) -> bool:
        """Whether any is watched."""
        return bool(self._watched)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for one of them."""
        return len(self._watched) > len(self._background)

    def add(
        self,
        fd: int,
        events: int,
        function: Callable[[], object],
        *,
        background: bool = False,
    ) -> Callable[[], None]:
        """Watch the descriptor for ``events`` of poll(); returns what ends that. With
        ``background`` nobody waits for it.
        """
        number = next(self._numbers)
        if background:
            self._background.add(number)
        self._watched[number] = (fd, events, function)

        def remove() -> None:
            del self._watched[number]
            self._background.discard(number)

        return remove

    def poll(self, timeout_ms: int) -> None:
        """Wait so long for an event, and call the functions of those that have one, or an error."""
        poll = select.poll()
        wanted: dict[int, int] = {}
        for fd, events, _ in self._watched.values():
            wanted[fd] = wanted.get(fd, 0) | events
        for fd, events in wanted.items():
            poll.register(fd, events)
        ready = dict(poll.poll(timeout_ms))
        for fd, events, function in list(self._watched.values()):
            if ready.get(fd, 0) & (events | _ERRORS):
                function()


def host_ready(fd: int, events: int) -> bool:
    """Whether poll() of the host's descriptor has one of ``events``, or an error, now."""
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(0))
