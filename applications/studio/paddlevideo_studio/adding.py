"""Videos of this machine that become videos of the project; and the example, which the demo of a checkout made."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError
from paddlevideo.shipped import ROOT
from paddlevideo_studio.jobs import QueueFull

if TYPE_CHECKING:
    from paddlevideo_studio.studio import Studio

_WAIT_S = 0.5  # between two looks at the queue
EXAMPLE = ROOT / "demo" / "studio"  # of ``python -m demo.run_studio``; an installed package has none
# for scenes that follow one another without a pause, as demo.run_studio has it
_ANALYSIS = {"window_s": 2.0, "hop_s": 1.0, "smooth_s": 3.0, "on": 0.5, "off": 0.2}


async def add_videos(studio: Studio, files: Sequence[Path]) -> list[Path]:
    """Adds files, unless the project has a video of that name; one that cannot be read is named on stderr.

    Returns:
        Those that are to be converted, for which the queue of jobs has no place now.
    """
    from paddlevideo_studio.routes.videos import take_upload

    videos, waiting = studio.project.videos, []
    for file in files:
        video = videos.new(file.name)
        if same := [other for other in videos if other.name == video.name]:
            originals = [videos.originals / other.original for other in same if other.original]
            sizes = {original.stat().st_size for original in originals if original.is_file()}
            if sizes and file.is_file() and file.stat().st_size not in sizes:
                print(
                    f"not added: {file}: the project has another {video.name}; upload it in the page", file=sys.stderr
                )
            continue
        temporary = videos.folder / f".upload-{video.id}"
        try:
            await asyncio.to_thread(shutil.copyfile, file, temporary)
            await take_upload(studio, temporary, video)
        except QueueFull:
            waiting.append(file)
        except (HTTPException, OSError, UserError) as error:
            print(f"not added: {error.detail if isinstance(error, HTTPException) else error}", file=sys.stderr)
        finally:
            temporary.unlink(missing_ok=True)
    return waiting


async def add_later(studio: Studio, files: Sequence[Path]) -> None:
    """Adds files one after the other, each when the queue of jobs has a place."""
    waiting = [*files]
    while waiting:
        await asyncio.sleep(_WAIT_S)
        if not studio.jobs.is_full():
            waiting = [*await add_videos(studio, waiting[:1]), *waiting[1:]]


def has_example() -> bool:
    """Whether the demo's videos and its model are there."""
    return (EXAMPLE / "export" / "inference.yml").is_file()


async def add_example(studio: Studio) -> None:
    """Adds the demo's model, uses it unless another one is in use, and adds the demo's videos."""
    async with studio.adding:  # a second request finds what the first one has added
        await _add_example(studio)


async def _add_example(studio: Studio) -> None:
    project = studio.project
    model = await asyncio.to_thread(project.models.add_folder, EXAMPLE / "export")
    if project.settings.model is None:
        project.use(model)
        project.change(analysis={**_ANALYSIS, **project.settings.analysis})
    files = sorted(EXAMPLE.glob("new/*.mp4")) + sorted(EXAMPLE.glob("videos/*.mp4"))
    await add_later(studio, await add_videos(studio, files))
