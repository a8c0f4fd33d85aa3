"""The studio: a page on which a person finds, corrects and teaches actions in own videos.

A front over the package ``paddlevideo``: it runs the package's commands as jobs, and reads and writes the package's
files.  ``API.md`` beside this package describes what the server has.
"""
