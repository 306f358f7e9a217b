#!/usr/bin/env python3
"""Ask Assistenza about a caller, from an Asterisk dial plan (AGI).

    AGI(assistenza.py,URL,TOKEN_FILE[,CASE_NUMBER[,SPEAK]])

URL is the service's address, such as https://support.example.com. TOKEN_FILE holds a token with the
scope entitlements:read, readable by Asterisk alone. CASE_NUMBER is what the caller has dialled;
without it the caller's own number is looked up. SPEAK is an application of Asterisk that speaks a
text, such as Festival or Flite: it is run with the sentence.

It sets these variables of the channel:

    ASSISTENZA_ROUTE     serve, serve_case, sales, identify or closed; "fallback" without an answer
    ASSISTENZA_OUTCOME   what is known of the caller, such as unknown_caller; else empty
    ASSISTENZA_SAY       the sentence for the caller, in ASSISTENZA_LANGUAGE: it, en or de
    ASSISTENZA_CUSTOMER  the code of the customer, if there is one
    ASSISTENZA_CASES     the numbers of the open cases, with a comma between two

Two seconds after it was started it has set them, whatever the service does. Standard library only.
"""

import http.client
import io
import json
import os
import sys
import threading
import urllib.parse
from typing import Any, TextIO

SECONDS = 1.5
"""The time for an answer of the service. The fallback comes after it."""
LARGEST_ANSWER = 1_048_576

# What is said if the service does not answer at all, in the language of the channel.
APOLOGIES = {
    "it": "Al momento non possiamo verificare il suo diritto all'assistenza.",
    "de": "Wir können Ihren Anspruch auf Support im Moment nicht prüfen.",
    "en": "We cannot check your support at the moment.",
}


def read_environment(lines: TextIO) -> dict[str, str]:
    """What Asterisk tells of the call: `agi_name: value` up to an empty line."""
    told = {}
    while (line := lines.readline()).strip():
        name, _, value = line.partition(":")
        told[name.strip()] = value.strip()
    return told


def question(told: dict[str, str]) -> dict[str, str]:
    """The query for the service."""
    asked = {"service": "phone_support"}
    dialled = told.get("agi_dnid", "unknown")
    if dialled in ("", "unknown"):
        dialled = told.get("agi_extension", "")
    if dialled:
        asked["called"] = dialled
    if case_number := told.get("agi_arg_3"):
        asked["case_number"] = case_number
    elif is_restricted(told.get("agi_callingpres", "")):
        asked["phone"] = "anonymous"
    else:
        asked["phone"] = told.get("agi_callerid", "unknown")
    return asked


def is_restricted(presentation: str) -> bool:
    """Whether the caller asked not to be shown, or has no number (Q.931, octet 3a)."""
    return presentation.isdecimal() and bool(int(presentation) & 0x60)


def ask(url: str, token_file: str, asked: dict[str, str]) -> dict[str, Any]:
    """The service's answer with its language; of a problem `say` alone.

    Raises OSError, LookupError, ValueError or HTTPException if there is none.
    """
    if not token_file:
        raise ValueError("the script takes the service's address and the file with its token")
    server = urllib.parse.urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if server.scheme not in kinds:
        raise ValueError(f"{url!r} does not begin with https:// or http://")
    with open(token_file, encoding="ascii") as file:
        token = file.read().strip()
    connection = kinds[server.scheme](server.netloc, timeout=SECONDS)
    path = f"{server.path.rstrip('/')}/v1/entitlements/check?{urllib.parse.urlencode(asked)}"
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = json.loads(answer.read(LARGEST_ANSWER))
        body["language"] = answer.headers.get("Content-Language", "")
        if answer.status != 200:
            return {"say": body["say"], "language": body["language"]}
    finally:
        connection.close()
    return dict(body)


def ask_in_time(url: str, token_file: str, asked: dict[str, str]) -> dict[str, Any]:
    """The answer, or nothing if it does not come in time: looking up a name or a server that sends
    byte by byte can take longer than any limit of a connection."""
    found: dict[str, Any] = {}

    def work() -> None:
        try:
            found.update(ask(url, token_file, asked))
        except (OSError, LookupError, ValueError, TypeError, http.client.HTTPException) as error:
            print(f"assistenza: {type(error).__name__}: {error}", file=sys.stderr)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return {} if thread.is_alive() else found


def variables(answer: dict[str, Any], language: str) -> dict[str, str]:
    """The variables of the channel for an answer, which is empty if there was none."""
    spoken = language if language in APOLOGIES else "en"
    return {
        "ROUTE": answer.get("route", "fallback"),
        "OUTCOME": answer.get("outcome", ""),
        "SAY": answer.get("say", APOLOGIES[spoken]),
        "LANGUAGE": answer.get("language") or spoken,
        "CUSTOMER": answer.get("customer", {}).get("code", ""),
        "CASES": ",".join(answer.get("continues", [])),
    }


def quoted(text: str) -> str:
    """A text as one argument of an AGI command."""
    plain = " ".join(text.split())
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def command(text: str) -> bool:
    """Send a command; whether Asterisk has carried it out. False too if the caller has hung up."""
    print(text, flush=True)
    reply = sys.stdin.readline()
    while reply.startswith("HANGUP"):
        reply = sys.stdin.readline()
    return reply.startswith("200")


def main() -> None:
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    told = read_environment(sys.stdin)
    answer = ask_in_time(told.get("agi_arg_1", ""), told.get("agi_arg_2", ""), question(told))
    found = variables(answer, told.get("agi_language", "")[:2])
    done = True
    for name, value in found.items():
        done = command(f"SET VARIABLE ASSISTENZA_{name} {quoted(value)}") and done
    speak = told.get("agi_arg_4")
    if done and speak:
        command(f"EXEC {speak} {quoted(found['SAY'])}")
    sys.stdout.flush()
    # Without waiting for a thread that still asks.
    os._exit(0)


if __name__ == "__main__":
    main()
