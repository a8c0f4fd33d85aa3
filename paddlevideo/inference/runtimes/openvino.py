"""``NAME.onnx`` run by OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo.environment import available_cores
from paddlevideo.inference.runtimes.base import ExportedModel, InputSpec, Runtime
from paddlevideo.inference.runtimes.onnx import unloadable, unrunnable


class OpenVinoModel(ExportedModel):
    """A converted program, compiled by OpenVINO; in float32 unless the runtime has bf16.

    Args:
        file: ``.onnx``.
        inputs: of the program that it was made of.
        runtime: threads; precision.

    Raises:
        UserError: no openvino, a damaged file.
    """

    def __init__(self, file: Path, inputs: Sequence[InputSpec], runtime: Runtime):
        self.name, self.inputs, self.runtime, self.device = str(file), inputs, runtime, runtime.device()
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

    def output(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """As ``ExportedModel.output``."""
        given = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            return self._request.infer(given)[self._output].copy()  # the next run overwrites it
        except Exception as error:
            raise unrunnable(self.name, "OpenVINO", error) from error
