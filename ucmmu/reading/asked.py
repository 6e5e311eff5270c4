# SPDX-License-Identifier: GPL-2.0-or-later
"""What a SELECT statement asks for, found in DuckDB's own syntax tree of it.

A statement that reads the events once is answered while they are read.  Another gets them from a
temporary file.  Either gets only the columns that it names, and the first only the kinds of events,
where its WHERE says which.  What is not understood here is read whole: only time is lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ucmmu.exit_codes import ExitCode, Failure

if TYPE_CHECKING:
    import duckdb

Node = dict[str, Any]
_TAKE_TABLES: Final = {"query", "query_table"}
"""Functions that read what a text names."""
_ANY_COLUMN: Final = {"PIVOT", "SHOW_REF", "TABLE_FUNCTION", "POSITIONAL_REFERENCE"}
"""Nodes that stand for columns without their names."""


@dataclass(frozen=True)
class Asked:
    """How often a statement names each table (in lower case, as SQL's names have none), whether it
    may name ``hidden`` ones in texts, whether it reads its events ``once`` for certain, the names
    of ``columns`` that may occur (None: all), and the names of ``events`` that it is limited to
    (empty: not).
    """

    tables: Counter[str]
    hidden: bool
    once: bool
    columns: frozenset[str] | None
    events: frozenset[str]


def asked(db: duckdb.DuckDBPyConnection, sql: str) -> Asked:
    """Take a statement apart. Raises Failure (USAGE) if it is not one SELECT."""
    try:
        sql.encode()
        ((text,),) = db.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
        return _taken_apart(json.loads(text))
    except UnicodeEncodeError:
        raise Failure(ExitCode.USAGE, "--query: the statement is not UTF-8") from None
    except RecursionError:
        raise Failure(ExitCode.USAGE, "--query: the statement is nested too deeply") from None


def _taken_apart(tree: Node) -> Asked:
    if tree.get("error"):
        raise Failure(ExitCode.USAGE, f"--query: {_complaint(tree)}")
    statements = tree.get("statements", [])
    if len(statements) != 1:
        raise Failure(ExitCode.USAGE, f"--query: takes one SELECT statement, not {len(statements)}")
    root = statements[0]["node"]
    nodes = list(_nodes(root))
    names = (str(node["table_name"]) for node in nodes if node.get("type") == "BASE_TABLE")
    tables = Counter(name.lower() for name in names)
    hidden = any(str(node.get("function_name", "")).lower() in _TAKE_TABLES for node in nodes)
    selects = sum(str(node.get("type", "")).endswith("_NODE") for node in nodes)
    once = tables["events"] == 1 and selects == 1 and not hidden
    return Asked(tables, hidden, once, _columns(nodes), _events(root) if once else frozenset())


def _complaint(tree: Node) -> str:
    message = str(tree.get("error_message", "cannot be parsed"))
    if "SELECT" in message and "serialize" in message.lower():
        return "takes a SELECT statement only: it reads a trace and changes nothing"
    return " ".join(message.split())


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _nodes(part)


def _columns(nodes: list[Node]) -> frozenset[str] | None:
    """Every name that stands for a column somewhere, None if ``*``, a NATURAL join or the name of
    a table may stand for all.
    """
    names: set[str] = set()
    tables = {
        str(node.get(key, "")).lower()
        for node in nodes
        if node.get("type") == "BASE_TABLE"
        for key in ("alias", "table_name")
    }
    for node in nodes:
        if node.get("type") == "STAR" or node.get("ref_type") == "NATURAL":
            return None
        if node.get("type") == "COLUMN_REF":
            if len(node["column_names"]) == 1 and str(node["column_names"][0]).lower() in tables:
                return None
            names.update(str(name).lower() for name in node["column_names"])
        if node.get("type") == "JOIN":
            names.update(str(name).lower() for name in node.get("using_columns", []))
        if node.get("type") in _ANY_COLUMN:
            return None
        if node.get("column_name_alias"):
            return None
    return frozenset(names)


def _events(root: Node) -> frozenset[str]:
    """The events that a condition at the top of WHERE allows."""
    where = root.get("where_clause")
    if not isinstance(where, dict):
        return frozenset()
    conditions = where["children"] if where.get("type") == "CONJUNCTION_AND" else [where]
    allowed: list[frozenset[str]] = []
    for condition in conditions:
        names = _event_names(condition)
        if names:
            allowed.append(names)
    return frozenset.intersection(*allowed) if allowed else frozenset()


def _event_names(condition: Node) -> frozenset[str]:
    """X of ``event = X``, or of ``event IN (X, ...)``."""
    if condition.get("type") == "COMPARE_EQUAL":
        sides = [condition.get("left", {}), condition.get("right", {})]
    elif condition.get("type") == "COMPARE_IN":
        sides = list(condition.get("children", []))
    else:
        return frozenset()
    columns = [side for side in sides if side.get("type") == "COLUMN_REF"]
    names = [_string(side) for side in sides if side.get("type") == "VALUE_CONSTANT"]
    if len(columns) != 1 or len(columns) + len(names) != len(sides):
        return frozenset()
    if columns[0]["column_names"][-1] != "event" or None in names:
        return frozenset()
    return frozenset(name for name in names if name is not None)


def _string(constant: Node) -> str | None:
    """The text of a string, as versions of DuckDB write it; None if it is something else."""
    literal = constant.get("literal")
    if isinstance(literal, dict) and literal.get("kind") == "STRING":
        return str(literal["text"])
    value = constant.get("value")
    if isinstance(value, dict) and value.get("type", {}).get("id") == "VARCHAR":
        return str(value["value"])
    return None
