"""Before training: list files, conversion of videos, checks of data sets, and import of annotated persons.

It reads videos through loader.decode and lists through loader.datasets, and imports no model.
"""
