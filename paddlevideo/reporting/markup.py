"""Parts of pages that stand alone: one HTML file without scripts or outside parts, in a light and a dark form."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

NAME_LENGTH = 28  # characters of a name that ``short`` keeps

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #2a5fc4; --bad: #bf4a1c; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; } td.path { overflow-wrap: anywhere; font-family: ui-monospace, monospace; }
th { font-weight: 600; } thead th { position: sticky; top: 0; background: Canvas; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; list-style: none; }
.tiles li { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem 1rem; }
.tiles b { display: block; font-size: 1.4rem; }
.scroll { max-height: 32rem; overflow: auto; } .wide { overflow-x: auto; }
.share { display: inline-block; min-width: 4.2rem; text-align: right; padding-right: .5rem; }
.bar { display: inline-block; height: .6rem; background: var(--good); }
.alert { border-left: .3rem solid var(--bad); padding-left: .8rem; }
.note { opacity: .75; } pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
svg text { fill: currentColor; font: 11px system-ui, sans-serif; } svg .on { fill: #fff; }
svg .right { fill: var(--good); } svg .wrong { fill: var(--bad); } svg .grid { fill: none; stroke: var(--line); }
"""


def document(title: str, parts: Iterable[str], style: str = "") -> str:
    """A page.

    Args:
        title: plain text.
        parts: ready HTML; empty ones are left out.
        style: CSS besides ``STYLE``.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def text(value: object) -> str:
    """Escaped for HTML; characters that a terminal or a browser would hide or execute are spelled out."""
    spelled = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(value))
    return html.escape(spelled, quote=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kinds: str, scroll: bool = False) -> str:
    """A table of ready cells.

    Args:
        kinds: a letter per column: "n" number, "p" path, "t" text.
    """
    classes = {"n": ' class="n"', "p": ' class="path"', "t": ""}
    marks = [classes[kind] for kind in kinds]
    head = "".join(f'<th scope="col"{mark if "path" not in mark else ""}>{h}</th>' for h, mark in zip(header, marks))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(row, marks)) + "</tr>\n" for row in rows
    )
    content = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return f'<div class="{"scroll" if scroll else "wide"}">{content}</div>'


def percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def bar(share: float | None) -> str:
    if share is None or np.isnan(share):
        return "-"
    return f'<span class="share">{percent(share)}</span><span class="bar" style="width:{4 * share:.2f}rem"></span>'


def short(name: str) -> str:
    shown = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 3] + "..."
    return f"<title>{text(name)}</title>{text(shown)}"


def run_facts(facts: Iterable[tuple[str, str]], config: str) -> str:
    """The sections that end a page: (what, value) lines, and the resolved configuration."""
    rows = [[text(what), text(value)] for what, value in facts]
    section = "<h2>The run</h2>" + table(("what", "value"), rows, "tp") if rows else ""
    if config:
        section += f"<h2>Configuration</h2><details><summary>resolved</summary><pre>{text(config)}</pre></details>"
    return section
