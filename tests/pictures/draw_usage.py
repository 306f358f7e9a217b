"""Draws the minutes worked a day, by technician, from the CSV of `GET /v1/usage`.

    python tests/pictures/draw_usage.py month.csv tests/pictures/usage-month.svg

Needs matplotlib, which the project does not depend on. The CSV is that of `window=day` and
`group_by=technician`, as the README's "Dashboards" asks for it.
"""

import csv
import sys
from collections import defaultdict
from datetime import date
from pathlib import Path

from matplotlib import pyplot

# Equal figures give an equal file.
pyplot.rcParams["svg.hashsalt"] = "assistenza"


def main(source: str, target: str) -> None:
    minutes: dict[str, dict[date, int]] = defaultdict(dict)
    with Path(source).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["technician"]:
                day = date.fromisoformat(row["bucket_start"])
                minutes[row["technician"]][day] = int(row["worked_minutes"])
    days = sorted({day for by_day in minutes.values() for day in by_day})
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    below = [0] * len(days)
    for technician, by_day in sorted(minutes.items()):
        worked = [by_day[day] for day in days]
        axes.bar([day.day for day in days], worked, bottom=below, label=technician, width=0.8)
        below = [low + more for low, more in zip(below, worked, strict=True)]
    axes.set_title(f"Minutes worked, {days[0]:%B %Y}")
    axes.set_xticks([day.day for day in days if day.weekday() == 0])
    axes.set_xlabel("Day of the month; a mark for each Monday")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
