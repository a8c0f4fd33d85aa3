"""Videos of this machine that become videos of the project; and the example, which the demo of a checkout made."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from paddlevideo.shipped import ROOT

if TYPE_CHECKING:
    from paddlevideo_studio.studio import Studio

EXAMPLE = ROOT / "demo" / "studio"  # of ``python -m demo.run_studio``; an installed package has none
# for scenes that follow one another without a pause, as demo.run_studio has it
_ANALYSIS = {"window_s": 2.0, "hop_s": 1.0, "smooth_s": 3.0, "on": 0.5, "off": 0.2}


async def add_videos(studio: Studio, files: Sequence[Path]) -> None:
    """Adds files, unless the project has a video of that name; one that cannot be read is named on stderr."""
    from paddlevideo_studio.routes.videos import take_upload

    videos = studio.project.videos
    for file in files:
        video = videos.new(file.name)
        if any(other.name == video.name for other in videos):
            continue
        temporary = videos.folder / f".upload-{video.id}"
        try:
            await asyncio.to_thread(shutil.copyfile, file, temporary)
            await take_upload(studio, temporary, video)
        except (HTTPException, OSError) as error:
            print(f"not added: {getattr(error, 'detail', error)}", file=sys.stderr)
        finally:
            temporary.unlink(missing_ok=True)


def has_example() -> bool:
    """Whether the demo's videos and its model are there."""
    return (EXAMPLE / "export" / "inference.yml").is_file()


async def add_example(studio: Studio) -> None:
    """Adds the demo's model, uses it unless another one is in use, and adds the demo's videos."""
    project = studio.project
    model = await asyncio.to_thread(project.models.add_folder, EXAMPLE / "export")
    if project.settings.model is None:
        project.use(model)
        project.change(analysis={**_ANALYSIS, **project.settings.analysis})
    await add_videos(studio, sorted(EXAMPLE.glob("new/*.mp4")) + sorted(EXAMPLE.glob("videos/*.mp4")))
