"""Random list files of every form, with mistakes of every kind."""

from __future__ import annotations

import random

_PATHS = [
    "a.mp4", "b.mp4", "run/a.mp4", "run/b 2.mp4", "c 7", "./a.mp4", "run//a.mp4", "run/../a.mp4", "../out.mp4",
    ".h/x.mp4", "/abs/x.mp4", "~/y.mp4", "d,1.mp4", '"q r.mp4"', '"a.mp4"', "é/ü.mp4", "视频/甲.mp4", "n\u00a0b.mp4",
    "w\u3000.mp4", "t\tt.mp4", "e/", "f/.", "x\x1cy", "g\x0bh", "dots..mp4", "-1", "12", "", "\x00", "z" * 300,
    "run", "a", "(b)[c]'.mp4",
]  # fmt: skip
_LABELS = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "03",
    "-1",
    "+2",
    "x",
    "jump",
    "wave hands",
    "1 2",
    "1;2",
    ";",
    "",
    "9" * 12,
    "2.0",
    "٣",
]
_COUNTS = ["1", "8", "0", "-3", "2.5", "12", "999999999999", "x", "٣", "007"]
_ENDS = ["\n", "\r\n", "\r", "\n\n", " \n", "\n \t\n", "\n\u2003\n"]


def random_list(rng: random.Random, counted: bool) -> bytes:
    """A list file; ``counted``: with numbers of frames."""
    odd = rng.choice([0.0, 0.03, 0.3, 1.0])
    paths = [f"clip_{k}.mp4" for k in range(rng.choice([3, 50]))] + [f"class_{k}/v{k}.avi" for k in range(9)]
    form = rng.choice(["white", "white", "csv", "header", "order", "more", "mixed"])
    between, lines = ("," if form in ("csv", "header", "order", "more") else " "), []
    columns = ["path", "num_frames", "label"] if counted else ["path", "label"]
    if form == "order":
        columns = columns[::-1]
    if form == "more":
        columns = ["id", *columns]
    if form in ("header", "order", "more"):
        lines.append(",".join(rng.choice([name, name.upper(), f" {name}"]) for name in columns))
    for number in range(rng.choice([0, 1, 4, 40])):
        cells = {
            "path": rng.choice(_PATHS if rng.random() < odd else paths),
            "num_frames": rng.choice(_COUNTS) if rng.random() < odd else str(rng.randint(1, 300)),
            "label": rng.choice(_LABELS if rng.random() < odd else _LABELS[:4]),
            "id": str(number),
        }
        own = [cells[name] for name in columns]
        if rng.random() < odd / 3:
            own = own[: rng.randint(0, len(own))] + rng.choice([[], [""], ["0"], ["5", "6"]])
        part = rng.choice([",", " ", ", ", "\t", ";", "  "]) if form == "mixed" or rng.random() < odd / 3 else between
        lines.append(rng.choice(["", "", "", " ", "\t"]) * (rng.random() < 0.2) + part.join(own))
    end = rng.choice(["\n", "\n", "\r\n", "\r"])
    text = "".join(line + (rng.choice(_ENDS) if rng.random() < odd / 2 else end) for line in lines)
    text = text.rstrip("\r\n") if rng.random() < 0.3 else text
    data = rng.choice([b"", b"", b"\xef\xbb\xbf"]) + text.encode()
    return data + b"\xff\xfe 0\n" if rng.random() < 0.02 else data
