"""The two tables of `app/policy/README.md` that say what every step does to a case."""

from pathlib import Path
from typing import NamedTuple

import app.policy

_README = Path(app.policy.__path__[0]) / "README.md"
PAYERS = ("hours", "ticket", "none", "bug")


class Effect(NamedTuple):
    """What a step leaves behind; a word of the table each."""

    ticket: str
    charged: str
    overrun: str


def _tables() -> list[list[list[str]]]:
    text = _README.read_text("utf-8")
    section = text.split("\n## The states of a case\n", 1)[1].split("\n## ", 1)[0]
    found: list[list[list[str]]] = []
    inside = False
    for line in section.splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return found


def leads() -> dict[tuple[str, str], str | None]:
    """(step, state) → the state that follows, None where the step is refused."""
    head, _, *rows = _tables()[0]
    return {
        (row[0].strip("`"), state): None if cell == "refused" else cell
        for row in rows
        for state, cell in zip(head[1:], row[1:], strict=True)
    }


def effects() -> dict[tuple[str, str], Effect]:
    """(step, payer) → what the step does to ticket and minutes."""
    _, _, *rows = _tables()[1]
    found = {}
    for steps, payer, *effect in rows:
        for step in steps.split(", "):
            for one in PAYERS if payer == "any" else (payer,):
                found[step.strip("`"), one] = Effect(*effect)
    return found
