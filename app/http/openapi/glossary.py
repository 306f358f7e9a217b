"""Descriptions by name: what a field or parameter means wherever it stands (`glossary.toml`)."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def words() -> dict[str, dict[str, str]]:
    """The meaning of each name, in the tables `fields`, `null` and `parameters`."""
    return tomllib.loads((files("app.http.openapi") / "glossary.toml").read_text("utf-8"))


def explain_parameter(parameter: dict[str, Any]) -> None:
    """Describe a parameter that the code does not describe."""
    meaning = words()["parameters"].get(parameter["name"])
    if meaning and "description" not in parameter:
        parameter["description"] = meaning


def explain_fields(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, every field described that the code does not describe."""
    for name, field in schema.get("properties", {}).items():
        if "description" not in field and name in words()["fields"]:
            meaning = words()["fields"][name]
            if {"type": "null"} in field.get("anyOf", ()) and name in words()["null"]:
                meaning += " " + words()["null"][name]
            field["description"] = meaning
    return schema
