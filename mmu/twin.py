# SPDX-License-Identifier: GPL-2.0-or-later
"""One line for each function that is written twice, in Python and in C.

``pte_put = Twin(pte_ref.pte_put)`` makes a function with the Python function's signature. It calls
the Python function, or the C function of the same name in ``mmu._native``, as the ``native`` of its
first argument says. Both work on the same bytes and give the same answers, counters and events;
``tests/linux/test_engines_agree.py`` and ``tests/x86/test_engines_agree.py`` hold them together.

The Python function's annotations say how the C function is called::

    annotation                  argument of the C function
    a State                     its ``c``
    EntryPa                     the host pointer to that entry
    int, bool, an enum          the number

    annotation of the result    result of the C function
    None, int, bool             as it is
    an IntEnum                  its number
    EntryPa | None              a pointer to the entry, or NULL
    CPointer | None             a pointer, or NULL
    tuple[IntEnum, EntryPa]     the number; the entry's pointer comes through a last argument
    tuple[IntEnum, int]         the number; the int comes through a last argument, u64
    a Result                    comes through a last argument, a struct
    a State                     made by ``make_c()``, and the C function's first argument

The call is written out as source and compiled at the first call, as dataclasses do it, for it
stands between every caller and a function of a microsecond::

    def pte_try_get(first, pmd):
        if first.native:
            pointer = cast(u64p, first.memory.c.ram + (pmd - first.memory.base))
            result = members[native(first.c, pointer)]
        else:
            result = python(first, pmd)
        first.check()
        return result

A function that breaks an invariant records that in its state; ``check()`` of the state, if it has
one, then raises, from the call that met it.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import cache, update_wrapper
from types import FunctionType, NoneType, UnionType
from typing import (
    Any,
    NewType,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

from mmu._native import ffi, lib

EntryPa = NewType("EntryPa", int)
"""The guest-physical address of an entry of a paging structure: ``pmd_t *``, ``pte_t *``."""

CPointer = NewType("CPointer", object)
"""A pointer to a C struct, never NULL."""

P = ParamSpec("P")
R = TypeVar("R")


class State(Protocol):
    """What the first argument of a twin is: bytes that both engines work on."""

    c: Any
    """The pointer to the C struct."""
    memory: Any
    """The guest RAM that entries lie in."""
    native: bool
    """Whether the C functions are called."""


class Result(Protocol):
    """An answer of several values."""

    @classmethod
    def from_c(cls, c: Any) -> Result:
        """Make it of the C struct."""


class TwinError(TypeError):
    """A Python function's annotations do not say how its C namesake is called."""


TWINS: dict[str, Callable[..., Any]] = {}
"""The Python function of every twin, by name."""


def Twin(
    python: Callable[P, R], *, note_caller: Callable[[Any], object] | None = None
) -> Callable[P, R]:
    """Return the function that is ``python`` or its C namesake.

    ``note_caller(ring)`` is called before C is, if the ``kernel`` of the first argument has an
    event ring: for a function in whose events its caller is named.

    Raises TwinError if there is no C function of that name, if it takes another number of
    arguments, or if an annotation is none of the table above.
    """
    name = python.__name__
    native = getattr(lib, name, None)
    if native is None:
        raise TwinError(f"mmu._native has no function {name}() for its twin in Python")
    hints = {p: _type(text, python.__module__) for p, text in python.__annotations__.items()}
    result = hints.pop("return", NoneType)
    parameters = inspect.signature(python).parameters
    first = next(iter(parameters))
    arguments = [f"{first}.c", *(_argument(first, p, hints[p]) for p in parameters if p != first)]
    prepare, arguments, value = _call(name, first, arguments, result)
    wanted = len(ffi.typeof(native).args)
    if len(arguments) != wanted:
        raise TwinError(f"{name}() takes {wanted} arguments in C, {len(arguments)} by its twin")
    native_call = f"_native({', '.join(arguments)})"
    lines = [
        f"def {name}({', '.join(_declared(p) for p in parameters.values())}):",
        f"    if {first}.native:",
        *(_noting(first) if note_caller else []),
        *(f"        {line}" for line in prepare),
        f"        _result = {value.format(call=native_call)}",
        "    else:",
        f"        _result = _python({', '.join(parameters)})",
        *([f"    {first}.check()"] if hasattr(hints[first], "check") else []),
        "    return _result",
    ]
    names = {
        "_native": native,
        "_note_caller": note_caller,
        "_python": python,
        "_cast": ffi.cast,
        "_u64p": ffi.typeof("u64 *"),
        "_new": ffi.new,
        "_entry_pa": entry_pa,
        "_kind": result,
        "_last": ffi.typeof(native).args[-1],
        **_members(result),
        **{f"_default_{p}": d.default for p, d in parameters.items()},
    }
    TWINS[name] = python
    return cast("Callable[P, R]", _compiled_when_called(python, "\n".join(lines), names))


