"""API.md: every operation of the server is on it, and nothing else."""

import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

PAGE = Path(__file__).resolve().parents[2] / "applications" / "studio" / "API.md"


def on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    found = {(m, p) for m, p in re.findall(r"(GET|POST|PUT|PATCH|DELETE) (/api/[\w/]*)", text)}
    for line in text.replace("\\\n", " ").splitlines():
        for path in re.findall(r"localhost:8080(/api/[\w/]*)", line) if line.startswith("curl") else ():
            method = re.search(r"-X (\w+)", line)
            found.add((method[1] if method else "POST" if "--data-binary" in line else "GET", path))
    return {(method, path.rstrip("/")) for method, path in found}


def general(path):
    """The path with ids and numbers as ``*``."""
    path = re.sub(r"\{\w+\}|(?<=/)(ID|N|\d+|[0-9a-f]{16})(?=/|$)", "*", path)
    return path


def test_the_page_has_every_operation_and_no_other(serve):
    paths = serve(docs=True).get("/openapi.json").json()["paths"]
    there = {(method.upper(), general(path)) for path, methods in paths.items() for method in methods}
    shown = {(method, general(path)) for method, path in on_the_page()}
    assert shown == there
