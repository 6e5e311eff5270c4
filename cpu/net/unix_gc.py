# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets that are only in messages to each other (net/unix/garbage.c, v6.18).

A socket that was sent, and closed by all who had it, lives in the message. If the message waits at
that socket, or at one that waits at it, nobody can ever receive it: both are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpu.net.net import Carrier, Net


def unix_inflight(net: Net, sock: Carrier) -> None:
    """It is in one message more."""
    net.unix_inflight[sock] = net.unix_inflight.get(sock, 0) + 1


def unix_notinflight(net: Net, sock: Carrier) -> None:
    """It is in one message less."""
    net.unix_inflight[sock] -= 1
    if not net.unix_inflight[sock]:
        del net.unix_inflight[sock]


def unix_gc(net: Net) -> None:
    """Free the lost ones: those that are in messages alone, and that no other leads to."""
    inflight = net.unix_inflight
    lost = {sock for sock, count in inflight.items() if sock.users == count}
    if not lost:
        return
    reached = [sock for sock in net.unix_sockets if sock not in lost and sock.users]
    while reached:
        for file in reached.pop().carried():
            for sock in [sock for sock in lost if sock is file]:
                lost.discard(sock)
                reached.append(sock)
    for sock in [sock for sock in net.unix_sockets if sock in lost]:
        sock.drop_lost()
