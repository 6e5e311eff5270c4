# SPDX-License-Identifier: GPL-2.0-or-later
"""What reads a trace: as text, in other formats, as tables and pages.

Below: ``source`` (opening a trace, which events are wanted), ``names`` (values in words),
``symbols`` (processes, mappings and functions as of an event). Above: one file for each command
and format.
"""
