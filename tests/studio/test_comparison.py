"""A trained model is used where its figure compares with that of the model in use by then, and is higher."""

import json
import shutil

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")


from paddlevideo_studio.comparison import finish_training
from paddlevideo_studio.jobs import Job

SAME = {"videos": ["a.mp4"], "sha256": "1"}


@pytest.fixture
def finish(project, tiny, tmp_path):
    """``finish(value, ...)``: the result of a training that ended with this figure."""
    count = iter(range(2, 100))

    def make(value, name="F1@50", previous=None, base=None, measured_on=SAME, of="timeline", **options):
        number = next(count)
        folder = tmp_path / str(number)
        shutil.copytree(tiny.folder, folder / "export")
        with open(folder / "export" / "inference.yml", "a") as file:  # another model
            file.write(f"# {number}\n")
        old = None if previous is None else {"name": name, "value": previous}
        content = {"held_out": {"name": name, "value": value}, "previous": old}
        (folder / "figures.json").write_text(json.dumps(content))
        options |= {"measured_on": measured_on, "of": of}
        job = Job(number, "teach", [], model=base, options=options, created=f"2026-01-01T00:00:{number:02d}Z")
        return finish_training(project, job, folder, True)

    return make


def test_the_first_model_is_used_and_only_a_better_one_after_it(finish, project):
    assert finish(0.9)["used"]
    worse = finish(0.5)
    assert not worse["used"] and worse["previous"]["value"] == 0.9 and "not better than model 1" in worse["why"]
    assert not finish(0.6)["used"]  # better than the last one, which is not in use
    assert not finish(0.9)["used"]
    assert finish(0.91)["used"] and project.settings.model == 5


def test_of_two_trainings_from_one_model_the_better_one_stays(finish, project):
    first = finish(0.3)["model"]
    assert finish(0.9, previous=0.3, base=first)["used"]
    second = finish(0.6, previous=0.3, base=first)
    assert not second["used"] and second["previous"]["value"] == 0.9


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"name": "top1"}, "has F1@50, and this one top1"),
        ({"of": "people"}, "is of timeline, and this one is of people"),
        ({"measured_on": {"videos": ["b.mp4"], "sha256": "1"}}, "on other held-out videos"),
        ({"measured_on": {"videos": ["a.mp4"], "sha256": "2"}}, "have changed since"),
    ],
)
def test_a_figure_that_does_not_compare_displaces_no_model(finish, project, other, why):
    finish(0.1)
    result = finish(0.9, **other)
    assert not result["used"] and why in result["why"] and result["previous"] is None and project.settings.model == 1


def test_a_model_from_outside_is_measured_by_the_command_or_stays(finish, project, tiny):
    outside = project.models.add_folder(tiny.folder)
    project.use(outside)
    assert "no figure to compare with" in finish(0.9)["why"]
    assert finish(0.9, previous=0.2, base=outside.id)["used"]


def test_each_kind_of_annotation_has_its_mark(finish, client, project):
    line = {"video": "a.mp4", "time_s": 1.0, "box": [0, 0, 1, 1], "person": "1", "actions": ["walk"]}
    project.people.append([line], "human")
    project.spans.append([{"video": "a.mp4", "start_s": 0, "end_s": 1, "label": "walk"}], "human")
    project.change(trained="2999")
    counts = client.get("/api/project").json()["counts"]
    assert (counts["corrections"], counts["people_corrections"]) == (0, 1)
    finish(0.9, of="people", left_out=3)
    assert project.settings.trained == "2999" and project.settings.trained_people.startswith("2026")