def _noting(first: str) -> list[str]:
    """Have the ring of the first argument's kernel told who calls."""
    return [
        f"        if {first}.kernel.ring is not None:",
        f"            _note_caller({first}.kernel.ring)",
    ]


def _compiled_when_called(
    python: Callable[..., Any], source: str, names: dict[str, Any]
) -> FunctionType:
    """The function that ``source`` defines with ``names`` as its globals.

    Its code is compiled by its first call, for most programs call few of the twins.
    """
    name = python.__name__

    def compile_source() -> FunctionType:
        filename = f"<twin {name}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec"), names)
        made = names[name]
        twin.__defaults__, twin.__code__ = made.__defaults__, made.__code__
        return twin

    names["_compile"] = compile_source
    twin = FunctionType(_first_call.__code__, names, name)
    update_wrapper(twin, python)
    return twin


def _first_call(*arguments: Any, **by_name: Any) -> Any:
    """What every twin is at first; its globals are the twin's own."""
    return globals()["_compile"]()(*arguments, **by_name)


@cache
def _type(text: Any, module: str) -> Any:
    """The type that an annotation in ``module`` names: get_type_hints(), but once for each text."""
    kind = eval(text, vars(sys.modules[module])) if isinstance(text, str) else text
    return NoneType if kind is None else kind


def entry_pa(memory: Any, entry: Any) -> EntryPa | None:
    """Return the guest-physical address of the entry that a host pointer names; None for NULL."""
    if entry == ffi.NULL:
        return None
    offset = int(ffi.cast("char *", entry) - ffi.cast("char *", memory.c.ram))
    return EntryPa(offset + memory.base)


def _declared(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}=_default_{parameter.name}"


def _argument(first: str, name: str, kind: Any) -> str:
    """The C argument for a Python one."""
    if kind is EntryPa:
        return f"_cast(_u64p, {first}.memory.c.ram + ({name} - {first}.memory.base))"
    return name if issubclass(kind, int) else f"{name}.c"


def _call(
    name: str, first: str, arguments: list[str], result: Any
) -> tuple[list[str], list[str], str]:
    """What is done before the C call, its arguments, and the result in terms of ``{call}``."""
    if get_origin(result) in (Union, UnionType):
        kind = next(part for part in get_args(result) if part is not NoneType)
        if kind is EntryPa:
            return [], arguments, f"_entry_pa({first}.memory, {{call}})"
        if kind is CPointer:
            return [], arguments, "{call} or None"
    elif get_origin(result) is tuple and get_args(result)[1] is EntryPa:
        value = f"(_members[{{call}}], _entry_pa({first}.memory, _entry[0]) or 0)"
        return ['_entry = _new("u64 **")'], [*arguments, "_entry"], value
    elif get_origin(result) is tuple and get_args(result)[1] is int:
        return ['_int = _new("u64 *")'], [*arguments, "_int"], "(_members[{call}], _int[0])"
    elif result in (NoneType, int, bool):
        return [], arguments, "{call}"
    elif issubclass(result, IntEnum):
        return [], arguments, "_members[{call}]"
    elif hasattr(result, "from_c"):
        return (
            ["_out = _new(_last)"],
            [*arguments, "_out"],
            "({call}, _kind.from_c(_out))[1]",
        )
    elif hasattr(result, "make_c"):
        return [f"_made = _kind.make_c({first})"], ["_made.c", *arguments], "({call}, _made)[1]"
    raise TwinError(f"{name}() returns {result!r}, which no C function of ours does")


def _members(result: Any) -> dict[str, Any]:
    """The members of an enum by number, where the result is one or begins with one."""
    kind = get_args(result)[0] if get_origin(result) is tuple else result
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return {"_members": {int(member): member for member in kind}}
    return {}
