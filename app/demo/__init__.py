"""`assistenza serve --demo`: an empty database filled with examples, and tokens to try them."""

from app.demo.prepare import DemoRefused, prepare

__all__ = ["DemoRefused", "prepare"]
