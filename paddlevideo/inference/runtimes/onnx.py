"""``NAME.onnx``: made of an exported program by paddle2onnx, and run by ONNX Runtime."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.environment import available_cores
from paddlevideo.errors import UserError
from paddlevideo.inference.runtimes.base import ExportedModel, InputSpec, Runtime, run_alone
from paddlevideo.memory import is_out_of_memory
from paddlevideo.safe_io import write_atomic

SUFFIX, INT8_SUFFIX = ".onnx", ".int8.onnx"
CONVERTER = "paddle2onnx"
_OPSET = 17
_CONVERT = (
    "import sys, paddle2onnx; paddle2onnx.export(*sys.argv[1:4], opset_version=int(sys.argv[4]), "
    "enable_onnx_checker=False, verbose=False, optimize_tool='None')"
)
# its own choice, polygraphy, installs packages; the runtimes fold constants themselves
_NO_INSTALLS = {"POLYGRAPHY_AUTOINSTALL_DEPS": "0", "PIP_NO_INDEX": "1"}
_LIMIT_S = 600.0


class OnnxModel(ExportedModel):
    """A converted program, loaded by ONNX Runtime on the CPU.

    Args:
        file: ``.onnx``.
        inputs: of the program that it was made of.
        runtime: threads; graph optimisation.

    Raises:
        UserError: no onnxruntime, a damaged file.
    """

    def __init__(self, file: Path, inputs: Sequence[InputSpec], runtime: Runtime):
        self.name, self.inputs, self.runtime, self.device = str(file), inputs, runtime, runtime.device()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = runtime.cpu_threads or available_cores()
        options.log_severity_level = 3 if runtime.disable_glog else 2
        if not runtime.ir_optim:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise unloadable(file, "ONNX Runtime", error) from None

    def output(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """As ``ExportedModel.output``."""
        given = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            return self._session.run(None, given)[0]
        except Exception as error:
            raise unrunnable(self.name, "ONNX Runtime", error) from error


def unloadable(file: Path, library: str, error: Exception) -> UserError:
    """The refusal of a file."""
    return UserError(f"{file}: {library} cannot load it ({_one_line(error)}); export the model again")


def unrunnable(name: str, library: str, error: Exception) -> Exception:
    """The error of a run; one for lack of memory stays as it is."""
    if isinstance(error, UserError) or is_out_of_memory(error):
        return error
    return UserError(f"{name}: {library} cannot run it ({_one_line(error)}); use --backend paddle")


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())[:200]


def can_convert() -> bool:
    """Whether paddle2onnx is installed."""
    return importlib.util.find_spec(CONVERTER) is not None


def convert(program: Path, params: Path, target: Path) -> str | None:
    """Writes the ONNX form of a program, in a process of its own, since paddle2onnx aborts where it cannot.

    Returns:
        Why there is none; None if ``target`` was written.

    Raises:
        UserError: ``target`` cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        made = Path(folder, target.name)
        files = [str(program.absolute()), str(params.absolute()), str(made)]
        error = run_alone([sys.executable, "-c", _CONVERT, *files, str(_OPSET)], _LIMIT_S, _NO_INSTALLS)
        if error is None and not made.is_file():
            error = "wrote no file"
        if error is not None:
            return f"{CONVERTER}: {error}"
        with made.open("rb") as source:
            write_atomic(target, lambda stream: shutil.copyfileobj(source, stream))
    return None
