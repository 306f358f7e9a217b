"""Proofs about the OpenAPI document: linters, client generators, examples, and what it means."""
