"""Times the ways to run an exported model on this machine, and compares their scores with the network's."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.environment import available_cores, cpu_name
from paddlevideo.errors import UserError
from paddlevideo.inference.export_check import (
    Reference,
    person_batches,
    random_clips,
    synthetic_clip,
    synthetic_key_frame,
)
from paddlevideo.inference.exported import FILE_NAME, Export
from paddlevideo.inference.runtimes.base import Runtime, Say, has_bf16, installed, run_alone
from paddlevideo.inference.runtimes.choice import (
    Timed,
    described,
    fastest,
    files_of,
    form_files,
    leading,
    onnx_file,
    plain,
)
from paddlevideo.inference.runtimes.onnx import CONVERTER, can_convert, convert
from paddlevideo.inference.trial import REQUEST, RESULT, batch_file, one_clip, scores_file
from paddlevideo.inference.video_bank import WINDOW, Window
from paddlevideo.memory import clips
from paddlevideo.safe_io import read_json, read_npz, sha256

_TWICE = 3  # of the fastest ways are tried twice
_SECONDS = 1.5  # of runs per way, after the comparison
_LIMIT_S = 900.0


def time_runtimes(program: Path, params: Path, reference: Reference, say: Say, converts: bool = True) -> dict[str, Any]:
    """The section ``runtime`` of ``inference.yml``; prints the table.

    Every runtime that is installed is tried on all cores, the fastest one then on fewer.  With ``converts``,
    ``NAME.onnx`` is made beside the program where paddle2onnx is installed, and removed where the runtimes give other
    scores with it than the network's.  One that is there already and that no runtime here can run stays.

    Args:
        program, params: the exported files, or the twin that stands for them.
        reference: batches with the network's scores.
        say: receives the lines of the table.
        converts: False: only the forms that are there are tried, and none is removed.
    """
    onnx = onnx_file(program.with_suffix(""))
    was_there = onnx.is_file()
    note = _converted(program, params, onnx) if converts else None
    with _folder_of(reference.batches) as folder:

        def tried(row: Timed) -> Timed:
            return _tried(row, program, params, reference, folder)

        rows = [tried(row) for row in _ways(program.with_suffix(""))]
        for row in leading(rows, _TWICE):  # what else the machine did meanwhile hits them all alike
            rows[rows.index(row)] = replace(row, ms=min(row.ms, tried(row).ms or row.ms))
        best = fastest(rows)
        threads = best.cpu_threads // 2 if best else 0
        while best and threads:
            fewer = tried(replace(best, cpu_threads=threads))
            rows.append(fewer)
            if fewer.ms is None or fewer.ms >= best.ms:
                break
            best, threads = fewer, threads // 2
    others = [row for row in rows if row.backend != "paddle"]
    differs = any(row.ms is not None and row.precision == "fp32" and not row.agrees for row in others)
    if converts and not any(row.agrees for row in others) and (differs or not was_there):
        onnx.unlink(missing_ok=True)
    clip = clips(one_clip(dict(reference.batches[0]))["imgs"])
    section = described(rows, clip)
    for line in [*_table(rows, clip), *([note] if note else []), _verdict(section, rows)]:
        say(line)
    return section


def time_export(path: str | Path, say: Say) -> Path:
    """Times an exported model anew on this machine and writes the choice into its ``inference.yml``.

    The scores of Paddle's plain run are the reference: they were compared with the network at the export.

    Args:
        path: the folder that export wrote, or its program.

    Returns:
        ``inference.yml``.

    Raises:
        UserError: files missing or damaged; Paddle cannot run the model.
    """
    export = Export.find(path, None, say)
    description = export.description
    if description is None:
        raise UserError(f"{export.file}: not there; export the model again")
    stem = export.program.with_suffix("")
    if not files_of("paddle", stem):
        raise UserError(
            f"{export.program}: not there; timing compares all runtimes with Paddle, export the model again"
        )
    onnx = onnx_file(stem)
    export.check((export.program, export.params, onnx, *form_files("openvino", stem)))
    pipeline, noted = export.pipeline(), description.detection
    if noted:
        window = Window(**noted[WINDOW]) if noted.get(WINDOW) else None
        batches = person_batches(synthetic_key_frame(pipeline), window)
    else:
        clip = synthetic_clip(pipeline)
        batches = [{"imgs": random_clips(clip, 1 if len(clip) > 1 else 2)}]
        if len(clip) > 1:
            say(f"each run takes all {len(clip)} views of a clip")
    with _folder_of(batches) as folder:
        usual = Timed("paddle", cpu_threads=available_cores())
        scores, error = _scores(usual, export.program, export.params, len(batches), folder, seconds=0.0)
    if error is not None:
        raise UserError(f"{export.program}: Paddle cannot run it: {error}")
    section = time_runtimes(export.program, export.params, Reference(batches, scores), say)
    files = {name: digest for name, digest in description.files.items() if name != onnx.name}
    if onnx.is_file():
        files[onnx.name] = sha256(onnx)
    return replace(description, runtime=section, files=files).write(export.file.parent)


def _ways(files: Path) -> Iterator[Timed]:
    """Every runtime that is installed and has its files, on all cores; in bfloat16 too where the CPU has it."""
    for backend, mkldnn in (("paddle", False), ("paddle", True), ("onnx", False), ("openvino", False)):
        if not installed(backend) or not files_of(backend, files):
            continue
        way = Timed(backend, mkldnn, cpu_threads=available_cores())
        yield way
        if has_bf16() and (mkldnn or backend == "openvino"):
            yield replace(way, precision="bf16")


def _converted(program: Path, params: Path, onnx: Path) -> str | None:
    """Writes the ONNX form where it is missing; gives the line that says why nothing runs it."""
    others = [backend for backend in ("onnx", "openvino") if installed(backend)]
    if not others:
        return "not timed: ONNX Runtime, OpenVINO: not installed (pip install onnxruntime openvino paddle2onnx)"
    if onnx.is_file():
        return None
    if not can_convert():
        return f"not timed: ONNX Runtime, OpenVINO: {CONVERTER} is not installed (pip install {CONVERTER})"
    error = convert(program, params, onnx)
    return f"not timed: ONNX Runtime, OpenVINO: this model cannot be converted ({error})" if error else None


@contextmanager
def _folder_of(batches: Any) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as name:
        for number, batch in enumerate(batches):
            np.savez(batch_file(Path(name), number), **batch)
        yield Path(name)


def _tried(row: Timed, program: Path, params: Path, reference: Reference, folder: Path) -> Timed:
    scores, error = _scores(row, program, params, len(reference.batches), folder, _SECONDS)
    if error is not None:
        return replace(row, error=error)
    found, ms = reference.difference(scores, str(row)), read_json(folder / RESULT)["ms"]
    return replace(row, ms=round(ms, 2), max_difference=found.absolute, agrees=found.small)


def _scores(
    row: Timed, program: Path, params: Path, num_batches: int, folder: Path, seconds: float
) -> tuple[list[np.ndarray], str | None]:
    """The scores of the folder's batches, or why there are none."""
    runtime = row.runtime(Runtime(use_gpu=False))
    request = {"program": str(program.absolute()), "params": str(params.absolute()), "runtime": asdict(runtime)}
    (folder / REQUEST).write_text(json.dumps({**request, "batches": num_batches, "seconds": seconds}))
    (folder / RESULT).unlink(missing_ok=True)
    command = [sys.executable, "-m", "paddlevideo.inference.trial", str(folder)]
    error = run_alone(command, _LIMIT_S, _package_path())
    if not (folder / RESULT).is_file():
        return [], error or "no result"
    arrays = read_npz(scores_file(folder))
    return [arrays[str(number)] for number in range(num_batches)], None


def _package_path() -> Mapping[str, str]:
    """The environment variable that makes this package importable."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def _table(rows: list[Timed], clip: str) -> Iterator[str]:
    yield f"runtimes on {cpu_name()}, {clip}, the fastest run:"
    for row in rows:
        threads = f"{row.cpu_threads} thread{'s' * (row.cpu_threads != 1)}"
        if row.ms is None:
            yield f"  {row}, {threads}: {row.error}"
            continue
        remark = "" if row.agrees else ": too large, not used" if row.precision == "fp32" else ": by --precision only"
        yield f"  {row}, {threads}: {row.ms:.1f} ms, largest difference of a score {row.max_difference:.1e}{remark}"


def _verdict(section: Mapping[str, Any], rows: list[Timed]) -> str:
    best, usual = fastest(rows), plain(rows)
    if best is None:
        return f"no runtime gives the network's scores; {FILE_NAME} names none"
    gain = f", {usual.ms / best.ms:.1f} times as fast as Paddle without oneDNN" if usual and usual != best else ""
    threads = f"{best.cpu_threads} thread{'s' * (best.cpu_threads != 1)}"
    return f"prediction on this processor uses {best}, {threads}{gain}; --backend and other options override it"
