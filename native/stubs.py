# SPDX-License-Identifier: GPL-2.0-or-later
"""Write mmu/_native.pyi and cpu/_engine.pyi from the declarations that cffi parsed.

``python -m native.stubs`` writes them, ``--check`` only compares; ``make build`` writes, ``make
lint`` and the tests compare. ``struct page`` is the class ``struct_page``, a pointer to it
``struct_page_ptr``, which has the same fields; both exist for the type checker only, so import them
under TYPE_CHECKING.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cffi
from cffi import model
from cffi.cparser import Parser
from pycparser import c_ast

from native import build_engine, build_mmu

_BETWEEN_LINES: Final = re.compile(r"(?<=: \.\.\.\n)\n(?=class .*: \.\.\.\n)")
"""ruff wants no empty line between classes of one line."""
ROOT: Final = Path(__file__).resolve().parents[1]
WIDTH: Final = 100
_INTEGERS: Final = (
    *(f"{sign}{width}" for sign in "us" for width in (8, 16, 32, 64)),
    *(f"{sign}int{width}_t" for sign in ("u", "") for width in (8, 16, 32, 64)),
)

_HEAD = '''\
# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of {module}; written by native/stubs.py from the headers: do not edit."""

'''

_BASE = """\
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Literal, TypeVar, overload

from typing_extensions import Self

_T = TypeVar("_T")
_P = TypeVar("_P")
_F = TypeVar("_F", bound=Callable[..., Any])

class CData:
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

class Struct(CData, Generic[_P]): ...

class Ptr(CData, Generic[_T]):
    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Array[_T]: ...
    @overload
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: object, /) -> None: ...
    def __add__(self, n: int, /) -> Ptr[_T]: ...
    @overload
    def __sub__(self, other: int, /) -> Ptr[_T]: ...
    @overload
    def __sub__(self, other: Ptr[_T], /) -> int: ...
    def __lt__(self, other: Ptr[_T], /) -> bool: ...
    def __le__(self, other: Ptr[_T], /) -> bool: ...

class Array(Ptr[_T]):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T]: ...

class Buffer:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int | slice, /) -> bytes: ...
    def __setitem__(self, index: int | slice, value: Any, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class CType:
    cname: str
    kind: str
    item: CType
    length: int | None
    fields: list[tuple[str, Any]]
    args: list[CType]
    result: CType

_CData = CData
Integers = Literal[
{arrays}]
IntegerPtr = Literal[
{pointers}]

class BaseFFI:
    CData: type[_CData]
    NULL: Any
    errno: int
    def gc(self, cdata: _T, destructor: Callable[[_T], object] | None, size: int = ...) -> _T: ...
    def release(self, cdata: _CData, /) -> None: ...
    def string(self, cdata: _CData, maxlen: int = ...) -> bytes: ...
    def buffer(self, cdata: _CData, size: int = ...) -> Buffer: ...
    def memmove(self, dest: Any, src: Any, n: int) -> None: ...
    def sizeof(self, cdecl: str | _CData | CType, /) -> int: ...
    def offsetof(self, cdecl: str | CType, /, *fields: str | int) -> int: ...
    def typeof(self, cdecl: str | _CData, /) -> CType: ...
    def unpack(self, cdata: Ptr[_T], length: int) -> list[_T]: ...
    def new_handle(self, value: object, /) -> _CData: ...
    def from_handle(self, handle: _CData, /) -> Any: ...
    def from_buffer(self, cdecl: str, source: Any, require_writable: bool = ...) -> Any: ...
    def callback(self, cdecl: str, function: Callable[..., Any] = ...) -> Any: ...
    @overload
    def addressof(self, cdata: Struct[_P], /) -> _P: ...
    @overload
    def addressof(self, cdata: _CData, /, *fields: str | int) -> Any: ...
    @overload
    def addressof(self, library: object, name: str, /) -> Any: ...
    def def_extern(
        self,
        name: str = ...,
        error: Any = ...,
        onerror: Callable[..., Any] | None = ...,
    ) -> Callable[[_F], _F]: ...

"""

_FROM_NATIVE = """\
from typing import Any, Final, Literal, overload

from mmu._native import Array, BaseFFI, CData, IntegerPtr, Integers, Ptr, Struct

"""


def stub(ffi: cffi.FFI, module: str, base: str) -> str:
    """The text of ``module``'s .pyi, with ``base`` for what does not depend on the declarations."""
    parser: Any = ffi._parser  # type: ignore[attr-defined]
    sources: list[str] = ffi._cdefsources  # type: ignore[attr-defined]
    declared = {name: kind for name, (kind, _) in parser._declarations.items()}
    structs = {
        kind.name: kind
        for name, kind in declared.items()
        if name.startswith("struct ") and isinstance(kind, model.StructType)
    }
    parts = [_HEAD.format(module=module), base]
    parts.append(_BETWEEN_LINES.sub("", "".join(_struct(kind) for kind in structs.values())))
    parts.append(_ffi(structs))
    parts.append("class Lib:\n")
    constants = (name[6:] for name in declared if name.startswith("macro "))
    parts += [f"    {name}: Final[int]\n" for name in constants]
    names = dict(_parameter_names("".join(sources)))
    for name, kind in declared.items():
        if name.startswith(("function ", "extern_python ")):
            bare = name.split()[1]
            parts.append(_function(bare, kind, names[bare]))
    parts.append("\nffi: FFI\nlib: Lib\n")
    return "".join(parts)


def _struct(kind: model.StructType) -> str:
    """The classes of a struct and of a pointer to it."""
    name = f"struct_{kind.name}"
    pointer = f"class {name}_ptr({name}, Ptr[{name}]): ...\n"
    fields = [f"    {field}: {_type(of)}\n" for field, of in _fields(kind)]
    if not fields:
        return f"class {name}(Struct[{name}_ptr]): ...\n{pointer}\n"
    return f"class {name}(Struct[{name}_ptr]):\n{''.join(fields)}\n{pointer}\n"


def _fields(kind: model.StructOrUnion) -> Iterator[tuple[str, Any]]:
    """Name and type of each field; those of an unnamed union stand among its struct's."""
    for name, of in zip(kind.fldnames or (), kind.fldtypes or (), strict=True):
        if not name:
            yield from _fields(of)
        elif not keyword.iskeyword(name):
            yield name, of


def _type(kind: Any, *, argument: bool = False) -> str:
    """The Python type of a C type; an argument may be an array where a pointer is wanted."""
    if isinstance(kind, model.PrimitiveType):
        return {"_Bool": "bool", "char": "bytes", "double": "float", "float": "float"}.get(
            kind.name, "int"
        )
    if isinstance(kind, model.VoidType):
        return "None"
    if isinstance(kind, model.StructType):
        return f"struct_{kind.name}"
    if isinstance(kind, model.ArrayType):
        return f"Array[{_type(kind.item)}]"
    if isinstance(kind, (model.FunctionPtrType, model.RawFunctionType)):
        takes = ", ".join(_type(of) for of in kind.args)
        return f"Callable[[{takes}], {_type(kind.result)}]"
    if isinstance(kind, model.PointerType):
        return _pointer(kind.totype, argument)
    raise SystemExit(f"native/stubs.py: no Python type for {kind}")


def _pointer(to: Any, argument: bool) -> str:
    """The Python type of a pointer."""
    if isinstance(to, model.VoidType):
        return "CData"
    if isinstance(to, model.StructType):
        name = f"struct_{to.name}"
        complete = to.fldnames is not None
        return f"{name}_ptr | Array[{name}]" if argument and complete else f"{name}_ptr"
    return f"Ptr[{_type(to)}]"


def _function(function: str, kind: model.BaseFunctionType, names: list[str]) -> str:
    """The signature of a C function."""
    takes = [
        f"{name}: {_type(of, argument=True)}" for name, of in zip(names, kind.args, strict=False)
    ]
    return _method(function, ["self", *takes, "/"] if takes else ["self"], _type(kind.result))


def _method(name: str, takes: list[str], returned: str) -> str:
    """A method's line or lines, wrapped as ruff wraps them."""
    line = f"    def {name}({', '.join(takes)}) -> {returned}: ...\n"
    if len(line) <= WIDTH + 1:
        return line
    inner = f"        {', '.join(takes)}\n"
    if len(inner) > WIDTH + 1:
        inner = "".join(f"        {each},\n" for each in takes)
    return f"    def {name}(\n{inner}    ) -> {returned}: ...\n"


def _parameter_names(source: str) -> Iterator[tuple[str, list[str]]]:
    """Each declared function with the names of its parameters, which cffi does not keep."""
    tree = Parser()._parse(source)[0]  # type: ignore[attr-defined]
    for declaration in tree.ext:
        if isinstance(declaration, c_ast.Decl) and isinstance(declaration.type, c_ast.FuncDecl):
            takes = declaration.type.args.params if declaration.type.args else ()
            names = [getattr(each, "name", None) or f"arg{i}" for i, each in enumerate(takes)]
            yield declaration.name, [f"{n}_" if keyword.iskeyword(n) else n for n in names]


def _ffi(structs: Mapping[str, model.StructType]) -> str:
    """The class of ``ffi``: new() and cast() return what their C declaration names."""
    whole = [name for name, kind in structs.items() if kind.fldnames is not None]
    new = [
        *((f'Literal["struct {name} *"]', f"struct_{name}_ptr") for name in whole),
        *((f'Literal["struct {name}[]"]', f"Array[struct_{name}]") for name in whole),
        ("Integers", "Array[int]"),
        ("IntegerPtr", "Ptr[int]"),
        ("str", "Any"),
    ]
    cast = [
        *((f'Literal["struct {name} *"]', f"struct_{name}_ptr") for name in structs),
        ("IntegerPtr", "Ptr[int]"),
        ('Literal["char *"]', "Ptr[bytes]"),
        ("str", "CData"),
    ]
    text = "class FFI(BaseFFI):\n"
    for name, second, overloads in (
        ("new", "init: object = ...", new),
        ("cast", "value: object", cast),
    ):
        for cdecl, returned in overloads:
            text += "    @overload\n" + _method(name, ["self", f"cdecl: {cdecl}", second], returned)
    return text + "\n"


def _literals(ending: str) -> str:
    """One line for each integer type."""
    return "".join(f'    "{name}{ending}",\n' for name in _INTEGERS)


def stubs() -> dict[Path, str]:
    """Each stub's path and what it must hold."""
    base = _BASE.format(arrays=_literals("[]"), pointers=_literals(" *"))
    return {
        ROOT / "mmu/_native.pyi": stub(build_mmu.ffi, "mmu._native", base),
        ROOT / "cpu/_engine.pyi": stub(build_engine.ffi, "cpu._engine", _FROM_NATIVE),
    }


def stale() -> list[str]:
    """Names of the stubs that are not what the headers make."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in stubs().items()
        if not path.exists() or path.read_text() != text
    ]


def main() -> None:
    """Write or compare the stubs."""
    parser = argparse.ArgumentParser(prog="python -m native.stubs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell which are stale")
    if parser.parse_args().check:
        if names := stale():
            sys.exit(f"{' and '.join(names)}: not what the headers say; run: make build")
        return
    for path, text in stubs().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    main()
