"""Mixed precision: the operators that stay in float32."""

import argparse

import paddle
import pytest

from paddlevideo.cli.train import add_run, run_options
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import UserError


def _options(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    add_run(parser)
    return run_options(parser.parse_args(words))


@pytest.mark.parametrize(
    ("given", "expected"), [(None, {"conv3d", "reduce_mean"}), (["softmax"], {"softmax"}), ([], set())]
)
def test_black_list_is_what_autocast_gets(monkeypatch, given, expected):
    precision, calls = Precision(black_list=given), []
    precision.enabled = True
    monkeypatch.setattr(paddle.amp, "auto_cast", lambda **named: calls.append(named["custom_black_list"]))
    precision.autocast()
    assert calls == [expected]


def test_unknown_operator_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="--amp_black_list: Paddle .* has no operator 'conv3'.*conv3d"):
        Precision(black_list=["softmax", "conv3"])


def test_command_line_gives_the_list():
    assert _options("--amp")["amp_black_list"] is None
    assert _options("--amp", "--amp_black_list", "conv3d", "softmax")["amp_black_list"] == ["conv3d", "softmax"]
    assert _options("--amp", "--amp_black_list")["amp_black_list"] == []
    with pytest.raises(UserError, match="--amp_black_list needs --amp"):
        _options("--amp_black_list", "conv3d")
    assert _options("--amp")["amp_dtype"] == _options()["amp_dtype"] == "float16"
    with pytest.raises(UserError, match="--amp_dtype needs --amp"):
        _options("--amp_dtype", "bfloat16")
