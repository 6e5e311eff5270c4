# SPDX-License-Identifier: GPL-2.0-or-later
"""The line discipline of terminals (drivers/tty/n_tty.c, v6.18).

::

    receive()   what was typed:  signals, flow control, editing, echo  ->  read()
    process()   what was written:  OPOST  ->  what the terminal shows

In canonical mode a line can be read when it is complete; EOF (^D) completes one without being part
of it.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cpu.fs.termios import (
    ECHO,
    ECHOCTL,
    ECHOE,
    ECHOK,
    ECHOKE,
    ECHONL,
    ECHOPRT,
    EXTPROC,
    ICANON,
    ICRNL,
    IEXTEN,
    IGNCR,
    IMAXBEL,
    INLCR,
    ISIG,
    ISTRIP,
    IUCLC,
    IUTF8,
    IXANY,
    IXON,
    NOFLSH,
    OCRNL,
    OLCUC,
    ONLCR,
    ONLRET,
    ONOCR,
    OPOST,
    TABDLY,
    VEOF,
    VEOL,
    VEOL2,
    VERASE,
    VINTR,
    VKILL,
    VLNEXT,
    VMIN,
    VQUIT,
    VREPRINT,
    VSTART,
    VSTOP,
    VSUSP,
    VTIME,
    VWERASE,
    XTABS,
    Termios,
)

N_TTY_BUF_SIZE: Final = 4096
_SIGNALS: Final = ((VINTR, signal.SIGINT), (VQUIT, signal.SIGQUIT), (VSUSP, signal.SIGTSTP))
NEWLINE, RETURN, TAB, BACKSPACE, BELL = 0x0A, 0x0D, 0x09, 0x08, 0x07


@dataclass
class _Line:
    """A complete line, as far as it was not read; ``eof``: it ends with EOF, not a character."""

    data: bytearray
    eof: bool = False


class NTty:
    """An n_tty of a terminal. ``show`` puts bytes onto the terminal, ``isig`` sends a signal to
    the foreground process group, ``drop_output`` forgets what is on its way to the terminal.
    """

    def __init__(
        self,
        termios: Termios,
        show: Callable[[bytes], None],
        isig: Callable[[int], None],
        drop_output: Callable[[], None],
    ) -> None:
        self.termios = termios
        self._show = show
        self._isig = isig
        self._drop_output = drop_output
        self.stopped = False
        """Output waits: ^S was typed."""
        self._column = self._canon_column = 0
        self._lines: deque[_Line] = deque()
        self._line = bytearray()
        """The line that is being edited; in raw mode all that was typed."""
        self._lnext = self._erasing = False
        self._echoes = bytearray()

    # What is set.

    def set_termios(self, new: Termios) -> None:
        """n_tty_set_termios(): what was typed stays, as a line, or as bytes."""
        old, self.termios = self.termios, new
        if (old.lflag ^ new.lflag) & (ICANON | EXTPROC):
            typed = b"".join(line.data for line in self._lines) + self._line
            self._lines.clear()
            self._line = bytearray()
            if new.lflag & ICANON and typed:
                self._lines.append(_Line(bytearray(typed)))
            else:
                self._line += typed
            self._erasing = self._lnext = False
        if not new.iflag & IXON and old.iflag & IXON:
            self.start()

    def _local(self, flag: int) -> bool:
        return bool(self.termios.lflag & flag)

    @property
    def canonical(self) -> bool:
        """ICANON."""
        return bool(self.termios.lflag & ICANON)

    @property
    def min_time(self) -> tuple[int, int]:
        """VMIN, and VTIME in tenths of seconds."""
        return self.termios.cc[VMIN], self.termios.cc[VTIME]

    # Output.

    def process(self, data: bytes) -> bytes:
        """What the terminal gets for ``data`` (process_output())."""
        if not self.termios.oflag & OPOST:
            return data
        out = bytearray()
        for char in data:
            self._output_char(char, out)
        return bytes(out)

    def _output_char(self, char: int, out: bytearray) -> None:
        """do_output_char()."""
        flags = self.termios.oflag
        if char == NEWLINE:
            if flags & ONLRET:
                self._column = 0
            if flags & ONLCR:
                self._column = 0
                out.append(RETURN)
            self._canon_column = self._column
        elif char == RETURN:
            if flags & ONOCR and not self._column:
                return
            if flags & OCRNL:
                char = NEWLINE
            if not flags & OCRNL or flags & ONLRET:
                self._canon_column = self._column = 0
        elif char == TAB:
            spaces = 8 - (self._column & 7)
            self._column += spaces
            if flags & TABDLY == XTABS:
                out += b" " * spaces
                return
        elif char == BACKSPACE:
            self._column = max(self._column - 1, 0)
        elif not _is_control(char):
            if flags & OLCUC:
                char = ord(chr(char).upper()) if char < 0x80 else char
            if not self._is_continuation(char):
                self._column += 1
        out.append(char)

    def _is_continuation(self, char: int) -> bool:
        return bool(self.termios.iflag & IUTF8) and char & 0xC0 == 0x80

    def start(self) -> None:
        """^Q: output goes on."""
        if self.stopped:
            self.stopped = False
            self._flush_echoes()

    def stop(self) -> None:
        """^S: output waits."""
        self.stopped = True

    # Echo.

    def _echo_raw(self, char: int) -> None:
        if self.termios.oflag & OPOST:
            self._output_char(char, self._echoes)
        else:
            self._echoes.append(char)

    def _echo(self, char: int) -> None:
        """echo_char(): control characters as ^X."""
        if self._local(ECHOCTL) and _is_control(char) and char != TAB:
            self._echoes += bytes((ord("^"), char ^ 0x40))
            self._column += 2
        else:
            self._echo_raw(char)

    def _flush_echoes(self) -> None:
        if self._echoes and not self.stopped:
            echoes, self._echoes = bytes(self._echoes), bytearray()
            self._show(echoes)

    def _finish_erasing(self) -> None:
        if self._erasing:
            self._echo_raw(ord("/"))
            self._erasing = False

    # Input.

    def room(self) -> int:
        """Bytes that receive() takes; in canonical mode all, for what finds no place is lost."""
        if self.canonical and not self._lines:
            return N_TTY_BUF_SIZE
        return max(0, N_TTY_BUF_SIZE - 1 - self._typed())

    def _typed(self) -> int:
        return len(self._line) + sum(len(line.data) + line.eof for line in self._lines)

    def receive(self, data: bytes) -> None:
        """What was typed (n_tty_receive_buf())."""
        for char in data:
            self._receive_char(char)
        self._flush_echoes()

    def _receive_char(self, char: int) -> None:
        flags = self.termios.iflag
        if flags & ISTRIP:
            char &= 0x7F
        if flags & IUCLC and self._local(IEXTEN) and 0x41 <= char <= 0x5A:
            char |= 0x20
        if self._local(EXTPROC):
            self._line.append(char)
            return
        if self._lnext:
            self._lnext = False
            self._put_echoed(char)
            return
        if flags & IXON and self._is_flow_control(char):
            return
        if self._local(ISIG) and self._is_signal(char):
            return
        if self.stopped and flags & IXON and flags & IXANY:
            self.start()
        if char == RETURN:
            if flags & IGNCR:
                return
            if flags & ICRNL:
                char = NEWLINE
        elif char == NEWLINE and flags & INLCR:
            char = RETURN
        if self.canonical and self._receive_canonical(char):
            return
        self._put_echoed(char)

    def _is(self, char: int, which: int) -> bool:
        return bool(char) and char == self.termios.cc[which]

    def _is_flow_control(self, char: int) -> bool:
        if self._is(char, VSTART):
            self.start()
            return True
        if self._is(char, VSTOP):
            self.stop()
            return True
        return False

    def _is_signal(self, char: int) -> bool:
        for which, signo in _SIGNALS:
            if self._is(char, which):
                if not self._local(NOFLSH):
                    self._echoes.clear()
                    self._drop_output()
                    self.flush_input()
                self._isig(signo)
                if self.termios.iflag & IXON:
                    self.start()
                if self._local(ECHO):
                    self._echo(char)
                return True
        return False

    def _receive_canonical(self, char: int) -> bool:
        """Editing, and the ends of lines; whether that is all that is to be done."""
        extended = self._local(IEXTEN)
        if (
            self._is(char, VERASE)
            or self._is(char, VKILL)
            or (extended and self._is(char, VWERASE))
        ):
            self._eraser(char)
        elif extended and self._is(char, VLNEXT):
            self._lnext = True
            if self._local(ECHO):
                self._finish_erasing()
                if self._local(ECHOCTL):
                    self._echoes += b"^\b"
        elif extended and self._local(ECHO) and self._is(char, VREPRINT):
            self._finish_erasing()
            self._echo(char)
            self._echo_raw(NEWLINE)
            for typed in self._line:
                self._echo(typed)
        elif char == NEWLINE:
            if self._local(ECHO) or self._local(ECHONL):
                self._echo_raw(NEWLINE)
            self._end_line(char)
        elif self._is(char, VEOF):
            self._end_line(None)
        elif self._is(char, VEOL) or (extended and self._is(char, VEOL2)):
            if self._local(ECHO):
                if not self._line:
                    self._canon_column = self._column
                self._echo(char)
            self._end_line(char)
        else:
            return False
        return True

    def _end_line(self, char: int | None) -> None:
        line = _Line(self._line, eof=char is None)
        if char is not None:
            line.data.append(char)
        self._lines.append(line)
        self._line = bytearray()

    def _put_echoed(self, char: int) -> None:
        """A character of the line."""
        if self._typed() >= N_TTY_BUF_SIZE - 1:
            if self.termios.iflag & IMAXBEL:
                self._echoes.append(BELL)
            return
        if self._local(ECHO):
            self._finish_erasing()
            if char == NEWLINE:
                self._echo_raw(char)
            else:
                if not self._line:
                    self._canon_column = self._column
                self._echo(char)
        self._line.append(char)

    def _eraser(self, char: int) -> None:
        """ERASE, WERASE, KILL (eraser())."""
        line = self._line
        if not line:
            return
        if self._is(char, VERASE):
            what = VERASE
        elif self._is(char, VWERASE):
            what = VWERASE
        else:
            what = VKILL
            if not self._local(ECHO):
                line.clear()
                return
            if not (self._local(ECHOK) and self._local(ECHOKE) and self._local(ECHOE)):
                line.clear()
                self._finish_erasing()
                self._echo(char)
                if self._local(ECHOK):
                    self._echo_raw(NEWLINE)
                return
        seen = False
        while line:
            head = len(line) - 1
            while head and self._is_continuation(line[head]):
                head -= 1
            last = line[head]
            if what == VWERASE:
                if chr(last).isalnum() or last == ord("_"):
                    seen = True
                elif seen:
                    break
            erased = bytes(line[head:])
            del line[head:]
            if self._local(ECHO):
                self._echo_erased(erased, what, char)
            if what == VERASE:
                break
        if not line and self._local(ECHO):
            self._finish_erasing()

    def _echo_erased(self, erased: bytes, what: int, char: int) -> None:
        last = erased[0]
        if self._local(ECHOPRT):
            if not self._erasing:
                self._echo_raw(ord("\\"))
                self._erasing = True
            for each in erased:
                self._echo(each)
        elif what == VERASE and not self._local(ECHOE):
            self._echo(char)
        elif last == TAB:
            back = self._tab_width()
            self._echoes += b"\b" * back
            self._column = max(self._column - back, 0)
        else:
            shown = not _is_control(last) or self._local(ECHOCTL)
            times = shown + (shown and _is_control(last))
            self._echoes += b"\b \b" * times
            self._column = max(self._column - times, 0)

    def _tab_width(self) -> int:
        """Columns that the tab behind what is left of the line took (echo_erase_tab())."""
        width, after_tab = 0, False
        for each in reversed(self._line):
            if each == TAB:
                after_tab = True
                break
            if _is_control(each):
                width += 2 if self._local(ECHOCTL) else 0
            elif not self._is_continuation(each):
                width += 1
        if not after_tab:
            width += self._canon_column
        return 8 - (width & 7)

    # Reading.

    def available(self, amount: int = 1) -> bool:
        """Whether read() has something: a line, or so many bytes."""
        if self.canonical:
            return bool(self._lines)
        return self._typed() >= amount

    def nr_readable(self) -> int:
        """ioctl(TIOCINQ): bytes of complete lines, or all (inq_canon())."""
        if self.canonical:
            return sum(len(line.data) for line in self._lines)
        return self._typed()

    def read(self, count: int) -> bytes:
        """Bytes of the next line, or what was typed; b"" if nothing was, and at EOF."""
        if not self.canonical:
            data = bytes(self._line[:count])
            del self._line[:count]
            return data
        if not self._lines:
            return b""
        line = self._lines[0]
        data = bytes(line.data[:count])
        del line.data[:count]
        if not line.data:
            self._lines.popleft()
        return data

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        if self.canonical:
            self._lines.appendleft(_Line(bytearray(data)))
        else:
            self._line[:0] = data

    def flush_input(self) -> None:
        """Forget what was typed and not read (TCIFLUSH)."""
        self._lines.clear()
        self._line.clear()
        self._lnext = self._erasing = False


def _is_control(char: int) -> bool:
    """iscntrl(): of ISO 8859-1."""
    return char < 0x20 or 0x7F <= char < 0xA0
