"""The examples of the German desk. Firms, codes and serial numbers are made up."""

from app.demo.days import ago, day_after, last_day, today, tomorrow
from app.demo.steps import (
    Customer,
    assigned,
    cancelled,
    case,
    closed,
    contract,
    editor,
    renewed,
    runtime,
    taken_up,
    tickets,
    worked,
)

_DESK = "Help Desk Deutschland"

GERMANY = (
    Customer(
        "C-0018",
        "Beispiel Anlagenbau GmbH",
        "DE",
        "de",
        "SA: first day of a contract",
        records=(editor("ED-0018", ago(months=14)), contract("SA-0018", today)),
    ),
    Customer(
        "C-0019",
        "Modell Schaltschrankbau GmbH",
        "DE",
        "de",
        "SA: last day of a contract, not renewed",
        records=(editor("ED-0019", ago(months=26)), contract("SA-0019", last_day)),
    ),
    Customer(
        "C-0020",
        "Probe Fördertechnik GmbH",
        "DE",
        "de",
        "NO_DEV: day after a contract",
        records=(editor("ED-0020", ago(months=26)), contract("SA-0020", day_after)),
    ),
    Customer(
        "C-0021",
        "Muster Wasserwerke AöR",
        "DE",
        "de",
        "NO_DEV: a contract begins tomorrow",
        records=(editor("ED-0021", ago(months=15)), contract("SA-0021", tomorrow)),
    ),
    Customer(
        "C-0022",
        "Beispiel Brauerei GmbH & Co. KG",
        "DE",
        "de",
        "DEV: a contract was cancelled as of today",
        records=(
            editor("ED-0022", ago(months=6)),
            contract("SA-0022", ago(months=3)),
            cancelled("SA-0022", today, "Anlage verkauft"),
        ),
    ),
    Customer(
        "C-0023",
        "Demo Gebäudetechnik GmbH",
        "DE",
        "de",
        "SA: a contract that its successor follows at its end",
        records=(
            editor("ED-0023", ago(months=30)),
            contract("SA-0023", ago(months=11)),
            renewed("SA-0023", "SA-0023-2", "at_end"),
        ),
    ),
    Customer(
        "C-0024",
        "Muster Druckmaschinen AG",
        "DE",
        "de",
        "SA: a contract's minutes exceeded, renewed today, the overrun taken over",
        records=(editor("ED-0024", ago(months=30)), contract("SA-0024", ago(months=6), 120)),
        cases=(
            case(
                "Rezeptverwaltung nach Update leer",
                "Nach dem Update auf 4.2 zeigt die Rezeptverwaltung keine Einträge mehr.",
                channel="remote",
                serial_number="ED-0024",
            ),
            assigned(_DESK, priority="high"),
            taken_up(),
            worked(_DESK, 150, "Datenbank über Fernwartung wiederhergestellt"),
            closed("Die Rezepte lagen in einem alten Ordner; der Pfad ist berichtigt."),
            renewed("SA-0024", "SA-0024-2", "today", take_over=True),
        ),
    ),
    Customer(
        "C-0025",
        "Probe Kältetechnik GmbH",
        "DE",
        "de",
        "SA: a contract's minutes exceeded, not renewed",
        records=(editor("ED-0025", ago(months=30)), contract("SA-0025", ago(months=9), 120)),
        cases=(
            case(
                "Trendanzeige friert ein",
                "Die Trendanzeige bleibt nach etwa einer Stunde stehen.",
                channel="phone",
                serial_number="ED-0025",
            ),
            assigned(_DESK),
            taken_up(),
            worked(_DESK, 90, "Protokolle ausgewertet"),
            worked(_DESK, 60, "Mit kleinerem Projekt nachgestellt"),
        ),
    ),
    Customer(
        "C-0026",
        "Modell Sägewerk e.K.",
        "DE",
        "de",
        "NO_DEV: no Editor, the only ticket is consumed",
        records=(runtime("RT-0026", ago(months=9)), tickets("TP-0026", 1, ago(months=2))),
        cases=(
            case(
                "Benutzer kann sich nicht anmelden",
                "Seit dem Wechsel der Schicht meldet das Panel ein falsches Kennwort.",
                channel="phone",
            ),
            assigned(_DESK),
            taken_up(),
            worked(_DESK, 30, "Anmeldung gemeinsam geprüft"),
            closed("Die Feststelltaste am Panel war aktiv."),
        ),
    ),
)
