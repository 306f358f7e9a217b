"""Edits of source code that are addressed by its syntax tree, so that renaming a local breaks none.

An edit names a function by its qualified name (`renew`, `Ledger.reverse`), or a constant of the
module, and what to look for in it. It raises LookupError unless it finds exactly one place.
"""

import ast
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

Edit = Callable[[str], str]
"""From the source of a module to the changed source."""


def drop(function: str, mentions: str) -> Edit:
    """Delete the innermost statement of a function that calls or raises `mentions`.

    An `if` whose whole body is that statement goes with it, its condition included.
    """

    def edit(source: str) -> str:
        (statement,) = _only(list(_statements(source, function, mentions)), function, mentions)
        return _replaced(source, statement, "pass")

    return edit


def condition(function: str, mentions: str, new: str) -> Edit:
    """Replace the condition of the `if` in a function whose body or condition has `mentions`."""

    def edit(source: str) -> str:
        found = [
            node
            for node in ast.walk(_function(source, function))
            if isinstance(node, ast.If)
            and (
                _mentions(node.test, mentions)
                or any(_mentions(statement, mentions) for statement in node.body)
            )
        ]
        # Of nested ones the innermost.
        inner = [node for node in found if not any(_within(other, node) for other in found)]
        (one,) = _only(inner, function, mentions)
        return _replaced(source, one.test, new)

    return edit


def expression(function: str, old: str, new: str) -> Edit:
    """Replace an expression of a function, compared as a syntax tree."""
    wanted = ast.dump(ast.parse(old, mode="eval").body)

    def edit(source: str) -> str:
        found = [
            node
            for node in ast.walk(_function(source, function))
            if isinstance(node, ast.expr) and ast.dump(node) == wanted
        ]
        (one,) = _only(found, function, old)
        return _replaced(source, one, new)

    return edit


def text(constant: str, pattern: str, new: str) -> Edit:
    """Replace what a regular expression finds in the texts (SQL) of a constant of the module."""

    def edit(source: str) -> str:
        assigned = [
            node
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign | ast.AnnAssign) and _name_of(node) == constant
        ]
        (one,) = _only(assigned, constant, pattern)
        start, end = _span(source, one)
        changed, times = re.subn(pattern, new.replace("\\", r"\\"), source[start:end])
        if times != 1:
            raise LookupError(f"{constant}: {pattern!r} is found {times} times")
        return source[:start] + changed + source[end:]

    return edit


def _statements(source: str, function: str, mentions: str) -> Iterator[ast.stmt]:
    found = [
        node
        for node in ast.walk(_function(source, function))
        if isinstance(node, ast.stmt)
        and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _mentions(node, mentions)
    ]
    for node in found:
        if any(_within(other, node) for other in found):
            continue
        around = [
            other
            for other in found
            if isinstance(other, ast.If) and other.body == [node] and not other.orelse
        ]
        yield around[0] if around and isinstance(node, ast.Raise) else node


def _mentions(node: ast.AST, name: str) -> bool:
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and _last_name(one.func) == name:
            return True
        if isinstance(one, ast.Raise) and one.exc is not None and _last_name(one.exc) == name:
            return True
    return False


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return _last_name(called)
    return None


def _function(source: str, qualified: str) -> ast.AST:
    place: ast.AST = ast.parse(source)
    for name in qualified.split("."):
        inside = [
            node
            for node in ast.iter_child_nodes(place)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == name
        ]
        if len(inside) != 1:
            raise LookupError(f"there is no single {qualified}")
        place = inside[0]
    return place


def _name_of(node: ast.Assign | ast.AnnAssign) -> str | None:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else None


def _only(found: list[T], where: str, what: str) -> list[T]:
    if len(found) != 1:
        raise LookupError(f"{where}: {what!r} is found {len(found)} times")
    return found


def _within(inner: ast.AST, outer: ast.AST) -> bool:
    return inner is not outer and any(node is inner for node in ast.walk(outer))


def _span(source: str, node: ast.AST) -> tuple[int, int]:
    """Where a node begins and ends, as offsets in the source (its columns count UTF-8 bytes)."""
    lines = source.splitlines(keepends=True)

    def offset(line: int, column: int) -> int:
        before = lines[line - 1].encode()[:column].decode()
        return sum(len(one) for one in lines[: line - 1]) + len(before)

    assert isinstance(node, ast.expr | ast.stmt)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (
        offset(node.lineno, node.col_offset),
        offset(node.end_lineno, node.end_col_offset),
    )


def _replaced(source: str, node: ast.AST, new: str) -> str:
    start, end = _span(source, node)
    return source[:start] + new + source[end:]
