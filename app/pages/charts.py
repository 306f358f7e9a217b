"""The geometry of charts. Templates draw it as SVG, with a title, a description and a table beside
it, so that it prints and reads aloud.

A drawing has no text of its own: it is stretched to the width of the page, and labels stand around
it. Its colours come from the style sheet.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

WIDTH, HEIGHT = 1000, 200
"""Of a drawing, in its own units."""


class Chart(NamedTuple):
    """A line over time, from its first day up to its end."""

    line: str
    """The points of a polyline: `x,y x,y`."""
    area: str
    """The same, closed along the bottom."""
    today: float
    """Where the line ends: x."""
    rest: tuple[float, float, float, float] | None
    """From the line's end to where nothing would be left: x, y, x, y."""


def line(points: Sequence[tuple[float, float]], most: float) -> tuple[str, str]:
    """A polyline through points (0 to 1 of the width, value), and the area below it."""
    top = most or 1
    placed = [(round(x * WIDTH, 1), round(HEIGHT - value / top * HEIGHT, 1)) for x, value in points]
    text = " ".join(f"{x:g},{y:g}" for x, y in placed)
    if not placed:
        return "", ""
    return text, f"{placed[0][0]:g},{HEIGHT} {text} {placed[-1][0]:g},{HEIGHT}"


def burn_down(item: Mapping[str, Any]) -> Chart | None:
    """How an allowance goes down, of an item of a usage series; None if nothing can be drawn."""
    start, end = date.fromisoformat(item["starts_on"]), date.fromisoformat(item["ends_on"])
    days = (end - start).days
    points = item["points"]
    if days <= 0 or not points:
        return None
    most = max(max(point["granted"] for point in points), 1)

    def x_of(day: str | date) -> float:
        on = day if isinstance(day, date) else date.fromisoformat(day)
        return min(max((on - start).days / days, 0.0), 1.0)

    first = points[0]
    placed = []
    if first["bucket_start"] <= item["starts_on"]:
        placed.append((0.0, float(first["granted"])))
    placed += [(x_of(point["bucket_end"]), float(point["left"])) for point in points]
    text, area = line(placed, most)
    x, left = placed[-1]
    rest = None
    if item["runs_out_on"] and left > 0:
        rest = (
            round(x * WIDTH, 1),
            round(HEIGHT - left / most * HEIGHT, 1),
            round(x_of(item["runs_out_on"]) * WIDTH, 1),
            float(HEIGHT),
        )
    return Chart(text, area, round(x * WIDTH, 1), rest)


def share(part: float, whole: float) -> float:
    """A part in per cent of the whole, from 0 to 100."""
    return round(min(max(part / whole * 100, 0.0), 100.0), 1) if whole > 0 else 0.0


def days_left(end: str, today: str) -> int:
    """Days from a civil date to the end of a period, both in ISO form."""
    return (date.fromisoformat(end) - date.fromisoformat(today)).days


class Pillar(NamedTuple):
    """A rectangle that stands on the bottom of a drawing."""

    x: float
    y: float
    width: float
    height: float


def pillars(rows: Sequence[Sequence[float]]) -> list[list[Pillar]]:
    """For each row of values its pillars side by side, all on one scale."""
    top = max((value for row in rows for value in row), default=0) or 1
    place = WIDTH / max(len(rows), 1)
    drawn = []
    for at, row in enumerate(rows):
        width = place * 0.7 / len(row)
        drawn.append(
            [
                Pillar(
                    round(at * place + place * 0.15 + number * width, 1),
                    round(HEIGHT - value / top * HEIGHT, 1),
                    round(width * 0.92, 1),
                    round(value / top * HEIGHT, 1),
                )
                for number, value in enumerate(row)
            ]
        )
    return drawn
