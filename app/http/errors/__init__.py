"""Errors on the wire: `application/problem+json` (RFC 9457), in the caller's language.

| module          | what it does                                                          |
|-----------------|-----------------------------------------------------------------------|
| `statuses`      | the status and the headers of each class of `app.errors`              |
| `catalogue`     | the texts of each code in three languages, from `messages/`           |
| `invalid_input` | pydantic's errors translated into our codes                           |
| `rendering`     | the body and the whole response of an error                           |
| `handlers`      | registers the exception handlers of the application                   |
"""
