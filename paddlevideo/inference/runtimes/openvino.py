"""``NAME.xml`` with ``NAME.bin``, or ``NAME.onnx``, run by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.environment import available_cores
from paddlevideo.inference.runtimes.base import ExportedModel, InputSpec, Runtime
from paddlevideo.inference.runtimes.onnx import unloadable, unrunnable


class OpenVinoModel(ExportedModel):
    """A converted program, compiled by OpenVINO; in float32 unless the runtime has bf16.

    Args:
        file: ``.xml``, with its ``.bin`` beside it, or ``.onnx``.
        runtime: threads; precision.

    Raises:
        UserError: no openvino, a damaged file.
    """

    def __init__(self, file: Path, runtime: Runtime):
        self.name, self.runtime, self.device = str(file), runtime, runtime.device()
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": runtime.cpu_threads or available_cores(),
            # OpenVINO's own default is bf16 where the CPU has it
            "INFERENCE_PRECISION_HINT": "bf16" if runtime.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            model = openvino.Core().compile_model(str(file), "CPU", settings)
        except Exception as error:  # of the library's C++ part
            raise unloadable(file, "OpenVINO", error) from None
        self._request, self._output = model.create_infer_request(), model.output(0)
        self.inputs = [_input_of(one) for one in model.inputs]

    def output(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """As ``ExportedModel.output``."""
        given = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            return self._request.infer(given)[self._output].copy()  # the next run overwrites it
        except Exception as error:
            raise unrunnable(self.name, "OpenVINO", error) from error


def _input_of(given: Any) -> InputSpec:
    axes = given.get_partial_shape()
    shape = tuple(axis.get_length() if axis.is_static else -1 for axis in axes)
    return InputSpec(given.get_any_name(), shape, given.get_element_type().to_dtype().name)


def write_ir(source: Path, target: Path) -> str | None:
    """Writes ``target`` (``.xml``) and its ``.bin`` in float32, from an ``.onnx`` file.

    Returns:
        Why there is none; None if both were written.
    """
    import openvino

    try:
        openvino.save_model(openvino.Core().read_model(str(source)), str(target), compress_to_fp16=False)
    except Exception as error:  # of the library's C++ part
        return f"OpenVINO: {' '.join(str(error).split())[:200]}"
    return None
