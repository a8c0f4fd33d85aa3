"""Answers about long videos: score curves are read once and reduced, JSON is compressed, media are not."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import scores
from paddlevideo_studio.jobs import Job
from paddlevideo_studio.scores import Curves, read_curve

from paddlevideo.errors import UserError
from tests.studio.test_annotations import BOX, put

GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
def table(tmp_path):
    """200 windows of 2 s every 0.5 s; the score of ``run`` is 1 in window 77 alone."""
    rows = [f"{n * 0.5:.3f},{n * 0.5 + 2:.3f},{0.1234567 if n % 2 else 0.5},{int(n == 77)}" for n in range(200)]
    file = tmp_path / "scores.csv"
    file.write_text("start_s,end_s,walk,run\n" + "\n".join(rows) + "\n")
    return file


def test_a_reduced_curve_keeps_every_maximum(table):
    curve = read_curve(table)
    whole = curve.shown(0, 1e9, None)
    assert (whole["num_windows"], whole["reduced"], len(whole["scores"])) == (200, False, 200)
    assert whole["classes"] == ["walk", "run"] and whole["scores"][1] == [0.123, 0.0]
    small = curve.shown(0, 1e9, 20)
    assert (small["num_windows"], small["reduced"], len(small["scores"])) == (200, True, 20)
    assert [row[1] for row in small["scores"]] == [1.0 if n == 7 else 0.0 for n in range(20)]
    assert small["windows_s"][7] == [35.0, 41.5] and small["windows_s"][-1][1] == 101.5
    assert len(curve.shown(0, 1e9, 30)["scores"]) <= 30


def test_a_part_has_the_windows_that_reach_into_it(table):
    part = read_curve(table).shown(10.0, 11.0, 2000)
    assert [row[0] for row in part["windows_s"]] == [8.5, 9.0, 9.5, 10.0, 10.5] and not part["reduced"]
    assert read_curve(table).shown(500, 600, 10)["scores"] == []


def test_a_curve_is_read_once_and_again_when_its_file_changed(table, monkeypatch):
    read = []
    monkeypatch.setattr(scores, "read_curve", lambda file: read.append(file) or read_curve(file))
    curves = Curves()
    first = curves.get(table)
    assert curves.get(table) is first and len(read) == 1
    table.write_text("start_s,end_s,walk\n")
    assert curves.get(table).shown(0, 1, None) == {
        "classes": ["walk"], "num_windows": 0, "reduced": False, "windows_s": [], "scores": []
    }  # fmt: skip
    table.write_text("start_s,end_s,walk\n0,1,x\n")
    with pytest.raises(UserError, match="scores.csv: not a table of scores"):
        curves.get(table)


def test_curves_and_lists_are_compressed_and_media_are_not(client, video, project, table):
    folder = project.root / "runs" / "1"
    folder.mkdir()
    table.rename(folder / "scores.csv")
    job = Job(1, "analyse", [["x"]], video=video["id"], model=4, state="done", created="2026-01-01T00:00:00Z")
    client.app._app._app.state.studio.jobs._write(job)
    url = f"/api/videos/{video['id']}"
    answer = client.get(f"{url}/scores", headers=GZIP)
    assert answer.headers["content-encoding"] == "gzip" and answer.json()["num_windows"] == 200
    assert client.get(f"{url}/scores", params={"most": 10}).json()["run"] == 1
    assert client.get(f"{url}/scores", params={"most": 0}).status_code == 422
    media = client.get(f"{url}/media", headers={**GZIP, "Range": "bytes=0-9"})
    assert media.status_code == 206 and "content-encoding" not in media.headers and len(media.content) == 10


def test_an_answer_to_a_change_is_of_the_part_that_is_shown(client, video):
    boxes = [{**BOX, "time_s": float(t)} for t in np.arange(0, 4, 0.5)]
    put(client, video, *boxes, what="people")
    url = f"/api/videos/{video['id']}/people"
    change = {"changes": [{**BOX, "person": "2", "time_s": 1.1}]}
    found = client.put(url, params={"from_s": 1.0, "to_s": 1.2}, json=change).json()
    assert [(b["person"], b["time_s"]) for b in found["people"]] == [("1", 1.0), ("1", 1.5), ("2", 1.1)]
