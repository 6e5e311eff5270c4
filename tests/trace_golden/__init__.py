# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces that a person has checked."""
