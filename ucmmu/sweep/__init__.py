# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu sweep``: many runs from one file, on many processors, each only once (docs/sweeps.md).

A *spec* (:mod:`ucmmu.sweep.spec`) gives *cells* (:mod:`ucmmu.sweep.cells`), each one command line.
A cell's *key* (:mod:`ucmmu.sweep.key`) is a digest of all that decides its result, and the name of
its file among the *results* (:mod:`ucmmu.sweep.results`). What is missing there is run by *workers*
(:mod:`ucmmu.sweep.workers`): processes here, or those of a Dask cluster.
"""
