"""Imports of many rows at once, one file in one transaction.

Each import decides by sets of rows what the calls of the API decide one by one, by the same rules;
a property test compares the results. The rows are staged in temporary tables, so that memory stays
bounded. Reading a file and its cells is up to the caller.

| module        | what it does                                                             |
|---------------|--------------------------------------------------------------------------|
| `staging`     | the temporary tables, and the steps of every import                      |
| `owned`       | what licences, contracts and ticket packs have in common                 |
| `customers`, `licences`, `contracts`, `ticket_packs` | one kind each                     |
| `customer_changes` | what changes of stored customers                                    |
"""

from app.services.imports.contracts import ContractImport
from app.services.imports.customers import CustomerImport
from app.services.imports.licences import LicenceImport
from app.services.imports.staging import (
    COMMAND,
    Counts,
    Fault,
    FileKind,
    Import,
    ImportRefused,
    ImportRunning,
    MergedMeanwhile,
    Part,
    faults_of,
    undone,
)
from app.services.imports.ticket_packs import TicketPackImport

__all__ = [
    "COMMAND",
    "ContractImport",
    "Counts",
    "CustomerImport",
    "Fault",
    "FileKind",
    "Import",
    "ImportRefused",
    "ImportRunning",
    "LicenceImport",
    "MergedMeanwhile",
    "Part",
    "TicketPackImport",
    "faults_of",
    "undone",
]
