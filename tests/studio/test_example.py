"""The example's button: the demo's model and videos in an empty project."""

import shutil

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import adding


def test_a_project_without_a_demo_has_no_example(client, monkeypatch, tmp_path):
    monkeypatch.setattr(adding, "EXAMPLE", tmp_path)
    assert client.get("/api/project").json()["example"] is False
    assert client.post("/api/example").status_code == 404


def test_the_example_is_the_demos_model_and_its_videos(client, monkeypatch, tmp_path, clip, tiny):
    for name in ("videos/videos-0.mp4", "new/new-0.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(clip, tmp_path / name)
    shutil.copytree(tiny.folder, tmp_path / "export")
    monkeypatch.setattr(adding, "EXAMPLE", tmp_path)
    assert client.get("/api/project").json()["example"] is True
    assert client.post("/api/example").status_code == 202
    names = [video["name"] for video in client.get("/api/videos").json()["videos"]]
    assert names == ["new-0.mp4", "videos-0.mp4"]
    project = client.get("/api/project").json()
    assert project["model"] == 1
    assert project["analysis"]["hop_s"] == 1
