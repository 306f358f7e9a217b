"""A row's cells, read as the fields of the API, by the same types."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from app.errors import InputError, InvalidInput
from app.http.errors.invalid_input import explain
from app.http.fields import Input, whole_number
from app.policy.document import Policies

Model = TypeVar("Model", bound=Input)


@dataclass(frozen=True)
class Moment:
    """When an import happens, and the policy; read once for all files."""

    now: datetime
    today: date
    policies: Policies


def read_as(model: type[Model], body: dict[str, Any]) -> Model:
    """The cells as the API would read a body with them. Raises InvalidInput."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = ({**one, "loc": ("body", *one["loc"])} for one in error.errors())
        raise InvalidInput(*explain(found, body)) from error


def with_number(cells: dict[str, str], name: str) -> dict[str, Any]:
    """The cells, one of them as a whole number; what is not one is left for the type to refuse."""
    number = whole_number(cells.get(name, ""))
    return dict(cells) if number is None else {**cells, name: number}


def both_or_neither(given: Input, day: str, reason: str) -> list[InputError]:
    """What is missing of a day and its reason, which go together."""
    missing = [name for name in (day, reason) if getattr(given, name) is None]
    return [InputError(f"/{name}", "missing") for name in missing] if len(missing) == 1 else []
