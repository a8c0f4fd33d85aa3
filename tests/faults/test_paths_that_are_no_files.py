"""A path where no regular file is, is called what it is, at every door of a command."""

import os

import pytest

from paddlevideo.classes import classes_of_weights
from paddlevideo.errors import UserError
from paddlevideo.loader.decode import open_video
from paddlevideo.modeling.weights import load_pretrained, read_weights

DOORS = [classes_of_weights, read_weights, open_video, lambda path: load_pretrained(None, path)]


@pytest.mark.parametrize("door", DOORS, ids=["classes", "weights", "video", "pretrained"])
@pytest.mark.parametrize(
    ("name", "words"),
    [("http://host/a.pdparams", "an address"), ("pipe.pdparams", "a pipe"), ("folder.pdparams", "a folder"),
     ("0", "a number names a camera"), ("absent.pdparams", "no such file")],
)  # fmt: skip
def test_what_stands_there_is_named(tmp_path, monkeypatch, door, name, words):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.pdparams")
    os.mkdir("folder.pdparams")
    with pytest.raises(UserError, match=words):
        door(name)
