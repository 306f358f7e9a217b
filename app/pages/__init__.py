"""Pages for people: the reserved area, and the pages of staff.

They are callers of the public API like any other: each page asks it in this process, with the
visitor's own token (`api`), and can do no more than that token may. Nothing here imports a service,
the store, the policy or a router; an import contract holds that.

| module       | holds                                                                           |
|--------------|---------------------------------------------------------------------------------|
| `install`    | adds all pages to the application                                               |
| `routing`    | `Pages`: how a page is declared, and what every page answers when something fails |
| `visit`      | `Visit`: one request: session, language, texts, form, API; renders templates    |
| `api`        | calls of the public API, and its refusals as `Problem`                          |
| `sessions`   | the cookie that keeps the visitor's token; forgery of requests                  |
| `forms`      | a form's fields as a JSON body, and the API's errors at the fields              |
| `languages`  | texts of `texts/*.toml`; dates, numbers and durations                           |
| `assets`     | the files of `static/`, under names that change with their content              |
| `charts`     | the geometry of charts, which templates draw as SVG                             |
| `area/`      | the reserved area                                                               |
| `staff/`     | signing in with an API key, and what the pages of staff share                   |
| `desk/`      | the caller card, the queue, and the page of a case                              |
| `dashboard/` | figures with their charts, tables and files                                     |
| `office/`    | a customer whole; registering, signing, selling; corrections with dry runs      |

With `ASSISTENZA_PAGES=false` the application does not import this package.
"""
