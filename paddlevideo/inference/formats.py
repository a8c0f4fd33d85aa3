"""The forms of an exported model for other runtimes: ``NAME.onnx``, and ``NAME.xml`` with ``NAME.bin`` for OpenVINO.

Both are made of the exported program by paddle2onnx.  Each is compared with the network in its own runtime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from paddlevideo.errors import UserError
from paddlevideo.inference.export_check import Difference, Reference
from paddlevideo.inference.runtimes.base import BACKENDS, LIBRARIES, Backend, Runtime, Say, installed
from paddlevideo.inference.runtimes.choice import form_files, onnx_file, open_model
from paddlevideo.inference.runtimes.onnx import CONVERTER, can_convert, convert
from paddlevideo.inference.runtimes.openvino import write_ir
from paddlevideo.inference.runtimes.paddle import PARAMS_SUFFIX


def checked_formats(names: Sequence[str]) -> list[Backend]:
    """The formats beside Paddle's, in the order of ``BACKENDS``.

    Args:
        names: of ``paddle``, ``onnx``, ``openvino``; Paddle's program is written in any case.

    Raises:
        UserError: another name, or a package that is missing.
    """
    unknown = [names] if isinstance(names, str) else sorted({*names} - {*BACKENDS})
    if unknown:
        raise UserError(f"formats: {', '.join(unknown)}: expected a list of {', '.join(BACKENDS)}")
    formats = [name for name in BACKENDS[1:] if name in names]
    for name in formats:
        if packages := lacking(name):
            raise UserError(
                f"format {name}: {' and '.join(packages)} not installed: pip install {' '.join(packages)}; nothing was "
                "written"
            )
    return formats


def lacking(name: Backend) -> list[str]:
    """The packages that a format beside Paddle's needs and that are not installed."""
    return [*([] if can_convert() else [CONVERTER]), *([] if installed(name) else [LIBRARIES[name]])]


def write_formats(program: Path, formats: Sequence[Backend]) -> None:
    """Writes the files of these formats beside a program.

    Raises:
        UserError: it cannot be converted.
    """
    if not formats:
        return
    stem = program.with_suffix("")
    with tempfile.TemporaryDirectory(prefix="onnx-", dir=program.parent) as folder:
        onnx = onnx_file(stem if "onnx" in formats else Path(folder, stem.name))
        error = convert(program, program.with_suffix(PARAMS_SUFFIX), onnx)
        if error is None and "openvino" in formats:
            error = write_ir(onnx, form_files("openvino", stem)[0])
    if error is not None:
        raise UserError(
            f"{stem.name}: format {' and '.join(formats)}: this model cannot be converted ({error}); nothing was "
            "written. Export it without --format; parts of your own may use an operator that paddle2onnx lacks, of "
            "other models please report it with the configuration and the versions"
        )


def compare_formats(
    program: Path, formats: Sequence[Backend], reference: Reference, say: Say
) -> Mapping[Backend, Difference]:
    """The difference of each form to the network, in its own runtime.

    Args:
        program: has the files beside it.
        reference: batches with the network's scores.
        say: receives a line per form.

    Raises:
        UserError: a form gives other scores than the network.
    """
    found: dict[Backend, Difference] = {}
    for name in formats:
        model = open_model(program, program.with_suffix(PARAMS_SUFFIX), Runtime(backend=name, use_gpu=False), say)
        found[name] = reference.difference([model.run(batch) for batch in reference.batches], Path(model.name).name)
        say(f"format {name} against the network, {found[name]}")
        if not found[name].small:
            raise UserError(
                f"{program.stem}: format {name} differs from the network: {found[name]}; nothing was written. Export "
                "it without --format; please report it with the configuration and the versions"
            )
    return found
