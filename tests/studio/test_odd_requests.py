"""Requests, settings and files that no page writes: one line that says what is wrong, and never a bare 500."""

import argparse
import json

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import command
from paddlevideo_studio.project import Project
from paddlevideo_studio.security import Access
from paddlevideo_studio.server import make_app
from paddlevideo_studio.studio import Limits
from starlette.testclient import TestClient

from paddlevideo.errors import UserError
from tests.studio.conftest import HOST

JSON = {"Content-Type": "application/json"}


def test_an_origin_that_is_no_address_is_another_site_s(client):
    assert client.get("/api/project", headers={"Origin": "http://["}).status_code == 403


def test_half_a_surrogate_in_a_body_is_named(client):
    for body in ('{"analysis": {"\\ud800": 1}}', '{"name": "\\ud800"}', '{"classes": [{"name": "\\ud800"}]}'):
        answer = client.patch("/api/project", content=body, headers=JSON)
        assert answer.status_code == 422 and answer.json()["error"]


@pytest.mark.parametrize(
    "values", ['{"window_s": NaN}', '{"on": 2}', '{"on": 0.3, "off": 0.4}', '{"smoothing": "best"}', '{"hop_s": -1}']
)
def test_settings_that_no_analysis_takes_are_refused(client, project, values):
    answer = client.patch("/api/project", content=f'{{"analysis": {values}}}', headers=JSON)
    assert answer.status_code == 422 and "settings: " in answer.json()["error"] and project.settings.analysis == {}


def test_an_error_of_the_server_is_one_line(project, monkeypatch):
    app = make_app(project, Access.of("127.0.0.1", 8080, None), Limits())
    monkeypatch.setattr(project, "corrections", lambda journal: 1 / 0)
    with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
        answer = client.get("/api/project")
    assert answer.status_code == 500 and "an error of the server" in answer.json()["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_token_with_signs_is_taken_from_an_address(serve):
    client = serve(token="ab+cd%2Fef")
    for text in ("ab+cd%252Fef", "ab%2Bcd%252Fef"):
        answer = client.get(f"/?token={text}", follow_redirects=False)
        assert answer.status_code == 303 and "set-cookie" in answer.headers
        client.cookies.clear()
    assert client.get("/?token=ab+cd").status_code == 401


@pytest.mark.parametrize("token", ["geheimwörter", "two words", "short"])
def test_a_token_that_no_header_carries_is_refused(tmp_path, token):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(UserError, match="--token: expected at least 8 characters: ASCII"):
        command.run(parser.parse_args(["--project", str(tmp_path / "p"), "--token", token]))


GOOD = {"id": "a", "video": "a.mp4", "by": "human", "at": "2026"}
SPAN = {**GOOD, "start_s": 0, "end_s": 1, "label": "walk"}
BOX = {**GOOD, "time_s": 0, "box": [0, 0, 1, 1], "person": "1", "actions": []}


@pytest.mark.parametrize(
    ("file", "line", "key"),
    [
        ("spans", {k: v for k, v in SPAN.items() if k != "label"}, "label: "),
        ("spans", {k: v for k, v in SPAN.items() if k != "by"}, "by: "),
        ("spans", {**SPAN, "start_s": "0"}, "start_s: "),
        ("people", {**BOX, "box": [0, 0, 1]}, "box: "),
        ("people", {**BOX, "actions": "walk"}, "actions: "),
    ],
)
def test_a_line_that_was_edited_by_hand_is_named_at_start(tmp_path, file, line, key):
    folder = tmp_path / "p"
    Project.open(folder).close()
    good = SPAN if file == "spans" else BOX
    lines = [good, {**line, "id": "b"}]
    (folder / f"{file}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    with pytest.raises(UserError, match=f"{file}.jsonl:2: {key}"):
        Project.open(folder)


def test_a_misspelt_key_is_an_error(client):
    answer = client.patch("/api/project", json={"nmae": "x"})
    assert answer.status_code == 422 and "nmae" in answer.json()["error"]
