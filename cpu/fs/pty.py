# SPDX-License-Identifier: GPL-2.0-or-later
"""Pseudo-terminals: /dev/ptmx, and /dev/pts/N at the other side (drivers/tty/pty.c,
fs/devpts/inode.c, v6.18).

What is written to the master was typed at the slave; what the slave shows is read from the master.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_ACCMODE, O_RDWR, SETFL_MASK, OpenFile
from cpu.fs.kstat import Kstat
from cpu.fs.n_tty import N_TTY_BUF_SIZE
from cpu.fs.node import Change
from cpu.fs.poll import POLLHUP, READABLE, WRITABLE, PollHead
from cpu.fs.pseudo_fs import Device, Directory, Inode
from cpu.fs.tty import JobControl, Tty, TtyFile
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler

PTY_BUF: Final = 65536
"""Bytes on their way in each direction (struct tty_port's buffer)."""
PTS_LIMIT: Final = 4096
"""kernel.pty.max."""


class PtySlave(Tty):
    """The slave's side; ``shown`` waits for the master to be read, ``typed`` for the slave."""

    def __init__(self, scheduler: Scheduler, jobs: JobControl, index: int) -> None:
        super().__init__(scheduler, jobs, index)
        self.shown = bytearray()
        self.typed = bytearray()
        self.master_wait = PollHead(scheduler, "the other side of a terminal")
        self.locked = True
        self.packet = False
        """TIOCPKT: a byte before each read says what it is."""
        self.master_closed = False
        self._was_open = False

    def put(self, data: bytes) -> None:
        """To the master."""
        if data and not self.master_closed:
            self.shown += data
            self.master_wait.wake(READABLE)

    def write_room(self) -> int:
        """What its buffer takes; a line feed may become two bytes."""
        return max(0, PTY_BUF - len(self.shown)) // 2

    def drop_output(self) -> None:
        """A signal was typed, or tcflush(): what the master's own line discipline has stays."""
        del self.shown[N_TTY_BUF_SIZE - 1 :]

    def nr_output(self) -> int:
        """Bytes that the master has not read."""
        return len(self.shown)

    def other_closed(self) -> bool:
        """Nobody has the master."""
        return self.master_closed

    def opened(self) -> None:
        """The slave is there, for its master."""
        super().opened()
        self._was_open = True

    def closed(self) -> None:
        """With the last open file the master hears of it."""
        super().closed()
        if not self.openers:
            self.master_wait.wake(READABLE | POLLHUP)

    def slave_is_gone(self) -> bool:
        """It was open, and is not."""
        return self._was_open and not self.openers

    def typed_more(self, data: bytes) -> int:
        """The master writes; returns how much found room."""
        part = data[: PTY_BUF - len(self.typed)]
        self.typed += part
        self.pump()
        return len(part)

    def pump(self) -> None:
        """Give the line discipline what it has room for."""
        while self.typed:
            room = self.ldisc.room()
            if not room:
                return
            part = bytes(self.typed[:room])
            del self.typed[:room]
            self.received(part)
        self.master_wait.wake(WRITABLE)

    def flush_input(self) -> None:
        """What waits before the line discipline goes too."""
        super().flush_input()
        self.typed.clear()
        self.master_wait.wake(WRITABLE)


class PtySlaveFile(TtyFile):
    """/dev/pts/N, open."""

    def after_read(self) -> None:
        """The master may have written more."""
        assert isinstance(self.tty, PtySlave)
        self.tty.pump()


class PtyMaster(OpenFile):
    """/dev/ptmx, open."""

    mode = stat.S_IFCHR | 0o666
    path = "/dev/ptmx"
    inode = 2

    def __init__(self, slave: PtySlave, flags: int, gone: Callable[[], None]) -> None:
        super().__init__()
        self.slave = slave
        self.flags = flags & (O_ACCMODE | SETFL_MASK)
        self._gone = gone
        self.poll_head: PollHead = slave.master_wait

    def read(self, count: int) -> bytes:
        """What the slave shows; EIO once nobody has it open."""
        slave = self.slave
        if not slave.shown:
            if slave.slave_is_gone():
                raise LinuxError(errno.EIO)
            raise LinuxError(errno.EAGAIN)
        room = count - slave.packet
        data = bytes(slave.shown[:room])
        del slave.shown[:room]
        slave.write_wait.wake(WRITABLE)
        return (b"\0" if slave.packet and count else b"") + data

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        self.slave.shown[:0] = data

    def write(self, data: bytes) -> int:
        """It is typed at the slave."""
        done = self.slave.typed_more(data)
        if data and not done:
            raise LinuxError(errno.EAGAIN)
        return done

    def poll(self) -> int:
        """What the slave shows, room, and whether it is gone."""
        events = READABLE if self.slave.shown else 0
        if self.slave.slave_is_gone():
            events |= POLLHUP
        if len(self.slave.typed) < PTY_BUF:
            events |= WRITABLE
        return events

    def nr_readable(self) -> int:
        """ioctl(TIOCINQ)."""
        return len(self.slave.shown)

    def close(self) -> None:
        """The slave hangs up."""
        self.slave.master_closed = True
        self._gone()
        self.slave.hang_up()


def tty_device(make: Callable[[int], OpenFile], major: int, minor: int) -> Device:
    """A device of that number."""
    device = Device(make)
    device.rdev = os.makedev(major, minor)
    return device


class TtyNode(Device):
    """/dev/pts/N. Owner and rights can be changed, as screen and sshd do; times are not kept."""

    def __init__(self, tty: Tty, make: Callable[[int], OpenFile]) -> None:
        super().__init__(make)
        self.rdev = os.makedev(136, tty.index)
        self._tty = tty
        self._refresh()

    def _refresh(self) -> None:
        self.mode, self.owner = stat.S_IFCHR | self._tty.rights, self._tty.owner

    def getattr(self) -> Kstat:
        """What stat() says, whichever of its nodes was changed."""
        self._refresh()
        return super().getattr()

    def setattr(self, change: Change) -> None:
        """Change owner and rights."""
        tty, (uid, gid) = self._tty, self._tty.owner
        tty.rights = tty.rights if change.mode is None else change.mode
        tty.owner = (
            uid if change.uid is None else change.uid,
            gid if change.gid is None else change.gid,
        )
        self._refresh()


class DevPts(Directory):
    """/dev/pts, and the terminals in it; ``take`` is told of each slave that is opened, and makes
    it the controlling terminal of who has none.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        jobs: JobControl,
        take: Callable[[Tty, int], None],
    ) -> None:
        super().__init__({})
        self._scheduler = scheduler
        self._jobs = jobs
        self._take = take
        self.ttys: dict[int, Tty] = {}

    def lookup(self, name: str) -> Inode | None:
        """The terminal of that number."""
        if name == "ptmx":
            return tty_device(self.open_master, 5, 2)
        tty = self.ttys.get(int(name)) if name.isdecimal() else None
        if tty is None or name != str(tty.index):
            return None
        return TtyNode(tty, lambda flags: self.open_slave(tty, flags))

    def names(self) -> Iterable[str]:
        """Their numbers."""
        return [*map(str, sorted(self.ttys)), "ptmx"]

    def add_tty(self, tty: Tty) -> None:
        """A terminal that is not a pseudo-terminal."""
        self.ttys[tty.index] = tty

    def open_master(self, flags: int) -> OpenFile:
        """A new pair (ptmx_open())."""
        index = next((n for n in range(PTS_LIMIT) if n not in self.ttys), None)
        if index is None:
            raise LinuxError(errno.ENOSPC)
        slave = PtySlave(self._scheduler, self._jobs, index)
        self.ttys[index] = slave
        return PtyMaster(slave, flags | O_RDWR, lambda: self._forget(index))

    def _forget(self, index: int) -> None:
        del self.ttys[index]

    def open_slave(self, tty: Tty, flags: int) -> OpenFile:
        """tty_open()."""
        if isinstance(tty, PtySlave):
            if tty.locked or tty.master_closed:
                raise LinuxError(errno.EIO)
            file: OpenFile = PtySlaveFile(tty, flags)
        else:
            file = TtyFile(tty, flags)
        self._take(tty, flags)
        return file
