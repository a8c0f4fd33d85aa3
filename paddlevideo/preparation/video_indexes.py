"""The indexes that a check of a data set writes: it opens every video anyway."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from paddlevideo.errors import UserError
from paddlevideo.findings import plural
from paddlevideo.loader.decode.index import write_index

Entry = tuple[int, int, bytes]  # size and modification time (ns) of a file, and what an index states of it


@dataclass
class VideoIndexes:
    """Entries of readable videos, by the index that they belong to."""

    _entries: dict[str, dict[str, dict[str, Entry]]] = field(default_factory=dict)  # by file, then by root
    _names: dict[str, str] = field(default_factory=dict)  # of the files, as they are written

    def add(self, place: tuple[str, str] | None, path: str, entry: Entry | None) -> None:
        """Takes a video's entry; ``place`` is of ``place_of``."""
        if place is not None and entry is not None:
            name, root = place
            file = os.path.abspath(name)
            self._names.setdefault(file, name)
            self._entries.setdefault(file, {}).setdefault(root, {})[path] = entry

    def write(self) -> list[str]:
        """Writes them; a line for each on what was written or why not."""
        lines = []
        for file, entries in self._entries.items():
            try:
                write_index(file, entries)
                lines.append(f"index of {plural(sum(map(len, entries.values())), 'video')}: {self._names[file]}")
            except UserError as error:
                lines.append(f"no index of the videos: {error}; name another folder with --index")
        return lines
