"""Answers of the generated calls: the one that was hoped for, or an exception."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from assistenza_client.generated.types import UNSET, Unset

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Refused(Exception):
    """The service answered with a problem (RFC 9457).

    `problem` is its generated class, such as `NotEntitledProblem`, with the members of its own.
    `code` tells the kind (`not_entitled`), `status` is the HTTP status, `detail` is for people, in
    the language of `Accept-Language`.
    """

    def __init__(self, problem: object) -> None:
        self.problem = problem
        code = getattr(problem, "code", None)
        self.code = None if code is None else str(code)
        self.status: int | None = getattr(problem, "status", None)
        self.detail: str | None = getattr(problem, "detail", None)
        super().__init__(f"{self.status} {self.code}: {self.detail}" if code else repr(problem))


class Page(Protocol[T_co]):
    """A page of a list: `CustomerPage`, `CasePage` and the others."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next_cursor(self) -> str | Unset | None: ...


def expect(kind: type[T], answer: object) -> T:
    """The answer of a call, if it is of this class. Raises Refused for any other."""
    if isinstance(answer, kind):
        return answer
    raise Refused(answer)


def every(page: type[Page[T]], call: Callable[..., object], **arguments: Any) -> Iterator[T]:
    """All items of a list, page after page: `every(CasePage, list_cases.sync, client=client)`.

    `limit` is the size of a page. Raises Refused.
    """
    cursor: str | Unset = UNSET
    while True:
        answer = expect(page, call(cursor=cursor, **arguments))
        yield from answer.items
        if not isinstance(answer.next_cursor, str):
            return
        cursor = answer.next_cursor


async def every_async(
    page: type[Page[T]], call: Callable[..., Awaitable[object]], **arguments: Any
) -> AsyncIterator[T]:
    """The same with the `asyncio` variant of a call."""
    cursor: str | Unset = UNSET
    while True:
        answer = expect(page, await call(cursor=cursor, **arguments))
        for item in answer.items:
            yield item
        if not isinstance(answer.next_cursor, str):
            return
        cursor = answer.next_cursor
