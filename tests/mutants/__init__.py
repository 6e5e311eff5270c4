# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutation tests: change one thing in the sources, and a test must fail (``make mutate``).

``syntax`` finds the places in the syntax trees of C and Python, ``operators`` says what is changed
there; ``reach`` learns which test runs which block; ``tree`` builds a copy of the project with one
mutant in it; ``session`` runs tests on it; ``run`` tries many at a time; ``report`` prints what
came of it. The checkout itself is never changed.
"""
