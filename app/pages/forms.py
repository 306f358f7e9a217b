"""Forms: their fields as the JSON body of a call, and the API's errors at the fields.

A field is named by its JSON Pointer without the first slash (`requester/name`), so that body and
errors follow from the names alone.
"""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException

from app.pages.api import Problem

_MOST_FIELDS = 100
MEDIA_TYPE = "application/x-www-form-urlencoded"
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
    def parse(cls, body: bytes) -> "Form":
        """The fields of a body; of a repeated one the last. Raises HTTPException (400)."""
        try:
            fields = parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MOST_FIELDS,
            )
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
