# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy of the user's own: the class that ``--free-tables FILE.py:CLASS`` names
(docs/policies.md).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from ucmmu.beside import PACKAGE, builtins_in
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import is_policy_file
from ucmmu.streams import prints_to_stderr
from ucmmu.text import did_you_mean, printable, text_of, told_by

if TYPE_CHECKING:
    from traceback import StackSummary

    from mmu.linux.free_tables import FreeTablesPolicy
    from mmu.linux.policy import FreeTables

    Policy: TypeAlias = FreeTables | type[FreeTablesPolicy]

_KEY = "ucmmu_policy_"
_loaded: dict[str, type[FreeTablesPolicy]] = {}


def find_policy(text: str) -> Policy:
    """The policy that ``--free-tables`` names: one of ours, or FILE.py:CLASS. Raises Failure (USAGE
    for a name that there is not, POLICY for a file that cannot be used).
    """
    from mmu.linux.policy import FreeTables

    if is_policy_file(text):
        return load_policy(text)
    try:
        return FreeTables.from_label(text)
    except KeyError:
        known = [policy.label for policy in FreeTables]
        line = f"--free-tables: {text!r} is none of {', '.join(known)}, and no FILE.py:CLASS"
        raise Failure(ExitCode.USAGE, f"{line}{did_you_mean(text, known)}") from None


def policy_label(policy: Policy) -> str:
    """The name of a policy in reports: of one from a file, FILE.py:CLASS as it was asked for."""
    from mmu.linux.policy import FreeTables

    if isinstance(policy, FreeTables):
        return policy.label
    return policy.__dict__.get("label") or policy.__qualname__


def load_policy(spec: str) -> type[FreeTablesPolicy]:
    """The class that FILE.py:CLASS names; its file is executed once. Raises Failure (POLICY), one
    line with the file, the line in it if that is known, and what is wrong.
    """
    if spec not in _loaded:
        place, _, name = spec.rpartition(":")
        found = _class_in(_module(place), place, name)
        _loaded[spec] = _checked(found, spec, place)
    return _loaded[spec]


def _refused(text: str) -> Failure:
    return Failure(ExitCode.POLICY, f"--free-tables {text}")


class BadFile(ValueError):
    """A file that cannot be used; one line says which, where, and what is wrong."""


def _module(place: str) -> ModuleType:
    try:
        return python_file(place, _KEY)
    except BadFile as error:
        raise _refused(str(error)) from None


@prints_to_stderr()
def python_file(place: str, prefix: str) -> ModuleType:
    """The file, executed once, as the module ``prefix`` and its path; modules beside it can be
    imported (ucmmu.beside). Raises BadFile.
    """
    shown = printable(place)
    if not os.path.exists(place):
        raise BadFile(f"{shown}: no such file")
    if not os.path.isfile(place):
        raise BadFile(f"{shown}: is no regular file")
    path = os.path.realpath(place)
    key = f"{prefix}{path}"
    if key in sys.modules:
        return sys.modules[key]
    made = spec_from_file_location(key, path)
    if made is None or made.loader is None:
        raise BadFile(f"{shown}: is no Python file (.py)")
    module = sys.modules[key] = module_from_spec(made)
    vars(module)["__builtins__"] = builtins_in(os.path.dirname(path))
    try:
        made.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[key]
        raise BadFile(f"{shown}{_where(error, path)}: {_what(error, prefix)}") from None
    return module


def _where(error: BaseException, path: str) -> str:
    """``, line N``: of that file, if it is known."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in _frames(error) if frame.filename == path]
    return f", line {lines[-1]}" if lines else ""


def _what(error: BaseException, prefix: str = _KEY) -> str:
    if isinstance(error, ImportError) and prefix in text_of(error):
        return (
            "ImportError: it is in no package: import a file beside it by its name, without a dot"
        )
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return re.sub(rf"{PACKAGE}\d+\.", "", told_by(error))


def _class_in(module: ModuleType, place: str, name: str) -> type[FreeTablesPolicy]:
    from mmu.linux.free_tables import FreeTablesPolicy

    shown = printable(place)
    known = [key for key, value in vars(module).items() if _is_policy(value, module)]
    found = vars(module).get(name)
    if found is None:
        has = f"it has {', '.join(known)}" if known else "it has no subclass of FreeTablesPolicy"
        raise _refused(f"{shown}: no class {name!r}: {has}{did_you_mean(name, known)}")
    if not isinstance(found, type) or not issubclass(found, FreeTablesPolicy):
        raise _refused(f"{shown}: {name} is no subclass of mmu.linux.free_tables.FreeTablesPolicy")
    if not isinstance(found.label, str) or not isinstance(found.counts, bool):
        raise _refused(f"{shown}: {name}: label must be text, and counts True or False")
    return found


def _is_policy(value: object, module: ModuleType) -> bool:
    from mmu.linux.free_tables import FreeTablesPolicy

    return (
        isinstance(value, type)
        and issubclass(value, FreeTablesPolicy)
        and value.__module__ == module.__name__
    )


def _checked(found: type[FreeTablesPolicy], spec: str, place: str) -> type[FreeTablesPolicy]:
    """The class, each of whose methods is checked: its signature now, what it does at each call."""
    from ucmmu.policy_checks import BadPolicy, check_class, guarded

    label = spec.removeprefix("./")
    try:
        check_class(found)
        members = {**guarded(found), "label": label, "__module__": __name__}
        return type(found.__name__, (found,), members)
    except BadPolicy as error:
        raise _refused(error.told(place)) from None
    except Exception as error:  # whatever an __init_subclass__() of theirs raises
        path = os.path.realpath(place)
        raise _refused(f"{printable(place)}{_where(error, path)}: {_what(error)}") from None


def policy_failure(policy: Policy, error: BaseException) -> str | None:
    """What a run that ended in ``error`` says of the policy of the user's own that it was under:
    file, line, method and exception if it was raised there, else what became of it; None if the
    policy is one of ours.
    """
    from mmu.linux.bug import MmBug
    from mmu.linux.policy import FreeTables
    from ucmmu.policy_checks import PolicyError, raised_at

    if isinstance(policy, FreeTables):
        return None
    label = policy_label(policy)
    if isinstance(error, MmBug):
        return f"{label} broke an invariant: {error}"
    if isinstance(error, PolicyError):
        return f"{label}: {error}"
    text = raised_at(error, set(_files_of(policy)))
    if text is not None:
        return f"{label}: {text}"
    last = _frames(error)[-1:]
    where = f" (in {last[0].name}(), {os.path.basename(last[0].filename)})" if last else ""
    return f"under {label}: {_what(error)}{where}"


def _files_of(policy: type[FreeTablesPolicy]) -> Iterator[str]:
    """The files of the user's that its methods are in, and all that were loaded for a policy."""
    modules = [cls.__module__ for cls in policy.__mro__ if cls is not object]
    own = [name for name in modules if not name.startswith(("mmu.", "ucmmu."))]
    loaded = [name for name in sys.modules if name.startswith((_KEY, PACKAGE))]
    for name in [*own, *loaded]:
        yield str(getattr(sys.modules.get(name), "__file__", ""))


def _frames(error: BaseException) -> StackSummary:
    """Where it was raised, the innermost last."""
    import traceback

    return traceback.extract_tb(error.__traceback__)
