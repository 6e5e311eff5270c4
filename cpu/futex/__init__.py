# SPDX-License-Identifier: GPL-2.0-or-later
"""Futexes: words of user memory that tasks wait for (kernel/futex, v6.18).

::

    table      FutexTable: who waits, by key            keys       get_futex_key()
    waitwake   FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAKE_OP, futex_waitv()
    requeue    FUTEX_REQUEUE, FUTEX_CMP_REQUEUE
    pi         FUTEX_LOCK_PI and its like: words with an owner
    pi_requeue FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI
    robust     what a thread leaves locked when it ends
"""
