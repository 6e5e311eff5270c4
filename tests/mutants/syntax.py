# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the mutants of a source file, and its blocks, in its syntax tree (tree-sitter)."""

from __future__ import annotations

import fnmatch
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tree_sitter_c
import tree_sitter_python
from tree_sitter import Language, Node, Parser

from tests.mutants.operators import OPERATORS, Context, Edit, constant_key, field_of, text_of

SOURCES = ("native/**/*.[ch]", "mmu/**/*.py")
"""What is mutated unless the command line says otherwise."""
OUTSIDE = "(file)"
"""The function of a mutant that stands in none, nor in what is given a name."""
_LEFT_OUT = {
    *("comment", "string", "string_literal", "char_literal", "preproc_include", "type"),
    *("assert_statement", "decorator", "import_statement", "import_from_statement"),
    *("future_import_statement", "static_assert_declaration", "attribute_specifier"),
    *("gnu_asm_expression", "preproc_if", "preproc_elif"),
}
"""Nodes with nothing to mutate below: types, imports, what only a compiler or a reader sees."""
_DECLARING = {"assignment", "init_declarator", "enumerator", "type_definition"}
"""What gives a mutant outside functions its name."""
_STATEMENTS = {"expression_statement"}
"""Of Python, mutated in functions only: without a declaration a module cannot be imported."""
_DECLARED = re.compile(rb"/\* cffi-begin \*/.*?/\* cffi-end \*/", re.DOTALL)


class Unknown(Exception):
    """The command line names what is not there."""


@dataclass(frozen=True, slots=True)
class Block:
    """The statements between two braces, or of one indentation, inside a function."""

    function: str
    number: int
    """Among those of its function."""
    at: int
    """Byte before which its first statement stands."""
    end: int
    """Byte after the block."""
    lead: str
    """What parts a statement put there from the first: white space."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one source file.

    ``number`` counts the mutants of one operator in one function, so that an id stays while
    nothing of its kind is added before it.
    """

    file: str
    function: str
    """Or the constant, the table, the macro."""
    operator: str
    number: int
    line: int
    diff: str
    """The changed line, [-old-]{+new+} in it."""
    edit: Edit
    block: int | None
    """Index into ``Source.blocks``, None outside functions."""

    @property
    def id(self) -> str:
        """``file:function:operator:number``."""
        return f"{self.file}:{self.function}:{self.operator}:{self.number}"

    @property
    def folder(self) -> str:
        """Where the file lies."""
        return str(Path(self.file).parent)

    def applied_to(self, text: bytes) -> bytes:
        """The source with the change, of as many lines as before."""
        old = text[self.edit.start : self.edit.end]
        lines = b"\n" * old.count(b"\n") if self.file.endswith((".c", ".h")) else b""
        return text[: self.edit.start] + self.edit.text.encode() + lines + text[self.edit.end :]


@dataclass(frozen=True, slots=True)
class Source:
    """A source file, its blocks and its mutants."""

    file: str
    text: bytes
    blocks: list[Block]
    mutants: list[Mutant]


@cache
def _parser(python: bool) -> Parser:
    grammar = tree_sitter_python if python else tree_sitter_c
    return Parser(Language(grammar.language()))


def parse(file: str, text: bytes) -> Source:
    """Find everything. ``file`` tells the language by its suffix."""
    python = file.endswith(".py")
    root = _parser(python).parse(text).root_node
    finder = _Finder(file, text, Context(python, _constants(root)))
    finder.visit(root, "", None)
    return Source(file, text, finder.blocks, finder.mutants)


def _constants(root: Node) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for node in _below(root):
        if node.type in ("identifier", "field_identifier") and (key := constant_key(node)):
            found.setdefault(key, set()).add(text_of(node))
    return {key: sorted(names) for key, names in found.items()}


def _below(node: Node) -> Iterator[Node]:
    if node.type not in _LEFT_OUT:
        yield node
        for child in node.children:
            yield from _below(child)


