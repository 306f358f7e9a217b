"""Assistenza: what support may this customer use, on what grounds, and what is left."""

__version__ = "0.2.0"
