"""Importers of annotated people, one module per tool that writes them."""
