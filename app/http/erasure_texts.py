"""What an erasure of a person takes out and what it leaves, in words (R43)."""

from typing import Any

from app.http.languages import Language

_TEXTS: dict[Language, tuple[str, tuple[tuple[str, str], ...]]] = {
    "en": (
        (
            "Every text in the cases that the person asked for, whoever wrote it: subject,"
            " description, steps,"
            " link, resolution, comments, notes and reasons. In the customer's other records:"
            " the person's name,"
            " e-mail addresses and phone numbers, as far as no other contact of the customer has"
            " them."
        ),
        (
            (
                "Numbers, dates, states, minutes and charges",
                "They account for what was granted and used.",
            ),
            (
                "The customer's name, code and VAT number, and its licences, contracts and tickets",
                "They are the company's own data.",
            ),
            ("Serial numbers, products and versions", "They name what was bought."),
            ("The names of technicians and of tokens", "They are the vendor's own."),
            (
                "Other people of the customer, and what they share with this person",
                "Nobody asked to erase them.",
            ),
            (
                "Nicknames, initials and misspelt names in other records",
                "They cannot be recognised.",
            ),
            (
                "Backups, and logs of other systems",
                "They are outside this service; its own logs hold no such data.",
            ),
        ),
    ),
    "it": (
        (
            "Ogni testo dei casi richiesti dalla persona, da chiunque scritto: oggetto,"
            " descrizione, passi, link,"
            " soluzione, commenti, note e motivi. Negli altri dati del cliente: nome, indirizzi"
            " e-mail e numeri di"
            " telefono della persona, se nessun altro contatto del cliente li ha."
        ),
        (
            ("Numeri, date, stati, minuti e addebiti", "Rendono conto di quanto concesso e usato."),
            (
                "Nome, codice e partita IVA del cliente, licenze, contratti e ticket",
                "Sono dati propri dell'azienda.",
            ),
            ("Numeri di serie, prodotti e versioni", "Indicano che cosa è stato acquistato."),
            ("I nomi dei tecnici e dei token", "Sono del fornitore."),
            (
                "Le altre persone del cliente, e ciò che hanno in comune con questa",
                "Nessuno ha chiesto di cancellarle.",
            ),
            (
                "Soprannomi, iniziali e nomi scritti male in altri dati",
                "Non si possono riconoscere.",
            ),
            (
                "Copie di sicurezza e registri di altri sistemi",
                "Sono fuori da questo servizio; i suoi registri non contengono tali dati.",
            ),
        ),
    ),
    "de": (
        (
            "Jeder Text in den Fällen, die die Person gemeldet hat, wer auch immer ihn schrieb:"
            " Betreff, Beschreibung,"
            " Schritte, Link, Lösung, Kommentare, Notizen und Gründe. In den übrigen Daten des"
            " Kunden: Name,"
            " E-Mail-Adressen und Telefonnummern der Person, soweit kein anderer Kontakt des"
            " Kunden sie hat."
        ),
        (
            (
                "Nummern, Daten, Zustände, Minuten und Buchungen",
                "Sie belegen, was gewährt und verbraucht wurde.",
            ),
            (
                "Name, Code und USt-IdNr. des Kunden, Lizenzen, Verträge und Tickets",
                "Sie sind Daten des Unternehmens.",
            ),
            ("Seriennummern, Produkte und Versionen", "Sie nennen, was gekauft wurde."),
            ("Die Namen von Technikern und Tokens", "Sie gehören zum Anbieter."),
            (
                "Andere Personen des Kunden und was sie mit dieser teilen",
                "Niemand hat ihre Löschung verlangt.",
            ),
            (
                "Spitznamen, Initialen und falsch geschriebene Namen in anderen Daten",
                "Sie sind nicht zu erkennen.",
            ),
            (
                "Sicherungen und Protokolle anderer Systeme",
                "Sie liegen außerhalb dieses Dienstes; dessen Protokolle haben keine solchen.",
            ),
        ),
    ),
}


def what_stays(language: Language) -> dict[str, Any]:
    """The members `taken_out` and `stays` of the answer to an erasure."""
    taken_out, stays = _TEXTS[language]
    return {"taken_out": taken_out, "stays": [{"what": what, "why": why} for what, why in stays]}
