# SPDX-License-Identifier: GPL-2.0-or-later
"""A value over time, in a bounded number of points that keep its peaks."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

POINTS: Final = 2000
"""Points of a curve that is drawn."""

Floats = npt.NDArray[np.float64]


class Curve:
    """A value that changes at times which never go back.

    More than ``4 * POINTS`` points are thinned: of each stretch of time its first, lowest, highest
    and last values stay, so no peak is lost.
    """

    def __init__(self) -> None:
        self._times: list[Floats] = []
        self._values: list[Floats] = []
        self._held = 0
        self.last = 0.0

    def add(self, times: npt.NDArray[np.uint64], values: Floats) -> None:
        """Add the values that it has from these times (nanoseconds) on."""
        if not len(times):
            return
        self._times.append(times.astype(np.float64))
        self._values.append(values.astype(np.float64))
        self.last = float(values[-1])
        self._held += len(times)
        if self._held > 16 * POINTS:
            self._thin()

    def points(self) -> tuple[Floats, Floats]:
        """Times in nanoseconds and values, thinned."""
        self._thin()
        if not self._times:
            return np.empty(0), np.empty(0)
        return self._times[0], self._values[0]

    @property
    def peak(self) -> float:
        """The highest value, 0 if there is none."""
        return max((float(values.max()) for values in self._values), default=0.0)

    def _thin(self) -> None:
        if not self._times:
            return
        times, values = np.concatenate(self._times), np.concatenate(self._values)
        if len(times) > 4 * POINTS:
            keep = _extremes(times, values)
            times, values = times[keep], values[keep]
        self._times, self._values, self._held = [times], [values], len(times)


def _extremes(times: Floats, values: Floats) -> npt.NDArray[np.intp]:
    """The points that stay, by number, in order."""
    span = max(times[-1] - times[0], 1.0)
    stretch = np.minimum((times - times[0]) * (POINTS / span), POINTS - 1).astype(np.intp)
    begins = np.flatnonzero(np.diff(stretch, prepend=-1))
    ends = np.append(begins[1:], len(times))
    by_value = np.lexsort((values, stretch))
    return np.unique(np.concatenate([begins, ends - 1, by_value[begins], by_value[ends - 1]]))
