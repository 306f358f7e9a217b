"""The files of `static/`, under names that change with their content, so that browsers may keep
them for ever."""

from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    content: bytes
    media_type: str
    etag: str


def _load() -> tuple[dict[str, str], dict[str, Asset]]:
    names, assets = {}, {}
    for file in sorted(_FOLDER.iterdir()):
        if file.suffix in _TYPES:
            content = file.read_bytes()
            digest = blake2b(content, digest_size=8).hexdigest()
            name = f"{file.stem}.{digest}{file.suffix}"
            names[file.name] = name
            assets[name] = Asset(content, _TYPES[file.suffix], f'"{digest}"')
    return names, assets


NAMES, _ASSETS = _load()
"""The name under which each file is served."""
PATH = "/assets/"
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    # An SVG file that is opened by itself is a document too.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


async def serve(request: Request) -> Response:
    """A file by its name with the digest; 404 for any other."""
    asset = _ASSETS.get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    headers = {**_HEADERS, "ETag": asset.etag}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
