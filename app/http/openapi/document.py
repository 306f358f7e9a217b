"""The OpenAPI document: FastAPI's, with the shapes of errors and the way to sign in."""

from typing import Any

from fastapi import FastAPI

from app.http.errors.rendering import ProblemBody


def add_schemas(document: dict[str, Any]) -> None:
    """Puts what `problems` refers to into the components of an OpenAPI document."""
    schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs"))
    schemas["ProblemBody"] = schema


def install(app: FastAPI) -> None:
    """Make `app.openapi()` return the document, which is built once."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            add_schemas(document)
            document["components"]["securitySchemes"] = {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token made by `assistenza keys create`.",
                }
            }
            for operation in document["paths"].values():
                for method in operation.values():
                    method.pop("x-assistenza", None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
