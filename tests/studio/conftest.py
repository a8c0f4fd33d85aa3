"""A project in a temporary folder, its server in this process, and a client of it."""

import shutil

import pytest

from tests.clips import numbered_frames, write_clip
from tests.studio.browser import chromium, open_page, page, studio  # noqa: F401 (fixtures)
from tests.studio.demo_model import demo_files, demo_model, demo_videos, new_class_videos  # noqa: F401 (fixtures)

HOST = "http://127.0.0.1:8080"
TYPE = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """An mp4 of four seconds."""
    return write_clip(tmp_path_factory.mktemp("studio") / "clip.mp4", numbered_frames(100), 25)


@pytest.fixture
def project(tmp_path):
    """An open project with two classes."""
    from paddlevideo_studio.project import Project

    with Project.open(tmp_path / "project") as project:
        project.add_classes(["walk", "run"])
        yield project


@pytest.fixture
def serve(project):
    """``serve(access=..., limits=...)`` -> a client; the server ends with the test."""
    from contextlib import ExitStack

    from paddlevideo_studio.security import Access
    from paddlevideo_studio.server import make_app
    from paddlevideo_studio.studio import Limits
    from starlette.testclient import TestClient

    with ExitStack() as stack:

        def start(token=None, limits=None, docs=False, base=HOST):
            access = Access.of("127.0.0.1", 8080, token)
            app = make_app(project, access, limits or Limits(), docs)
            return stack.enter_context(TestClient(app, base_url=base))

        yield start


@pytest.fixture
def client(serve):
    return serve()


@pytest.fixture
def upload(client, clip):
    """``upload(name)`` -> Video; each is another file, as copies of one count as one video in a training."""
    count = iter(range(100))

    def send(name="a.mp4", content=None):
        content = content or clip.read_bytes() + b"\0\0\0\x08free" * next(count)  # boxes that players skip
        answer = client.post("/api/videos", params={"name": name}, content=content, headers=TYPE)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return send


@pytest.fixture(scope="session")
def uploaded(tmp_path_factory, clip):
    """The folder of a project with ``clip`` as its one video."""
    from paddlevideo_studio.project import Project
    from paddlevideo_studio.security import Access
    from paddlevideo_studio.server import make_app
    from paddlevideo_studio.studio import Limits
    from starlette.testclient import TestClient

    folder = tmp_path_factory.mktemp("uploaded") / "project"
    with Project.open(folder) as project:
        app = make_app(project, Access.of("127.0.0.1", 8080, None), Limits())
        with TestClient(app, base_url=HOST) as client:
            assert client.post("/api/videos?name=a.mp4", content=clip.read_bytes(), headers=TYPE).status_code == 201
    return folder


@pytest.fixture
def video(client, project, uploaded):
    """A video as its upload left it in another project; that takes half a second once, and not in every test."""
    from paddlevideo_studio.videos import VideoStore

    (found,) = VideoStore(uploaded)
    shutil.copytree(uploaded / "videos", project.root / "videos", dirs_exist_ok=True)
    project.videos.write(found)
    return client.get(f"/api/videos/{found.id}").json()
