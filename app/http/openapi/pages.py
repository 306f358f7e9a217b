"""The documentation pages, which load nothing from other hosts: behind a firewall they would
stay blank.

Swagger UI and ReDoc are files of the package `fastapi-offline`, whose code is not used.
"""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from app.http.negotiation import media_type_of

_HEADERS = {
    # Both libraries use inline styles, and ReDoc searches in a worker. All else is same-origin.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'",
    "Cache-Control": "public, max-age=3600",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{root}/docs/assets/favicon.png">
<link rel="stylesheet" href="{root}/docs/assets/swagger-ui.css"></head>
<body style="margin:0"><div id="page"></div>
<script src="{root}/docs/assets/{script}"></script>
<script src="{root}/docs/{start}.js"></script></body></html>
"""
# Relative to the page, because a proxy may serve it under a prefix.
_SWAGGER = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true,
  persistAuthorization: false, validatorUrl: null, syntaxHighlight: {activated: true}});
"""
_REDOC = 'Redoc.init("openapi.json", {hideLoading: true}, document.getElementById("page"));\n'


def assets() -> Path:
    """The folder of the scripts and styles. Raises RuntimeError when the package is missing."""
    # Importing the package would create FastAPI applications, so only its place is looked up.
    spec = find_spec("fastapi_offline")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package fastapi-offline is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "static"


def install(app: FastAPI, people: str = "docs") -> None:
    """Add /docs (Swagger UI) and /redoc, which need no token, and the way from `/`.

    `people` is where `/` leads browsers.

    The application must have been made with `docs_url=None` and `redoc_url=None`.
    """

    def page(title: str, script: str, start: str) -> object:
        async def show(request: Request) -> Response:
            root = request.scope.get("root_path", "")
            html = _PAGE.format(title=title, root=root, script=script, start=start)
            return HTMLResponse(html, headers=_HEADERS)

        return show

    def script(text: str) -> object:
        async def show(_: Request) -> Response:
            return Response(text, headers=_HEADERS, media_type="text/javascript")

        return show

    async def lead(request: Request) -> Response:
        """A browser to the pages for people, everything else to the document."""
        wanted = media_type_of(request, "application/json", "text/html")
        place = people if wanted == "text/html" else "openapi.json"
        return Response(status_code=307, headers={"Location": place, "Vary": "Accept"})

    for path, endpoint in (
        ("/", lead),
        ("/docs", page(f"{app.title}: Swagger UI", "swagger-ui-bundle.js", "swagger")),
        ("/redoc", page(f"{app.title}: ReDoc", "redoc.standalone.js", "redoc")),
        ("/docs/swagger.js", script(_SWAGGER)),
        ("/docs/redoc.js", script(_REDOC)),
    ):
        app.add_route(path, endpoint, methods=["GET"], include_in_schema=False)  # type: ignore[arg-type]
    app.mount("/docs/assets", StaticFiles(directory=assets()), name="docs")
