# SPDX-License-Identifier: GPL-2.0-or-later
"""Host threads on the C counts and free path (``make stress``, docs/stress.md)."""
