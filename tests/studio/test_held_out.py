"""Sides of videos: what was trained on measures no model, and no class is only in held-out videos."""

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.held_out import sides_of
from paddlevideo_studio.training import measured_on, split, unchecked

from paddlevideo.errors import UserError
from paddlevideo.spans import SpanTable
from tests.studio.test_annotations import put

BOTH = {"walk", "run"}


@pytest.fixture
def files(project):
    """``files(n)``: videos of the project, each with content of its own."""

    def make(*contents):
        made = []
        for number, content in enumerate(contents):
            video = project.videos.new("a.mp4")
            video = project.videos.write(type(video)(f"{number:016x}", "a.mp4", f"{number:016x}.mp4"))
            project.videos.path(video).write_bytes(content)
            made.append(video.file)
        return made

    return make


def test_what_was_trained_on_is_never_held_out(project, files):
    names = files(b"a", b"b", b"c", b"d")
    first = sides_of(project, dict.fromkeys(names[:3], BOTH))
    (held_out,) = [name for name in first if first[name]]
    trained = [name for name in first if not first[name]]
    with pytest.raises(UserError, match="every annotated video has been trained on"):
        sides_of(project, dict.fromkeys(trained, BOTH))
    assert sides_of(project, dict.fromkeys([*trained, names[3]], BOTH))[names[3]]
    assert project.videos.of_file(held_out).held_out


def test_a_file_that_was_trained_on_is_not_held_out_when_its_video_comes_again(project, files):
    names = files(b"aaaa", b"bb", b"c")
    first = sides_of(project, dict.fromkeys(names, BOTH))
    gone = next(name for name in names if not first[name])
    content = (project.videos.folder / gone).read_bytes()
    kept = [name for name in names if name != gone]
    for _ in range(2):
        video = project.videos.new("again.mp4")
        video = project.videos.write(type(video)(video.id, "again.mp4", f"{video.id}.mp4"))
        project.videos.path(video).write_bytes(content)
        assert sides_of(project, dict.fromkeys([*kept, video.file], BOTH))[video.file] is False


def test_the_only_video_of_a_class_is_trained_on(project, files):
    names = files(b"a", b"b", b"c", b"d", b"e")
    sides_of(project, dict.fromkeys(names[:4], BOTH))
    labels = {**dict.fromkeys(names[:4], BOTH), names[4]: {"jump"}}
    assert not sides_of(project, labels)[names[4]]


def test_videos_with_a_class_of_their_own_each_are_refused(project, files):
    names = files(b"a", b"b")
    with pytest.raises(UserError, match="'run' is in a.mp4 alone"):
        sides_of(project, {names[0]: {"walk"}, names[1]: {"run"}})
    assert any(sides_of(project, {names[0]: {"walk"}, names[1]: {"run"}}, ["run"]).values())  # a head keeps it


def test_the_video_without_a_class_of_its_own_is_held_out(project, files):
    names = files(b"a", b"b")
    assert sides_of(project, {names[0]: {"walk", "run"}, names[1]: {"run"}}) == {names[0]: False, names[1]: True}


def test_copies_of_a_file_are_on_one_side(project, files):
    names = files(b"same", b"other", b"same", b"same", b"else")
    sides = sides_of(project, dict.fromkeys(names, BOTH))
    assert len({sides[names[k]] for k in (0, 2, 3)}) == 1 and any(sides.values())
    with pytest.raises(UserError, match="one and the same file"):
        sides_of(project, dict.fromkeys([names[0], names[2]], BOTH))


def test_spans_of_persons_are_left_out_and_ends_are_cut(client, upload, project):
    for n in range(3):
        video = upload(f"{n}.mp4")
        put(client, video, {"start_s": 0, "end_s": 2.5, "label": "walk"},
            {"start_s": 1, "end_s": 2, "label": "run", "person": "1"})  # fmt: skip
        late = {"start_s": 2.0, "end_s": 4.5, "label": "run"}  # as files of earlier versions have it
        project.spans.append([{**late, "video": f"{video['id']}.mp4"}], "human")
    parts = split(project, with_persons=False)
    spans = [span for table in parts.values() for span in table.spans]
    assert len(spans) == 6 and not any(span.person for span in spans)
    assert max(span.end_s for span in spans) == video["duration_s"] == 4.0
    assert sum(len(table.spans) for table in split(project).values()) == 9


def test_unmarked_time_counts_only_where_a_model_has_analysed(client, upload, project):
    videos = [upload(f"{n}.mp4") for n in range(3)]
    for each in videos:
        put(client, each, {"start_s": 0, "end_s": 1, "label": "walk"}, {"start_s": 2, "end_s": 3, "label": "run"})
    parts, files = split(project), [project.videos.get(each["id"]).file for each in videos]
    ignored = unchecked(project, parts, {files[0]})
    assert [(s.video, s.start_s, s.end_s) for s in ignored.spans] == [(f, 0.0, 4.0) for f in sorted(files[1:])]
    before = measured_on(project, parts, SpanTable([]))
    assert before == measured_on(project, split(project), SpanTable([]))
    held_out = parts["val"].spans[0]
    project.spans.append([{**held_out.to_dict(), "start_s": 0.5}], "human")
    assert measured_on(project, split(project), SpanTable([]))["sha256"] != before["sha256"]
