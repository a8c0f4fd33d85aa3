"""An ONNX file under ONNX Runtime and OpenVINO, and PyTorch eager, without the project: contestants of
benchmarks.inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _clips(frames: int, batch: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (batch, 1, frames, 224, 224, 3), dtype=np.uint8)


def onnxruntime(file: str, frames: int, batch: int, threads: int) -> Callable[[], list[float]]:
    """Returns the scores of the first clip."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    imgs = _clips(frames, batch)
    return lambda: session.run(None, {"imgs": imgs})[0][0].tolist()


def openvino(file: str, frames: int, batch: int, threads: int, precision: str) -> Callable[[], list[float]]:
    """The same; ``precision`` is f32 or bf16."""
    import openvino as runtime

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = runtime.Core().compile_model(file, "CPU", settings)
    request, imgs = model.create_infer_request(), _clips(frames, batch)
    return lambda: request.infer({"imgs": imgs})[model.output(0)][0].tolist()


def torch_eager(network: str, frames: int, batch: int, threads: int) -> Callable[[], list[float]]:
    """The same layers in PyTorch, with weights of their own."""
    import torch
    from torch_networks import NETWORKS

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = NETWORKS[network]().eval()
    clips = torch.from_numpy(_clips(frames, batch)[:, 0])

    def run() -> list[float]:
        with torch.inference_mode():
            x = (clips.permute(0, 1, 4, 2, 3).float() / 255.0 - 0.45) / 0.225
            return model(x).softmax(-1)[0].tolist()

    return run
