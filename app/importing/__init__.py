"""`assistenza import`: customers, licences, contracts and ticket packs out of a CRM's CSV files.

| module        | what it does                                                             |
|---------------|--------------------------------------------------------------------------|
| `columns`     | which columns each kind of file has; what the headers of a file mean     |
| `reading`     | a file's encoding, separator, header; its rows with their lines          |
| `kinds`       | what the four kinds have in common: a row checked, staged, written       |
| `customers`, `licences`, `contracts`, `ticket_packs` | one kind each                     |
| `staging`     | temporary tables: the rows on their way, so that memory stays bounded    |
| `files`       | one file, one transaction; all files in the order in which they depend   |
| `command`     | what the operator sees                                                   |

Every rule is the API's own: the same field types, the same policy. What is decided row by row there
is decided set by set here, and a property test compares what both have made.
"""

from app.importing.columns import FileRefused
from app.importing.command import prepare, run

__all__ = ["FileRefused", "prepare", "run"]
