# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for people: names that cannot steer a terminal, and what a misspelt word may have meant."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAME = 160
"""Characters of a command line, as long as it may be, that a title shows."""


def printable(text: str) -> str:
    r"""Return ``text`` with whatever a terminal would act on, or could not show, written as in
    Python: ``\x1b``, ``\n``.

    Bytes of a file's name that are no UTF-8 are shown as bytes: ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def as_utf8(text: str) -> str:
    r"""``text`` with what is not UTF-8 in it (bytes of a file's name) written out, for a format
    that holds nothing else: ``\udcff``.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def shortened(text: str, width: int = MAX_NAME) -> str:
    """``text`` with an ellipsis where it is longer than ``width``."""
    return text if len(text) <= width else text[: width - 1] + "…"


def text_of(error: BaseException) -> str:
    """What an exception says; its class is the user's own, perhaps, and says nothing."""
    try:
        return str(error)
    except BaseException as other:
        return f"(its text cannot be had: {type(other).__name__})"


def told_by(error: BaseException) -> str:
    """An exception's kind, and what it says."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def repr_of(value: object) -> str:
    """``value`` as Python writes it, in short; its class is the user's own, perhaps, and does not
    say.
    """
    try:
        return shortened(repr(value))
    except Exception:  # whatever a __repr__() of theirs raises
        return f"a {type(value).__name__}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'exact'?`` if one of the known words is near, else nothing."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
