# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy of the user's own must hold to: its class before it is used, its methods at each
call.
"""

from __future__ import annotations

import ast
import inspect
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from functools import wraps
from traceback import extract_tb
from typing import Any, Final

from greenlet import GreenletExit

from mmu.errors import LinuxError, OutOfMemory
from mmu.linux.free_tables import FreeTablesPolicy
from ucmmu.text import printable, repr_of, told_by


class BadPolicy(ValueError):
    """A class that cannot be used: what is wrong, and in which file and line, if that is known."""

    def __init__(self, text: str, file: str = "", line: int = 0) -> None:
        super().__init__(text)
        self.text = text
        self.file = file
        self.line = line

    def told(self, place: str = "") -> str:
        """One line, with where it is, and the file as ``place`` if that names it."""
        if not self.file:
            return f"{printable(place)}: {self.text}" if place else self.text
        same = place and os.path.realpath(place) == os.path.realpath(self.file)
        file = printable(place if same else os.path.relpath(self.file))
        return f"{file}{f', line {self.line}' if self.line else ''}: {self.text}"


class PolicyError(AssertionError):
    """A method did what none may: the text says where."""


def check_class(found: type[FreeTablesPolicy]) -> None:
    """Each method that takes the place of one of ours is one, and takes the same arguments; what is
    not counted is not looked up by its count. Raises BadPolicy.
    """
    for name, ours, own in _overridden(found):
        text = _wrong_method(ours, own)
        if text is not None:
            raise BadPolicy(f"{found.__name__}.{name} {text}", *_place_of(found, name))
    _check_counts(found)


def _overridden(found: type[FreeTablesPolicy]) -> Iterator[tuple[str, Callable[..., Any], Any]]:
    """What takes the place of a method of ours: its name, ours, its own."""
    for name, ours in vars(FreeTablesPolicy).items():
        own = inspect.getattr_static(found, name)
        if inspect.isfunction(ours) and own is not ours:
            yield name, ours, own


def _wrong_method(ours: Callable[..., Any], own: object) -> str | None:
    if not inspect.isfunction(own):
        return "must be a method"
    if inspect.iscoroutinefunction(own) or inspect.isasyncgenfunction(own):
        return "must be a plain method: nobody would await it"
    if inspect.isgeneratorfunction(own):
        return "must be a plain method: nobody would run it, for it has a yield"
    wanted = inspect.signature(ours)
    try:
        inspect.signature(own).bind(*wanted.parameters)
    except TypeError:
        names = ", ".join(wanted.parameters)
        return f"must take ({names}), not {_bare(inspect.signature(own))}"
    return None


def _bare(signature: inspect.Signature) -> str:
    """The signature without its annotations."""
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _place_of(found: type[FreeTablesPolicy], name: str) -> tuple[str, int]:
    """The file and the line where the class, or a base of it, sets the name; 0: it is not known."""
    owner = next(cls for cls in found.__mro__ if name in vars(cls))
    file = str(getattr(sys.modules.get(owner.__module__), "__file__", ""))
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, ValueError, SyntaxError):
        return file, 0
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    bodies = (node.body for node in classes if node.name == owner.__name__)
    lines = [one.lineno for body in bodies for one in body if name in _names_set(one)]
    return file, lines[-1] if lines else 0


def _names_set(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _check_counts(found: type[FreeTablesPolicy]) -> None:
    """Who says that nobody counts, and finds and puts tables by a count that stays 0, would look
    for ever.
    """
    if found.counts:
        return
    own = [name for name, _, _ in _overridden(found)]
    for names in (("table_get",), ("table_get_unless_zero",), ("put_many", "table_put")):
        if not any(name in own for name in names):
            text = (
                f"{found.__name__}: counts is False, but {names[0]}() is that of a policy that"
                " counts: begin with Never or Scan of mmu.linux.policies"
            )
            raise BadPolicy(text, *_place_of(found, "counts"))


# At each call.


_Check = Callable[[object], bool]


def _whole(value: object) -> bool:
    return isinstance(value, int)


_RETURNS: Final[dict[str, tuple[_Check, str]]] = {
    "bool": (_whole, "True or False"),
    "int": (_whole, "a whole number"),
    "int | None": (lambda value: value is None or _whole(value), "a whole number, or None"),
    "TryGet": (_whole, "a TryGet"),
    "tuple[TryGet, int]": (
        lambda value: isinstance(value, tuple) and len(value) == 2 and all(map(_whole, value)),
        "a TryGet and the PMD's value",
    ),
}
"""By what ours are declared to return."""


def guarded(found: type[FreeTablesPolicy]) -> dict[str, Callable[..., Any]]:
    """The user's methods of it, by name, each of which raises PolicyError if it returns what ours
    would not, or raises what would be taken for something else: a system call's failure, the end of
    the interpreter.
    """
    return {
        name: _guarded(f"{found.__name__}.{name}()", ours, own)
        for name, ours, own in _overridden(found)
        if not own.__module__.startswith("mmu.")
    }


def _guarded(shown: str, ours: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    right, wanted = _RETURNS.get(ours.__annotations__["return"], (None, ""))
    code = own.__code__

    @wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            value = own(*args, **kwargs)
        except BaseException as error:
            if not _is_misunderstood(error, code.co_filename):
                raise
            text = raised_at(error, [code.co_filename]) or told_by(error)
            raise PolicyError(text) from error
        if right is not None and not right(value):
            place = _shown(code.co_filename, code.co_firstlineno)
            text = f"{place}: {shown} must return {wanted}, not {repr_of(value)}"
            raise PolicyError(text)
        return value

    return call


def _is_misunderstood(error: BaseException, file: str) -> bool:
    if isinstance(error, KeyboardInterrupt):  # else it is the user's ^C
        return signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if isinstance(error, OutOfMemory):  # else no frame is left
        return extract_tb(error.__traceback__)[-1].filename == file
    return isinstance(error, LinuxError) or not isinstance(
        error, (Exception, SystemExit, GreenletExit)
    )


def raised_at(error: BaseException, files: Collection[str]) -> str | None:
    """File, line, function and exception, of the innermost frame in one of the files; None: there
    is none.
    """
    for frame in reversed(extract_tb(error.__traceback__)):
        if frame.filename in files:
            place = _shown(frame.filename, frame.lineno)
            return f"{place}, in {frame.name}(): {told_by(error)}"
    return None


def _shown(file: str, line: int | None) -> str:
    return f"{printable(os.path.relpath(file))}, line {line}"
