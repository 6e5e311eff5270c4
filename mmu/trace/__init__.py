# SPDX-License-Identifier: GPL-2.0-or-later
"""A run's events in a file: written once, read many times.

Reading order, state below and face above: ``where`` (which events are wanted), ``format`` (the
bytes of a file), ``writer`` (ring to file), ``reader`` (file to events). docs/trace.md draws the
file.
"""
