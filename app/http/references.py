"""Other systems' references to a customer, such as `crm:4711`."""

from typing import Annotated

from pydantic import Field

from app.http.fields import NotBlank, Sound
from app.services.customers import MOST_REFERENCES

SYSTEM_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
REFERENCE_PATTERN = rf"^{SYSTEM_PATTERN}:."

System = Annotated[str, Field(pattern=f"^{SYSTEM_PATTERN}$")]
"""The name of the other system, without a colon, which separates it from the reference."""
Reference = Annotated[str, Field(min_length=1, max_length=200), Sound, NotBlank]
"""The customer's id in that system; upper and lower case are different."""
References = Annotated[dict[System, Reference], Field(max_length=MOST_REFERENCES)]
SystemReference = Annotated[
    str,
    Field(
        pattern=REFERENCE_PATTERN,
        max_length=265,
        json_schema_extra={"pattern": rf"^{SYSTEM_PATTERN}:[^\n\u0000][^\u0000]*$"},
    ),
    Sound,
]
"""`system:reference` in a query string."""


def split(reference: str) -> tuple[str, str]:
    """The system and the reference in a `SystemReference`."""
    system, _, ref = reference.partition(":")
    return system, ref