class _Finder:
    """One walk over a tree."""

    def __init__(self, file: str, text: bytes, context: Context) -> None:
        self._file, self._text, self._context = file, text, context
        self._declared = [match.span() for match in _DECLARED.finditer(text)]
        self._counted: Counter[tuple[str, str]] = Counter()
        self._numbers: Counter[str] = Counter()
        self.blocks: list[Block] = []
        self.mutants: list[Mutant] = []

    def visit(self, node: Node, function: str, block: int | None) -> None:
        """The node and all below; ``block`` is the one that it is in."""
        if node.type in _LEFT_OUT or self._is_declared(node):
            return
        if node.type in ("function_definition", "class_definition"):
            function = self._name_of(node, function)
        elif node.type in _DECLARING and block is None:
            function = self._declared_name(node, function)
        elif node.type in ("compound_statement", "block") and function:
            block = self._block(node, function, block)
        if node.type in ("preproc_def", "preproc_function_def"):
            self._define(node)
        if block is not None or not self._context.python or node.type not in _STATEMENTS:
            for operator, edits in OPERATORS.items():
                for edit in edits(node, self._context):
                    self._found(operator, edit, function, block)
        for child in node.children:
            if node.type != "raise_statement":  # the words of an exception
                self.visit(child, function, block)

    def _is_declared(self, node: Node) -> bool:
        """Between cffi-begin and cffi-end stand the numbers that C and Python share."""
        return any(
            start <= node.start_byte and node.end_byte <= end for start, end in self._declared
        )

    @staticmethod
    def _name_of(node: Node, outer: str) -> str:
        name = node.child_by_field_name("name")
        if name is not None:
            return f"{outer}.{text_of(name)}".lstrip(".")
        declarator = node.child_by_field_name("declarator")
        while declarator is not None and declarator.type != "identifier":
            declarator = declarator.child_by_field_name("declarator")
        return text_of(declarator) if declarator is not None else outer

    def _declared_name(self, node: Node, outer: str) -> str:
        name = node.child_by_field_name("left")
        if name is not None:
            return f"{outer}.{text_of(name)}".lstrip(".") if name.type == "identifier" else outer
        return self._name_of(node, outer) if not self._context.python else outer

    def _block(self, node: Node, function: str, outer: int | None) -> int | None:
        """Number a block; the body of a switch or a class counts as what is around it."""
        owner = node.parent
        assert owner is not None
        if owner.type in ("switch_statement", "class_definition", "match_statement"):
            return outer
        if not self._context.python:
            at, lead = node.start_byte + 1, " "
        else:
            statements = [child for child in node.named_children if child.type != "comment"]
            if owner.type == "function_definition" and _is_docstring(statements[0]):
                statements = statements[1:]
            if not statements:
                return outer
            at = statements[0].start_byte
            begin = self._text.rindex(b"\n", 0, at) + 1
            before = self._text[begin:at].decode()
            lead = "; " if before.strip() else "\n" + before
        self.blocks.append(Block(function, self._numbers[function], at, node.end_byte, lead))
        self._numbers[function] += 1
        return len(self.blocks) - 1

    def _define(self, node: Node) -> None:
        """A macro's value, which the grammar leaves as text: parse it as an expression."""
        value = node.child_by_field_name("value")
        if value is None or value.text is None:
            return
        before = b"int x = "
        root = _parser(False).parse(before + value.text.rstrip() + b";").root_node
        if root.has_error:
            return
        shift = value.start_byte - len(before)
        name = text_of(field_of(node, "name"))
        for below in _below(root):
            for operator, edits in OPERATORS.items():
                for edit in edits(below, self._context):
                    moved = Edit(edit.start + shift, edit.end + shift, edit.text)
                    self._found(operator, moved, name, None)

    def _found(self, operator: str, edit: Edit, function: str, block: int | None) -> None:
        key = function or OUTSIDE, operator
        begin = self._text.rfind(b"\n", 0, edit.start) + 1
        end = self._text.find(b"\n", edit.end)
        end = len(self._text) if end < 0 else end
        old = self._text[edit.start : edit.end]
        parts = (self._text[begin : edit.start], b"[-", old, b"-]{+", edit.text.encode(), b"+}")
        words = b"".join((*parts, self._text[edit.end : end])).decode().split()
        line = self._text.count(b"\n", 0, edit.start) + 1
        found = (self._file, *key, self._counted[key], line, " ".join(words), edit, block)
        self.mutants.append(Mutant(*found))
        self._counted[key] += 1


def _is_docstring(node: Node) -> bool:
    return node.type == "expression_statement" and node.named_children[0].type == "string"


def find(root: Path, patterns: Sequence[str] = SOURCES) -> dict[str, Source]:
    """The sources below ``root`` that match a pattern, by name. Unknown if one matches none."""
    sources: dict[str, Source] = {}
    for pattern in patterns:
        paths = [path for path in root.glob(pattern) if path.suffix in (".c", ".h", ".py")]
        if not paths:
            raise Unknown(f"no source file matches {pattern}")
        for path in paths:
            name = path.relative_to(root).as_posix()
            sources[name] = parse(name, path.read_bytes())
    return dict(sorted(sources.items()))


def choose(
    sources: dict[str, Source],
    only: Sequence[str] = (),
    operators: Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
) -> list[Mutant]:
    """Mutants whose id has one of the texts in it (or matches it as a pattern).

    A sample takes one at random of each file in turn, so that no file is left out for its size.
    """
    by_file = [
        [
            mutant
            for mutant in source.mutants
            if (not operators or mutant.operator in operators)
            and (not only or any(matches(mutant.id, text) for text in only))
        ]
        for source in sources.values()
    ]
    if sample is None:
        return [mutant for mutants in by_file for mutant in mutants]
    chance = random.Random(seed)
    for mutants in by_file:
        chance.shuffle(mutants)
    rounds = max(map(len, by_file), default=0)
    taken = [mutants[i] for i in range(rounds) for mutants in by_file if i < len(mutants)]
    return taken[:sample]


def matches(name: str, text: str) -> bool:
    """Whether the text is part of the name, or a pattern with * that matches all of it."""
    return fnmatch.fnmatchcase(name, text) if "*" in text else text in name
