"""How the program of an export is traced."""

import paddle
import pytest
from paddle.jit.dy2static.convert_call_func import BUILTIN_LIKELY_MODULES

from paddlevideo.inference.export import save_program
from tests.models.sections import build, clips


@pytest.mark.parametrize("name", ["tsm", "timesformer"])
def test_a_program_that_is_traced_as_it_stands_is_that_of_rewritten_sources(name, tmp_path, monkeypatch):
    """And nothing of it stays in force for a user's own networks."""
    before = list(BUILTIN_LIKELY_MODULES)
    network, imgs = build(name), clips(name)
    network.eval()
    specs = [paddle.static.InputSpec([None, *imgs.shape[1:]], "uint8", name="imgs")]
    save_program(network, specs, tmp_path / "plain")
    assert before == BUILTIN_LIKELY_MODULES
    monkeypatch.setattr(paddle.jit, "ignore_module", lambda modules: None)
    save_program(network, specs, tmp_path / "rewritten")
    programs = [paddle.jit.load(str(tmp_path / form)) for form in ("plain", "rewritten")]
    counts = [str(program.program()).count("pd_op") for program in programs]
    assert counts[0] == counts[1] > 10
    with paddle.no_grad():
        scores = [program(imgs).numpy() for program in programs]
    assert (scores[0] == scores[1]).all()
