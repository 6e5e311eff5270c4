# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read out of a trace: texts, tables, other formats, answers."""
