# SPDX-License-Identifier: GPL-2.0-or-later
"""The mutation operators: what each makes of a node of the syntax tree, in C and in Python.

An operator yields edits: the bytes from ``start`` to ``end`` become ``text``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tree_sitter import Node

_EACH_OTHER = (
    *("< <=", "> >=", "== !=", "+ -", "<< >>", "+= -=", "*= /=", "<<= >>=", "++ --"),
    *("* /", "in not_in", "is is_not"),
)
_ONE_WAY = ("// *", "% /", "//= *=", "|= =", "&= =", "^= =", "^ |")
SWAPPED = {
    old.replace("_", " "): new.replace("_", " ")
    for pair in map(str.split, (*_EACH_OTHER, *_ONE_WAY))
    for old, new in ((pair, pair[::-1]) if " ".join(pair) in _EACH_OTHER else (pair,))
}
"""Arithmetic and relational operators, and what swap-operator makes of each."""
JOINING = {"&&", "||", "and", "or", "&", "|"}
"""Operators of which drop-operand leaves one operand."""
BINARY = {"binary_expression", "binary_operator", "boolean_operator"}
UNARY = {"unary_expression", "unary_operator", "not_operator"}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9]*_?[A-Z0-9_]*")
_JUMPS = {"break_statement", "continue_statement", "goto_statement", "return_statement"}
TRUTH = {"true": "false", "false": "true", "True": "False", "False": "True"}
_INTEGER = re.compile(r"(0[xX][0-9a-fA-F]+|-?[0-9]+)([uUlL]*)")


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the source text, in bytes."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Context:
    """What an operator must know besides the node."""

    python: bool
    constants: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Names of constants in the file, in order, by owner (``Access`` in ``Access.READ``) and
    prefix.
    """


Operator = Callable[[Node, Context], Iterator[Edit]]


