"""E-mail addresses and their international domains (IDNA 2008, RFC 5890).

A domain such as `müller.example` has a second spelling in ASCII, `xn--mller-kva.example`. An
address is stored in the spelling in which it was given, and found in either.
"""

import idna

_ASCII_LABEL = "xn--"


def read_domain(domain: str) -> tuple[str, str]:
    """An international domain, as typed, in ASCII and in Unicode. Raises ValueError."""
    ascii_ = idna.encode(domain, uts46=True).decode()
    return ascii_, idna.decode(ascii_)


def ascii_form(address: str) -> str:
    """What all spellings of an address have in common: in lower case, its domain in ASCII."""
    local, at, domain = address.rpartition("@")
    return (local + at + (domain if domain.isascii() else read_domain(domain)[0])).lower()


def spellings(address: str) -> list[str]:
    """The one or two spellings under which an address may be stored, in lower case."""
    plain = ascii_form(address)
    local, at, domain = plain.rpartition("@")
    if _ASCII_LABEL not in domain:
        return [plain]
    try:
        return [plain, local + at + idna.decode(domain)]
    except idna.IDNAError:
        # Such a domain cannot be registered, but looks like one that can.
        return [plain]
