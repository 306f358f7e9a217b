"""`assistenza deploy`: files for the tools around the service."""

from importlib.resources import files
from typing import Annotated

import typer

from app.commands.shared import failure

_FOLDER = files("app") / "deploy"


def _names() -> list[str]:
    return sorted(file.name for file in _FOLDER.iterdir() if not file.name.startswith("_"))


def deploy(
    name: Annotated[
        str | None,
        typer.Argument(help="The file to print. Without it, their names.", autocompletion=_names),
    ] = None,
) -> None:
    """Print a file for a tool around the service, such as alert rules for Prometheus."""
    if name is None:
        print("\n".join(_names()))
    elif name in _names():
        print((_FOLDER / name).read_text(encoding="utf-8"), end="")
    else:
        raise failure(f"unknown file {name!r}. Files: {', '.join(_names())}")
