"""The command line besides app.cli: what all commands share, and the `keys` commands."""