def text_of(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode()


def field_of(node: Node, name: str) -> Node:
    """A field that the grammar promises."""
    child = node.child_by_field_name(name)
    assert child is not None, (node.type, name)
    return child


def _becomes(node: Node, text: str) -> Edit:
    return Edit(node.start_byte, node.end_byte, text)


def _is_last_of_function(node: Node) -> bool:
    body = node.parent
    if body is None or body.parent is None or body.parent.type != "function_definition":
        return False
    return body.named_children[-1] == node


def _is_inert(node: Node) -> bool:
    """A statement that does nothing: a docstring, an ellipsis, a bare annotation, (void)x."""
    child = node.named_children[0] if node.named_children else None
    if child is None or child.type in ("string", "concatenated_string", "ellipsis"):
        return True
    if child.type == "assignment":
        return child.child_by_field_name("right") is None
    return text_of(node).startswith("(void)")


def drop_statement(node: Node, context: Context) -> Iterator[Edit]:
    """Leave out an assignment, a call, a return that is not the last statement, a raise, a jump."""
    nothing = "pass" if context.python else ";"
    if node.type in ("expression_statement", "raise_statement", "delete_statement"):
        if not _is_inert(node):
            yield _becomes(node, nothing)
    elif node.type in _JUMPS and (
        node.type != "return_statement"
        or not _is_last_of_function(node)
        or (context.python and node.named_children)
    ):
        yield _becomes(node, nothing)


def _condition(node: Node) -> Node | None:
    """The condition of an if or a conditional expression, without parentheses."""
    if node.type in ("if_statement", "elif_clause"):
        condition = node.child_by_field_name("condition")
    elif node.type == "conditional_expression":
        condition = node.child_by_field_name("condition") or node.named_children[1]
    elif node.type == "if_clause":
        condition = node.named_children[0]
    else:
        return None
    while condition is not None and condition.type == "parenthesized_expression":
        condition = condition.named_children[0]
    return condition


def _swaps(node: Node) -> str | None:
    """What swap-operator makes of the node's own operator."""
    if node.type == "comparison_operator":
        between = [child for child in node.children if not child.is_named]
        words = " ".join(text_of(child) for child in between)
        return SWAPPED.get(words) if len(node.named_children) == 2 else None
    operator = node.child_by_field_name("operator")
    return SWAPPED.get(text_of(operator)) if operator is not None else None


def negate_condition(node: Node, context: Context) -> Iterator[Edit]:
    """Make an if, an elif or a conditional expression take the other way.

    Not where another operator does just this: ``!x`` is left to drop-not, ``==`` to swap-operator.
    """
    condition = _condition(node)
    if condition is None or text_of(condition) == "TYPE_CHECKING":
        return
    if condition.type in UNARY and text_of(condition).startswith(("!", "not ")):
        return
    if _swaps(condition) in ("==", "!=", "in", "not in", "is", "is not"):
        return
    yield _becomes(condition, f"{'not ' if context.python else '!'}({text_of(condition)})")


def skip_loop(node: Node, context: Context) -> Iterator[Edit]:
    """Let a loop run not at all; the body of a do-while once."""
    if node.type in ("while_statement", "do_statement"):
        condition = node.child_by_field_name("condition")
        if condition is not None:
            yield _becomes(condition, "False" if context.python else "(0)")
    elif node.type == "for_statement":
        over = node.child_by_field_name("right" if context.python else "condition")
        if over is not None:
            yield _becomes(over, "()" if context.python else "0")


def drop_operand(node: Node, context: Context) -> Iterator[Edit]:
    """Leave out a conjunct, a disjunct, or a side of & or |."""
    if node.type not in BINARY or text_of(field_of(node, "operator")) not in JOINING:
        return
    yield _becomes(node, text_of(field_of(node, "right")))
    yield _becomes(node, text_of(field_of(node, "left")))


def drop_not(node: Node, context: Context) -> Iterator[Edit]:
    """Leave out a !, not, ~, or the minus of what is no literal."""
    if node.type not in UNARY:
        return
    argument = field_of(node, "argument")
    operator = text_of(node)[0]
    if operator in "!n~" or (
        operator == "-" and argument.type not in ("number_literal", "integer")
    ):
        yield _becomes(node, f"{text_of(argument)}")


def swap_operator(node: Node, context: Context) -> Iterator[Edit]:
    """Put another arithmetic or relational operator: < and <=, + and -, == and !=, |= and =."""
    new = _swaps(node)
    if new is None:
        return
    if node.type == "comparison_operator":
        between = [child for child in node.children if not child.is_named]
        yield Edit(between[0].start_byte, between[-1].end_byte, new)
    elif node.type not in UNARY:
        yield _becomes(field_of(node, "operator"), new)


def constant_key(node: Node) -> tuple[str, str] | None:
    """Owner and prefix of a name written as constants are, where it stands as a value."""
    name, parent = text_of(node), node.parent
    if not CONSTANT.fullmatch(name) or len(name) < 2 or parent is None:
        return None
    owner = ""
    if parent.type in ("attribute", "field_expression"):
        if parent.child_by_field_name("object") == node or parent.named_children[0] == node:
            return None
        owner, outer = text_of(parent.named_children[0]), parent.parent
        if outer is not None and outer.child_by_field_name("function") == parent:
            return None
    elif parent.type not in VALUES or parent.child_by_field_name("function") == node:
        return None
    if parent.type in ("assignment", "keyword_argument") and node == parent.named_children[0]:
        return None
    return owner, name.split("_")[1 if name.startswith("_") else 0]


VALUES = {
    *BINARY,
    *UNARY,
    *("comparison_operator", "conditional_expression", "parenthesized_expression"),
    *("argument_list", "assignment_expression", "assignment", "augmented_assignment"),
    *("return_statement", "init_declarator", "case_statement", "initializer_pair", "subscript"),
    *("subscript_expression", "cast_expression", "keyword_argument", "tuple", "list", "set"),
    *("initializer_list", "expression_list", "if_statement", "while_statement"),
}
"""Nodes in which a name is a value, and neither a type nor a declaration."""


def swap_constant(node: Node, context: Context) -> Iterator[Edit]:
    """Put 0 for 1, 1 for 0, n + 1 for n, false for true, the file's next constant of the name's
    prefix for a named one.
    """
    name = text_of(node)
    if node.type in ("number_literal", "integer"):
        number = _INTEGER.fullmatch(name.replace("_", ""))
        if number is None or _is_size(node):
            return
        value = int(number[1], 16 if number[1][:2] in ("0x", "0X") else 10)
        new = 0 if value == 1 else value + 1
        yield _becomes(node, (hex(new) if number[1][:2] in ("0x", "0X") else str(new)) + number[2])
    elif name in TRUTH and node.type in TRUTH | {"identifier": ""}:
        yield _becomes(node, TRUTH[name])
    elif node.type in ("identifier", "field_identifier"):
        key = constant_key(node)
        names = context.constants.get(key, []) if key is not None else []
        if len(names) > 1 and name in names:
            yield _becomes(node, names[(names.index(name) + 1) % len(names)])


def _is_size(node: Node) -> bool:
    """The length of an array or of a bit-field, whose change is no change of behaviour."""
    return node.parent is not None and node.parent.type in ("array_declarator", "bitfield_clause")


OPERATORS: dict[str, Operator] = {
    "drop-statement": drop_statement,
    "negate-condition": negate_condition,
    "skip-loop": skip_loop,
    "drop-operand": drop_operand,
    "drop-not": drop_not,
    "swap-constant": swap_constant,
    "swap-operator": swap_operator,
}
