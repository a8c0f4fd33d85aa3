"""What an optimizer step costs besides its arithmetic: at most one read from the device, whatever it adds up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import yaml

from paddlevideo.config import Config
from paddlevideo.engine.precision import Precision
from paddlevideo.engine.trainer import Trainer
from paddlevideo.engine.training import train
from paddlevideo.modeling.frameworks import fast_rcnn
from paddlevideo.settings import Options
from tests.counted.reads import count_reads
from tests.tiny import tsm_config


@pytest.fixture
def per_step(monkeypatch):
    """The reads of each optimizer step, from the loader's batch to the last hook after it."""
    reads, counts = count_reads(monkeypatch), []
    windows, call = Trainer._windows, Trainer._call

    def watched_windows(run, start):
        reads.clear()
        yield from windows(run, start)

    def watched_call(run, moment):
        call(run, moment)
        if moment == "after_step":
            counts.append(list(reads))
        reads.clear()

    monkeypatch.setattr(Trainer, "_windows", watched_windows)
    monkeypatch.setattr(Trainer, "_call", watched_call)
    return counts


def use_precision(patch: pytest.MonkeyPatch, dtype: str) -> None:
    """Mixed precision as on a GPU, but for the half-precision kernels, which a CPU lacks."""
    if dtype == "float32":
        return
    scaler = paddle.amp.grad_scaler
    place = SimpleNamespace(is_gpu_place=lambda: True)
    patch.setattr(scaler, "_dygraph_tracer", lambda: SimpleNamespace(_expected_place=place))
    patch.setattr(scaler, "amp_global_state", lambda: SimpleNamespace(amp_dtype=dtype))

    init = Precision.__init__

    def init_on_gpu(self, *_):
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(paddle, "get_device", lambda: "gpu:0")
            init(self, True, "O1", dtype)

    patch.setattr(Precision, "__init__", init_on_gpu)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_an_optimizer_step_reads_the_device_once(clips, tmp_path, monkeypatch, per_step, dtype, accumulate):
    use_precision(monkeypatch, dtype)
    config = tsm_config(clips, tmp_path) | {"EMA": {"decay": 0.9}, "SWA": {"start_epoch": 2, "interval_steps": 1}}
    config["DATASET"]["num_workers"] = int(accumulate == 4)
    config["GRADIENT_ACCUMULATION"] = {"num_iters": accumulate}
    train(Config(config), Options(max_iters=8))
    assert len(per_step) == 3 * 4 // accumulate
    assert all(len(reads) == 1 for reads in per_step), per_step


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_step_of_detection_reads_the_device_once(tiny_ava, clips, tmp_path, monkeypatch, per_step, num_workers):
    monkeypatch.setattr(fast_rcnn, "_host_seed", lambda: 1)  # a draw of the CPU's own generator
    config = yaml.safe_load(tiny_ava.config.read_text())
    schedule = tsm_config(clips, tmp_path)
    config |= {key: schedule[key] for key in ("OPTIMIZER", "output_dir", "log_interval")}
    config |= {"epochs": 1, "GRADIENT_ACCUMULATION": {"num_iters": 2}}
    config["DATASET"] |= {"num_workers": num_workers, "train": config["DATASET"]["test"]}
    config["PIPELINE"]["train"] = config["PIPELINE"]["test"]
    train(Config(config), Options(max_iters=2))
    assert per_step and all(len(reads) == 1 for reads in per_step), per_step


def test_gradients_that_overflow_in_float16_lower_the_scale_and_change_no_weight(clips, tmp_path, monkeypatch):
    use_precision(monkeypatch, "float16")
    step, seen = Trainer._step, {}

    def overflowing(run, window):
        if run.progress.step != 1:
            return step(run, window)
        weight = run.framework.backbone.conv._conv.weight
        before, handle = weight.numpy().copy(), weight.register_hook(lambda g: g * float("inf"))
        figures = step(run, window)
        handle.remove()
        seen["changed"] = not np.array_equal(before, weight.numpy())
        seen["scale"] = float(run.precision._scaler._scale)
        return figures

    monkeypatch.setattr(Trainer, "_step", overflowing)
    run = train(Config(tsm_config(clips, tmp_path) | {"epochs": 1}), Options())
    assert seen == {"changed": False, "scale": 2.0**15} and run.stepped
    assert "step 1: the gradients overflow in float16; the loss scale is lowered" in (tmp_path / "log.txt").read_text()


READS = {
    "numpy": lambda x: x.numpy(),
    "tolist": lambda x: x.tolist(),
    "float": lambda x: float(x[0]),
    "if": lambda x: bool(x[0] > 0),
    "array": lambda x: np.asarray(x),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "to_place": lambda x: x.to(device=paddle.CPUPlace()),
    "copy_to": lambda x: x._copy_to(paddle.CPUPlace(), True),
    "nonzero": lambda x: paddle.nonzero(x),
    "method_nonzero": lambda x: x.nonzero(),
    "where": lambda x: paddle.where(x > 0),
    "mask": lambda x: x[x > 0],
    "mask_in_tuple": lambda x: x[(x > 0,)],
    "set_by_mask": lambda x: x.__setitem__(x > 0, paddle.zeros([2])),
    "masked_select": lambda x: paddle.masked_select(x, x > 0),
    "unique": lambda x: paddle.unique(x),
    "bincount": lambda x: paddle.bincount(x.astype("int32")),
    "dlpack": lambda x: np.from_dlpack(x),
    "to_dlpack": lambda x: paddle.utils.dlpack.to_dlpack(x),
}


@pytest.mark.parametrize("way", READS)
def test_each_way_to_the_host_is_one_read(monkeypatch, way):
    x, reads = paddle.to_tensor([0.0, 1.0, 2.0]), count_reads(monkeypatch)
    READS[way](x)
    assert len(reads) == 1, reads


def test_what_stays_on_the_device_is_no_read(monkeypatch):
    x, reads = paddle.to_tensor([0.0, 1.0, 2.0]), count_reads(monkeypatch)
    x[1:], x[paddle.to_tensor([0, 2])], x.astype("int64"), x.to("float64"), paddle.where(x > 0, x, x), x * 2
    assert not reads


@pytest.mark.parametrize("way", ["cpu", "to", "copy_to", "nonzero", "mask", "to_dlpack"])
def test_a_further_read_in_a_step_is_seen(clips, tmp_path, monkeypatch, per_step, way):
    gradients = Trainer._gradients

    def reading(run, window):
        loss, sums = gradients(run, window)
        READS[way](loss.reshape([1]))
        return loss, sums

    monkeypatch.setattr(Trainer, "_gradients", reading)
    train(Config(tsm_config(clips, tmp_path) | {"epochs": 1}), Options(max_iters=1))
    assert [len(reads) for reads in per_step] == [2]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_leaves_no_gradient_in_memory(clips, tmp_path, monkeypatch, accumulate):
    call, held = Trainer._call, []

    def watched(run, moment):
        if moment == "after_step":
            held.append(sum(weight.grad is not None for weight in run.framework.parameters()))
        call(run, moment)

    monkeypatch.setattr(Trainer, "_call", watched)
    config = tsm_config(clips, tmp_path) | {"epochs": 1, "GRADIENT_ACCUMULATION": {"num_iters": accumulate}}
    train(Config(config), Options(max_iters=2))
    assert held == [0] * (2 // accumulate)
