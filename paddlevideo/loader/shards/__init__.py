"""Tar shards: where they are, their index, and reading their members in large pieces."""
