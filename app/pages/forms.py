"""Forms: their fields as the JSON body of a call, and the API's errors at the fields.

A field is named by its JSON Pointer without the first slash (`requester/name`), so that body and
errors follow from the names alone.
"""

import re
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException

from app.pages.api import Problem

_MOST_FIELDS = 100
_boundary = re.compile(r'boundary="?([\w\'()+,./:=? -]{1,70})"?\s*$', re.ASCII)
_part = re.compile(
    rb'^content-disposition: *form-data; *name="([^"\r\n]*)"(; *filename=)?', re.I | re.M
)
TOKEN, KEY = "form_token", "form_key"
"""Fields of every form: against forgery, and the `Idempotency-Key` of what it does."""


class Form:
    """What a visitor has entered, and what is wrong with it."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = dict(values or {})
        self.key = self.values.pop(KEY, "") or secrets.token_hex(16)
        self.token = self.values.pop(TOKEN, "")
        self.errors: dict[str, list[str]] = {}
        """The messages of each field."""
        self.problem: Problem | None = None
        """Why the API has refused what was sent."""

    @classmethod
    def parse(cls, body: bytes, content_type: str, *, with_files: bool = False) -> "Form":
        """The fields of a body; of a repeated one the last. A file's content is a field in base64,
        so that a page can show it again, hidden. Raises HTTPException (400, 415).
        """
        media_type, _, parameters = content_type.partition(";")
        try:
            match media_type.strip().lower():
                case "application/x-www-form-urlencoded":
                    fields = parse_qsl(
                        body.decode("ascii"),
                        keep_blank_values=True,
                        errors="strict",
                        max_num_fields=_MOST_FIELDS,
                    )
                case "multipart/form-data" if with_files:
                    fields = [*_parts(body, parameters)]
                case _ if body:
                    raise HTTPException(415)
                case _:
                    fields = []
        except ValueError:
            raise HTTPException(400) from None
        # Browsers end lines with CR LF.
        return cls({name: value.replace("\r\n", "\n") for name, value in fields})

    def __getitem__(self, name: str) -> str:
        """What was entered in a field; an empty text if nothing was."""
        return self.values.get(name, "")

    def body(self, *names: str) -> dict[str, Any]:
        """The JSON body of these fields. Those that were left empty are absent."""
        body: dict[str, Any] = {}
        for name in names:
            value = self[name].strip()
            if value:
                *parents, last = name.split("/")
                place = body
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[last] = value
        return body

    def refuse(self, problem: Problem, fields: Mapping[str, str] | None = None) -> None:
        """Note why the API has refused: each error at its field, the others above the form.

        `fields` names the field at which a problem without pointers belongs, by its code.
        """
        self.problem = problem
        at = (fields or {}).get(problem.code)
        if at is not None:
            self.errors.setdefault(at, []).append(problem.detail)
        for error in problem.body.get("errors", ()):
            name = str(error.get("pointer", "")).removeprefix("/")
            self.errors.setdefault(name, []).append(str(error.get("message", "")))

    @property
    def is_wrong(self) -> bool:
        return self.problem is not None


def _parts(body: bytes, parameters: str) -> Iterator[tuple[str, str]]:
    """The fields of a form that may have files (RFC 7578). Raises ValueError."""
    boundary = _boundary.search(parameters)
    if boundary is None:
        raise ValueError
    border = b"\r\n--" + boundary[1].encode()
    first, *parts, last = (b"\r\n" + body).split(border, _MOST_FIELDS + 1)
    if first or not last.startswith(b"--"):
        raise ValueError
    for part in parts:
        head, separator, content = part.partition(b"\r\n\r\n")
        found = _part.search(head)
        if found is None or not separator:
            raise ValueError
        is_file = found[2] is not None
        yield found[1].decode(), b64encode(content).decode() if is_file else content.decode()
