"""Assistenza: what support may this customer use, on what grounds, and what is left."""
