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
        runtime: threads; graph optimisation.

    Raises:
        UserError: no onnxruntime, a damaged file.
    """

    def __init__(self, file: Path, runtime: Runtime):
        self.name, self.runtime, self.device = str(file), runtime, runtime.device()
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
        self.inputs = [_input_of(one) for one in self._session.get_inputs()]

    def output(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """As ``ExportedModel.output``."""
        given = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            return self._session.run(None, given)[0]
        except Exception as error:
            raise unrunnable(self.name, "ONNX Runtime", error) from error


def _input_of(given: Any) -> InputSpec:
    """Of ``tensor(uint8)`` and axes that are numbers, or names where they are free."""
    kind = given.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(n if isinstance(n, int) and n > 0 else -1 for n in given.shape)
    return InputSpec(given.name, shape, {"float": "float32", "double": "float64"}.get(kind, kind))


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
        if b"RoiAlign" in made.read_bytes():
            _set_owners(made)
        with made.open("rb") as source:
            write_atomic(target, lambda stream: shutil.copyfileobj(source, stream))
    return None


def _set_owners(file: Path) -> None:
    """Connects every RoiAlign with the clip of each box, by ``boxes_num``: paddle2onnx 2.1 puts the first for all."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(file)
    nodes = list(model.graph.node)
    numbers = [helper.make_tensor(f"owner.{n}", TensorProto.INT64, [1], [n]) for n in (0, 1)]
    scalars = [helper.make_tensor(f"owner.scalar{n}", TensorProto.INT64, [], [n]) for n in (0, 1)]
    model.graph.initializer.extend([*numbers, *scalars])
    owners = [
        helper.make_node("Cast", ["boxes_num"], ["owner.counts"], to=TensorProto.INT64),  # [N]
        helper.make_node("CumSum", ["owner.counts", "owner.scalar0"], ["owner.ends"]),
        helper.make_node("Unsqueeze", ["owner.ends", "owner.0"], ["owner.columns"]),  # [1, N]
        helper.make_node("Shape", ["boxes"], ["owner.shape"], start=0, end=1),
        helper.make_node("Squeeze", ["owner.shape"], ["owner.rows"]),
        helper.make_node("Range", ["owner.scalar0", "owner.rows", "owner.scalar1"], ["owner.places"]),  # [R]
        helper.make_node("Unsqueeze", ["owner.places", "owner.1"], ["owner.lines"]),  # [R, 1]
        helper.make_node("GreaterOrEqual", ["owner.lines", "owner.columns"], ["owner.after"]),  # [R, N]
        helper.make_node("Cast", ["owner.after"], ["owner.ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["owner.ones", "owner.1"], ["owner"], keepdims=0),  # [R]
    ]
    for node in nodes:
        if node.op_type == "RoiAlign":
            node.input[2] = "owner"
    del model.graph.node[:]
    model.graph.node.extend([*owners, *nodes])
    onnx.save(model, file)
