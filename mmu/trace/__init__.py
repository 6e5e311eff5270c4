# SPDX-License-Identifier: GPL-2.0-or-later
"""A run's events in a file: written once, read many times.

Reading order, state below and face above: ``where`` (which events are wanted), ``format`` (the
bytes of a file), ``index`` (what is known of a chunk), ``filter`` and ``coder`` (C's, for arrays of
records), ``window``, ``sink`` and ``writer`` (ring to file), ``blocks`` and ``reader`` (file to
events); then what is rebuilt from events: ``tables``, ``tlbs``, ``counts``, ``lives``, ``spaces``,
``counters``, ``chains``. docs/trace.md draws the file.
"""
