"""`assistenza import`: customers, licences, contracts and ticket packs from a CRM's CSV files.

| module        | what it does                                                             |
|---------------|--------------------------------------------------------------------------|
| `columns`     | which columns each kind of file has; what the headers of a file mean     |
| `reading`     | a file's encoding, separator and header; its rows with their lines       |
| `cells`       | a row's cells, read as the fields of the API                             |
| `customers`, `licences`, `contracts`, `ticket_packs` | a row of each kind                |
| `faults`      | why rows cannot be imported, in words; which of them are listed          |
| `files`       | a file in one transaction or in parts; all files in their order          |
| `command`     | what the operator sees                                                   |

What is decided about the rows of a file together, and all SQL, is in `app.services.imports`.
"""

from app.importing.columns import FileRefused, kinds
from app.importing.command import columns_of, prepare, run

__all__ = ["FileRefused", "columns_of", "kinds", "prepare", "run"]
