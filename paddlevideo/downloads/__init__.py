"""Weights by name or address: the index of released files, their transfer over HTTP, and the cache."""
