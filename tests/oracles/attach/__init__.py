# SPDX-License-Identifier: GPL-2.0-or-later
"""Random scripts of Unicorn API calls, on plain Unicorn and attached: the same must be seen."""
