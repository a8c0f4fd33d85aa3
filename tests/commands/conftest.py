"""Videos with people for the importers of annotations."""

import pytest

from demo import ava_synthetic
from demo.stage.annotation import Video, annotate
from tests.commands.annotation_forms import SMALL


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Four videos in two folders, and who does what in them: (video, second, box, actions, person)."""
    out = tmp_path_factory.mktemp("own")
    truth = []
    for number in range(4):
        video = Video("train", number, 0)
        ava_synthetic.make_video(video, out, SMALL, with_frames=True)
        part = annotate(SMALL, video)
        for second, boxes, people in zip(part.timestamp, part.boxes, part.labels):
            truth += [(part.video, second, box, names, k) for k, (box, names) in enumerate(zip(boxes, people))]
    return out, truth
