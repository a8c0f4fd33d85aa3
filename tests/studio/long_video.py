"""Two hours of video in a small file that is written in a second, and an analysis of it with many windows and spans."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from paddlevideo_studio.jobs import Job
from paddlevideo_studio.journal import now
from paddlevideo_studio.models import Model
from paddlevideo_studio.project import Project
from paddlevideo_studio.work import COMMAND, SCORES, SPANS, finish_analyse

from paddlevideo.spans import Span, SpanTable, write_spans
from tests.clips import numbered_frames

TWO_HOURS_S = 7200
FPS = 5
PATTERN_S = 60  # seconds that are encoded; they are there again and again


def write_long_video(path: Path, seconds: int = TWO_HOURS_S, width: int = 64, height: int = 48) -> Path:
    """An H.264 mp4 of 5 frames/s whose packets are those of one minute, again and again; its index comes first.

    Picture n of a minute shows the number n, see ``tests.clips``.
    """
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.gop_size, context.thread_count = 5 * FPS, 1
        context.options = {"preset": "veryfast", "bf": "0", "crf": "30"}
        packets = []
        for number, picture in enumerate(numbered_frames(PATTERN_S * FPS, height, width)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number
            packets += stream.encode(frame)
        packets += stream.encode(None)
        facts = [(bytes(packet), packet.pts, packet.is_keyframe) for packet in packets]
        base, period = packets[0].time_base, PATTERN_S * FPS
        for number in range(seconds * FPS):
            content, pts, is_key = facts[number % period]
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, base, is_key
            packet.pts = packet.dts = pts + number // period * period
            packet.duration = 1
            container.mux(packet)
    return path


def plant_analysis(
    folder: Path, video_id: str, num_windows: int = 14_400, num_classes: int = 8, num_spans: int = 3000
) -> Job:
    """Adds an analysis to the project of a studio that does not run: a model without weights, its scores and spans.

    Spans follow one another over the whole video, with a gap behind each, and classes in turn; windows are as long as
    their distance.  The spans enter the journal as those of every analysis do.
    """
    with Project.open(folder) as project:
        video = project.videos.get(video_id)
        model = _plant_model(project, [f"class {n + 1}" for n in range(num_classes)])
        number = max((int(run.name) for run in (folder / "runs").iterdir()), default=0) + 1
        run = folder / "runs" / str(number)
        run.mkdir()
        step_s = video.duration_s / num_spans
        spans = [
            Span(
                round(n * step_s, 3), round((n + 0.75) * step_s, 3), model.classes[n % num_classes],
                round(0.5 + n % 50 / 100, 3), video=video.file,
            )
            for n in range(num_spans)
        ]  # fmt: skip
        write_spans(run / SPANS, SpanTable(spans, {video.file: video.facts()}, model.classes))
        (run / SCORES).write_text(_scores(spans, model, video.duration_s / num_windows, num_windows), encoding="utf-8")
        (run / "log.txt").write_text("")
        step = [*COMMAND, "timeline", "--model_file", str(project.models.path(model)), "--out", str(run / SPANS)]
        job = Job(number, "analyse", [step], video_id, model.id, video.duration_s, state="done", created=now())
        result = finish_analyse(project, job, run, True)
        job = Job(**{**asdict(job), "started": job.created, "ended": now(), "result": result})
        (run / "job.json").write_text(json.dumps(asdict(job)))
        project.use(model)
    return job


def _plant_model(project: Project, classes: list[str]) -> Model:
    number = max((model.id for model in project.models), default=0) + 1
    model = Model(number, "planted", "timeline", tuple(classes), created=now())
    folder = project.models.folder / str(number)
    folder.mkdir()
    (folder / "inference.yml").write_text("{}")
    (folder / "model.json").write_text(json.dumps(asdict(model)))
    project.models._models[number] = model
    return model


def _scores(spans: list[Span], model: Model, hop_s: float, num_windows: int) -> str:
    """The table of ``paddlevideo timeline --scores``: 0.9 for the class of the span at a window's middle."""
    num_classes = len(model.classes)
    middles = (np.arange(num_windows) + 0.5) * hop_s
    at = np.searchsorted([span.start_s for span in spans], middles, "right") - 1
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["start_s", "end_s", *model.classes])
    for n, index in enumerate(at):
        span = spans[index]
        inside = span.start_s <= middles[n] < span.end_s
        low = 0.1 / (num_classes - 1) if inside else 1 / num_classes
        row = [0.9 if inside and name == span.label else low for name in model.classes]
        writer.writerow([f"{n * hop_s:.3f}", f"{(n + 1) * hop_s:.3f}", *(f"{score:.4f}" for score in row)])
    return out.getvalue()
