"""The OpenAPI document: what each kind of call answers, the document itself, and its pages."""
