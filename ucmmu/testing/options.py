# SPDX-License-Identifier: GPL-2.0-or-later
"""Which machines a test runs on: the marker ``ucmmu``, the ini options, and what is used without.

::

    @pytest.mark.ucmmu(policy=["never", "refcount"], cpus=2, engine="c")

Each keyword takes a value, or a list of values for each of which the test runs once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from mmu.errors import MmuError
from mmu.linux.free_tables import FreeTablesPolicy
from mmu.linux.policy import FreeLevels, FreeTables, check_free_levels
from mmu.linux.state import TablePolicy, policy_number
from mmu.x86 import Feature, Geometry, load_geometry
from ucmmu.exit_codes import Failure
from ucmmu.options import is_policy_file
from ucmmu.policy_checks import BadPolicy, check_class
from ucmmu.policy_file import find_policy, load_policy

ENGINES = ("c", "python")
FIDELITIES = ("fast", "exact", "trace")
POLICIES = tuple(policy.label for policy in FreeTables)
FREE_LEVELS = tuple(levels.label for levels in FreeLevels)
MAX_CPUS = 64
MIN_RAM = 1 << 20


class WrongOption(Exception):
    """A marker or an ini option asks for what there is not; the text is one line."""


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """One machine that a test runs on.

    ``engine``: "c" or "python". ``policy``: when empty PTE tables are freed, as `ucmmu run
    --free-tables` names it. ``free_levels``: "pte", "pmd" or "pud", as --free-levels, for policies
    that count references. ``cpus``: 1 to 64. ``seed``: of the schedule and of all random numbers
    of guests. ``geometry``: a shipped geometry's name, a file's path, or a mmu.x86.Geometry.
    ``levels``: of paging, 4 or 5. ``fidelity``: "fast" without a TLB, "exact" with one, "trace"
    with an event for each instruction; None: "trace" for guests, else "exact". ``ram``: bytes.
    """

    engine: str = "c"
    policy: str | type[TablePolicy] = "refcount"
    cpus: int = 1
    seed: int = 0
    geometry: str | Geometry = "tiny"
    levels: int = 4
    fidelity: str | None = None
    ram: int = 64 << 20
    free_levels: str = "pte"

    @property
    def exact(self) -> bool:
        """Whether accesses go through the TLB model."""
        return self.fidelity != "fast"

    @property
    def free_tables(self) -> FreeTables | type[TablePolicy]:
        """The policy."""
        return find_policy(self.policy) if isinstance(self.policy, str) else self.policy

    @property
    def levels_freed(self) -> FreeLevels:
        """Up to which level."""
        return FreeLevels.from_label(self.free_levels)


NAMES = tuple(field.name for field in fields(MachineOptions))


def machines(
    marked: Mapping[str, Any], defaults: Sequence[tuple[str, str]], *, has_policy: bool
) -> list[MachineOptions]:
    """The machines that a test runs on.

    ``marked`` is what its markers say; ``defaults`` the pairs of engine and policy it runs on where
    they do not. ``has_policy``: whether the test has a kernel, so that the policy matters. Raises
    WrongOption.
    """
    if unknown := marked.keys() - set(NAMES):
        raise WrongOption(f"no keyword {', '.join(sorted(unknown))}: known are {', '.join(NAMES)}")
    choices = {name: _listed(value) for name, value in marked.items()}
    for name, values in choices.items():
        for value in values:
            _check(name, value)
    pairs = _pairs(choices, defaults, has_policy=has_policy)
    rest = {name: values for name, values in choices.items() if name not in ("engine", "policy")}
    made = [
        MachineOptions(engine, policy, **dict(zip(rest, values, strict=True)))
        for engine, policy in pairs
        for values in product(*rest.values())
    ]
    for machine in made:
        _check_together(machine)
    return made


def ids(made: Sequence[MachineOptions]) -> list[str]:
    """A name for each machine: its engine, and in what it differs from others of the test."""
    varied = ["engine"] + [
        name
        for name in NAMES[1:]
        if any(getattr(one, name) != getattr(made[0], name) for one in made)
    ]
    return ["-".join(_label(name, getattr(one, name)) for name in varied) for one in made]


def default_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """The ini option ``ucmmu_machines``: words as "c/refcount". Raises WrongOption."""
    pairs = []
    for word in words:
        engine, _, policy = word.partition("/")
        _check("engine", engine)
        _check("policy", policy)
        pairs.append((engine, policy))
    return pairs


def _pairs(
    choices: Mapping[str, Sequence[Any]],
    defaults: Sequence[tuple[str, str]],
    *,
    has_policy: bool,
) -> list[tuple[str, str]]:
    engines = choices.get("engine") or list(dict.fromkeys(engine for engine, _ in defaults))
    policies = choices.get("policy") or list(dict.fromkeys(policy for _, policy in defaults))
    if not has_policy:
        policies = ["refcount"]
    pairs = list(product(engines, policies))
    if "policy" in choices or not has_policy:
        return pairs
    return [pair for pair in pairs if pair in defaults] or pairs


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, range)) else [value]


def _label(name: str, value: object) -> str:
    if isinstance(value, type):
        return value.__name__
    if name in ("engine", "policy", "fidelity", "free_levels"):
        return str(value)
    if isinstance(value, Geometry):
        return value.name
    return f"{name}={value}" if name != "geometry" else str(value)


def _check(name: str, value: object) -> None:
    known: Mapping[str, Sequence[str]] = {
        "engine": ENGINES,
        "policy": POLICIES,
        "fidelity": FIDELITIES,
        "free_levels": FREE_LEVELS,
    }
    if name == "policy" and (isinstance(value, type) or is_policy_file(str(value))):
        _check_own_policy(value)
    elif name in known:
        if value not in known[name]:
            raise WrongOption(f"no {name} {value!r}: known are {', '.join(known[name])}")
    elif name == "geometry":
        _check_geometry(value)
    elif isinstance(value, bool) or not isinstance(value, int):
        raise WrongOption(f"{name} must be a whole number, not {value!r}")
    elif name == "levels" and value not in (4, 5):
        raise WrongOption(f"levels of paging must be 4 or 5, not {value}")
    elif name == "cpus" and not 1 <= value <= MAX_CPUS:
        raise WrongOption(f"cpus must be 1 to {MAX_CPUS}, not {value}")
    elif name == "ram" and value < MIN_RAM:
        raise WrongOption(f"ram must be at least {MIN_RAM} bytes, not {value}")
    elif name == "seed" and value < 0:
        raise WrongOption(f"seed must not be negative: {value}")


def _check_own_policy(value: object) -> None:
    if isinstance(value, type):
        if not issubclass(value, FreeTablesPolicy):
            raise WrongOption(f"policy {value.__name__} is no subclass of FreeTablesPolicy")
        try:
            check_class(value)
        except BadPolicy as error:
            raise WrongOption(f"policy {error.told()}") from None
        return
    try:
        load_policy(str(value))
    except Failure as failure:
        raise WrongOption(failure.line) from None


def _check_geometry(value: object) -> None:
    if isinstance(value, Geometry):
        return
    if not isinstance(value, str):
        raise WrongOption(f"geometry must be a name, a path or a Geometry, not {value!r}")
    try:
        load_geometry(value)
    except MmuError as error:
        raise WrongOption(str(error)) from None


def _check_together(machine: MachineOptions) -> None:
    label, policy = _label("policy", machine.policy), machine.free_tables
    try:
        check_free_levels(label, policy_number(policy), machine.levels_freed)
    except MmuError as error:
        raise WrongOption(str(error)) from None
    geometry = machine.geometry
    if isinstance(geometry, str):
        geometry = load_geometry(geometry)
    if machine.levels == 5 and Feature.LA57.name.lower() not in geometry.processor.features:
        raise WrongOption(f"levels=5: the processor of geometry {geometry.name} has no LA57")
