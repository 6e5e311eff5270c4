# SPDX-License-Identifier: GPL-2.0-or-later
"""How counting scales: measured on vCPUs and on the host, simulated from 1 to 128 CPUs."""
