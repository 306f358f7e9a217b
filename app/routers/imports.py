"""Imports of files through the API: the importer of the command line, for one small file."""

import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from app.errors import ImportInProgress, ImportsNotPermitted, RowsRefused, invalid
from app.http.context import Ctx
from app.http.fields import BASE64_PATTERN, Input, Output
from app.http.resource import Resource
from app.http.responses import TrialResponse, ok
from app.importing.columns import LAYOUTS, FileRefused
from app.importing.files import import_for_client
from app.importing.reading import look_at
from app.services.imports import FileKind

imports = Resource("Imports")

MOST_BYTES = 720_000
"""Of a file: as base64, with what stands around it, it fits into a body."""


class NewImport(Input):
    """A file to import."""

    file: Annotated[
        str,
        Field(
            pattern=BASE64_PATTERN,
            max_length=4 * MOST_BYTES // 3,
            description=(
                "A CSV file in UTF-8, as base64 (RFC 4648, 4); at most 720,000 bytes. Its header"
                " tells the kind. Larger files are for `assistenza import`."
            ),
            json_schema_extra={"contentEncoding": "base64", "contentMediaType": "text/csv"},
        ),
    ]
    ignore_unknown: bool = Field(
        default=False, description="`true`: leave out columns that the import does not know."
    )
    dry_run: bool = Field(
        default=False, description="`true`: check everything, answer the same, and change nothing."
    )


class ImportedFile(Output):
    """What became of a file, or would."""

    kind: FileKind = Field(description="What the file contains.")
    rows: int = Field(description="How many rows it has below its header, blank ones left out.")
    created: int = Field(description="How many customers, licences, contracts or packs are new.")
    changed: int = Field(description="How many were on record and differ.")
    unchanged: int = Field(description="How many were on record as the file has them.")
    dry_run: bool = Field(description="`true`: nothing was written.")


class ImportColumn(Output):
    """A column of a kind of file."""

    name: str = Field(description="As it stands in the header.")
    required: bool = Field(description="Whether a file must have it.")


class ImportKind(Output):
    """A kind of file."""

    kind: FileKind = Field(description="What such a file contains.")
    columns: list[ImportColumn] = Field(
        description="Its columns. `external_ref:<system>` stands for one of each other system."
    )


class ImportKinds(Output):
    """The kinds of files, in the order in which to import them."""

    kinds: list[ImportKind] = Field(description="Each depends on those before it.")
    most_bytes: int = Field(description="The size of the largest file that is taken, in bytes.")


@imports.reads("/imports/kinds", ImportKinds, "admin")
async def list_import_kinds(context: Ctx) -> Response:
    """List the kinds of files with their columns.

    Each kind depends on those before it: a licence needs its customer.
    """
    kinds = [
        {
            "kind": layout.option,
            "columns": [
                {"name": column.name, "required": column.required} for column in layout.columns
            ],
        }
        for layout in LAYOUTS
    ]
    return ok(context, ImportKinds.model_validate({"kinds": kinds, "most_bytes": MOST_BYTES}))


@imports.acts("/imports", ImportedFile, "admin", RowsRefused, ImportInProgress, ImportsNotPermitted)
async def import_file(context: Ctx, body: NewImport) -> Response:
    """Import a CSV file.

    Of customers, licences, contracts or ticket packs, by the rules of `assistenza import`: the
    whole file or nothing, and the same file again changes nothing. What is wrong with a row is told
    with its line and column (422 `rows_refused`). Meanwhile writes of the customers in it wait, and
    other imports are refused (409). The service's role in the database needs the privilege
    TEMPORARY.
    """
    with tempfile.NamedTemporaryFile(prefix="assistenza-import-") as copy:
        copy.write(b64decode(body.file, validate=True))
        copy.flush()
        try:
            source = look_at(Path(copy.name), {}, body.ignore_unknown, MOST_BYTES)
        except FileRefused as refused:
            raise invalid("/file", refused.code, **refused.params) from refused
        rows, counts = await import_for_client(context, source, dry_run=body.dry_run)
    imported = ImportedFile.model_validate(
        {
            "kind": source.columns.layout.option,
            "rows": rows,
            **counts._asdict(),
            "dry_run": body.dry_run,
        }
    )
    if body.dry_run:
        return TrialResponse.of(imported.model_dump(), {})
    return ok(context, imported)
