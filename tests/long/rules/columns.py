"""R1-R4: who holds an Editor, when development status stands, which contracts are in force."""

from datetime import date

from .facts import Contract, Customer
from .policy import term_end


def holds_editor(customer: Customer, day: date) -> bool:
    """R1."""
    return any(each.kind == "editor" and each.held_on(day) for each in customer.licences)


def last_purchase(customer: Customer, day: date) -> date | None:
    """R2: of any kind, by the day, of licences not withdrawn by then; None if there is none."""
    return max(
        (
            bought
            for licence in customer.licences
            if licence.held_on(day)
            for bought in licence.purchases()
            if bought <= day
        ),
        default=None,
    )


def dev(customer: Customer, day: date) -> bool:
    """R3."""
    if not holds_editor(customer, day):
        return False
    last = last_purchase(customer, day)
    return last is not None and day < term_end(last)


def contracts_in_force(customer: Customer, day: date) -> list[Contract]:
    """R4: contracts in force by their dates, suspended ones too, in R18's order."""
    found = [each for each in customer.contracts if each.in_force(day)]
    return sorted(found, key=lambda each: (each.end, each.starts, each.order))
