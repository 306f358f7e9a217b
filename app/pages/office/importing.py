"""Importing a file: it is checked first, and imported on a second press."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from app.pages.api import Problem
from app.pages.forms import Form
from app.pages.staff.site import Person, staff, whoami
from app.pages.visit import Visit

_OF_ROWS = "line/"


@staff.get("/office/import")
async def choose(visit: Visit) -> Response:
    """The form for a file, and which columns each kind has."""
    return await _page(visit, await whoami(visit))


@staff.post("/office/import", with_files=True)
async def take(visit: Visit) -> Response:
    """Check the file and show what it would do, or what is wrong with its rows; then import it.

    Between the two the page has the file itself, so that nothing is kept here.
    """
    who, form = await whoami(visit), visit.form
    tries = form["phase"] != "do"
    if not form["file"]:
        form.errors["file"] = [visit.t("import.no_file")]
        return await _page(visit, who, 422)
    body = {
        "file": form["file"],
        "ignore_unknown": bool(form["ignore_unknown"]),
        "dry_run": tries,
    }
    try:
        answer = await visit.api.send("POST", "/v1/imports", body, key=None if tries else form.key)
    except Problem as problem:
        if problem.status == 401:
            raise
        return await _refused(visit, who, problem)
    if tries:
        return await _page(visit, who, trial=answer.body)
    # Another file needs a key of its own.
    visit.form = Form()
    return await _page(visit, who, done=answer.body)


async def _refused(visit: Visit, who: Person, problem: Problem) -> Response:
    visit.form.refuse(problem)
    errors = problem.body.get("errors", ())
    rows = [_row(one) for one in errors if one["pointer"].startswith(_OF_ROWS)]
    # They have a table of their own.
    visit.form.errors = {
        name: found for name, found in visit.form.errors.items() if not name.startswith(_OF_ROWS)
    }
    return await _page(visit, who, problem.status, rows=rows)


def _row(error: Mapping[str, Any]) -> tuple[str, str, str]:
    """Line, column and message of what is wrong; no column for a row as a whole."""
    line, _, column = str(error["pointer"]).removeprefix(_OF_ROWS).partition("/")
    return line, column, str(error["message"])


async def _page(visit: Visit, who: Person, status: int = 200, **shown: Any) -> Response:
    taken = await visit.api.get("/v1/imports/kinds")
    if visit.form.errors.get("file") and len(visit.form["file"]) * 3 // 4 > taken["most_bytes"]:
        visit.form.errors["file"] = [_too_large(visit, taken)]
    known: dict[str, Any] = {"trial": None, "done": None, "rows": ()}
    values = {"taken": taken, "too_large": _too_large(visit, taken), **known, **shown}
    return visit.render("office/import.html", status, who=who, **values)


def _too_large(visit: Visit, taken: Mapping[str, Any]) -> str:
    return visit.t("import.too_large", most=visit.t.number(taken["most_bytes"] // 1_000))
