"""A client of the Assistenza API.

`generated` holds a function for each call and a class for each shape, made of the OpenAPI document.
This package adds what a program needs around them: `connect` makes a client that repeats what may
be repeated, `expect` returns the answer or raises `Refused`, `every` reads a list to its end.
"""

from assistenza_client.answers import Refused, every, every_async, expect
from assistenza_client.sessions import AsyncSession, Retries, Session, connect

__all__ = [
    "AsyncSession",
    "Refused",
    "Retries",
    "Session",
    "connect",
    "every",
    "every_async",
    "expect",
]
