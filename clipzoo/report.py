"""The report of a run: one static page made from the files of its folder; no network, no script, all escaped."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from clipzoo.runs import read_config

_ROWS = 200
_LONG = 60
_MAX_PATH = 1024
_SMALL_PX = 480
_PICTURES = (".png", ".jpg", ".gif", ".svg", ".webp")

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1d2430, #e6e9ee); --soft: light-dark(#667085, #98a2b3);
  --line: light-dark(#e4e7ec, #2c3340); --page: light-dark(#ffffff, #12161d); --card: light-dark(#f7f8fa, #1a202a);
  --accent: 37, 99, 235; }
* { box-sizing: border-box; } a { color: rgb(var(--accent)); }
body { margin: 0 auto; max-width: 1080px; padding: 40px 24px 80px; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 30px; margin: 0; letter-spacing: -0.02em; } h2 { font-size: 17px; margin: 44px 0 12px; }
p.lead { color: var(--soft); margin: 4px 0 28px; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; min-width: 130px; }
.card b { display: block; font-size: 26px; font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.card span { color: var(--soft); font-size: 13px; }
.first b { color: rgb(var(--accent)); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.wide { white-space: normal; overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; } th { color: var(--soft); font-weight: 500; font-size: 13px; }
td.number, th.number { text-align: right; }
.confusion table { width: auto; } .confusion td, .confusion th { padding: 4px 7px; text-align: center; border: 0; font-size: 12px; }
.confusion th.column { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: 7px 4px; }
.confusion th.row { text-align: right; }
figure { margin: 0 0 18px; } figure img { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
.pictures { display: flex; flex-wrap: wrap; gap: 18px; margin-top: 32px; } .pictures figure { margin: 0; width: min-content; }
.pictures img { max-width: none; } figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 18px; }
.gallery a { color: inherit; text-decoration: none; } .gallery .card { padding: 0; overflow: hidden; }
.gallery img { width: 100%; height: 190px; object-fit: cover; object-position: top left; display: block; }
.gallery .text { padding: 14px 18px; } code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; overflow-x: auto; }
.error { border-left: 4px solid #d92d20; } details summary { cursor: pointer; color: var(--soft); }
"""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` of the run in ``folder``, from its files alone, also when the run has failed.

    Args:
        folder: a run folder with ``config.yaml`` and ``run.json``.

    Returns:
        The path of the page.
    """
    run = _read_json(folder / "run.json")
    config = read_config(folder)
    stored = _read_json(folder / "metrics.json")
    paper = _mapping(run.get("paper"))
    by = ", ".join(_text(paper[key]) for key in ("title", "authors") if key in paper)
    parts = [
        f"<h1>{_text(run.get('plugin', ''))}</h1>",
        f'<p class="lead">{by} {_text(paper.get("year", ""))} · encoder <b>{_text(run.get("model", ""))}</b> · '
        f"{_data(config['settings'])}{_duration(run.get('duration_s', 0))}</p>",
    ]
    if run.get("status") != "complete" and not stored:
        parts.append(f'<pre class="error">{_text(run.get("status", ""))}: {_text(run.get("error", ""))}</pre>')
    if stored:
        parts.append(_cards(_mapping(stored.get("metrics"))))
        parts += [f"<p>{_text(note)}</p>" for note in _sequence(stored.get("notes"))]
        parts.append(_artifacts(folder, [_mapping(one) for one in _sequence(stored.get("artifacts"))]))
        parts += [_table(folder, _mapping(table)) for table in _sequence(stored.get("tables"))]
        if protocol := _mapping(stored.get("protocol")):
            parts += ["<h2>Protocol</h2>", _pairs(protocol)]
    parts.append(_failures(folder))
    parts += ["<h2>Again</h2>", f"<pre>{_text(run.get('command', ''))}</pre>"]
    parts += ["<h2>Settings</h2>", _settings(config)]
    provenance = {
        "status": run.get("status"),
        "started": run.get("started"),
        "device": run.get("device"),
        "weights": run.get("fingerprint"),
        "seed": run.get("seed"),
        "peak memory": f"{run.get('peak_memory_mb')} MB",
        "host": _mapping(run.get("host")).get("system"),
        **_mapping(run.get("versions")),
    }
    parts += ["<h2>Provenance</h2>", _pairs(provenance)]
    if paper:
        parts += ["<h2>Paper</h2>", _pairs(paper)]
    return _write(folder / "report.html", f"{run.get('plugin', '')} · clipzoo", parts)


def write_gallery(folders: Sequence[Path], path: Path) -> Path:
    """An index page over several runs: a picture, the first metric and a link for each.

    Args:
        folders: run folders.
        path: the page to write; links are relative to it where they can be.
    """
    cards = []
    for folder in folders:
        run, stored = _read_json(folder / "run.json"), _read_json(folder / "metrics.json")
        paths = (_inside(_mapping(one).get("path")) for one in _sequence(stored.get("artifacts")))
        picture = next((path for path in paths if path is not None and path.endswith(".png")), None)
        name, value = next(iter(_mapping(stored.get("metrics")).items()), ("", ""))
        image = f'<img src="{_link(folder / picture, path.parent)}" alt="">' if picture else ""
        cards.append(
            f'<a href="{_link(folder / "report.html", path.parent)}"><div class="card">{image}<div class="text">'
            f"<b>{_text(_short(value))}</b><span>{_text(name)}</span><h2>{_text(run.get('plugin', ''))}</h2>"
            f"<span>{_text(_mapping(run.get('paper')).get('title', ''))}</span></div></div></a>"
        )
    parts = [
        "<h1>clipzoo</h1>",
        '<p class="lead">What people build on a frozen CLIP. Each card opens its report.</p>',
        f'<div class="gallery">{"".join(cards)}</div>',
    ]
    return _write(path, "clipzoo gallery", parts)


def _write(path: Path, title: str, parts: Sequence[str]) -> Path:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file: data:; "
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(page.encode("utf-8", "backslashreplace"))
    part.replace(path)
    return path


def _data(settings: Mapping[str, Any]) -> str:
    for word in ("input", "data"):  # a photo of one's own is read in place of the dataset
        if settings.get(word):
            return f"{word} <b>{_text(settings[word])}</b> · "
    return ""


def _cards(metrics: Mapping[str, Any]) -> str:
    cards = [
        f'<div class="card{" first" if place == 0 else ""}"><b>{_text(_short(value))}</b>'
        f"<span>{_text(name.replace('_', ' '))}</span></div>"
        for place, (name, value) in enumerate(metrics.items())
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _artifacts(folder: Path, artifacts: Sequence[Mapping[str, Any]]) -> str:
    """Wide pictures one below the other, small ones beside each other, then a list of the files that are no pictures."""
    parts: list[str] = []
    small: list[str] = []
    files: list[str] = []

    def close_row() -> None:
        if small:
            parts.append(f'<div class="pictures">{"".join(small)}</div>')
            small.clear()

    for artifact in artifacts:
        path, caption = _inside(artifact.get("path")), _text(artifact.get("caption", ""))
        if path is None:
            continue
        link = _link(folder / path, folder)
        if not path.endswith(_PICTURES):
            files.append(f'<tr><td><a href="{link}">{_text(path)}</a></td><td class="wide soft">{caption}</td></tr>')
            continue
        size = _size(folder / path)
        sides = f' width="{size[0]}" height="{size[1]}"' if size else ""
        image = f'<img src="{link}" alt="{caption}"{sides} loading="lazy">'
        if size and size[0] <= _SMALL_PX:
            small.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
        else:
            close_row()
            parts.append(f"<h2>{caption}</h2><figure>{image}</figure>" if caption else f"<figure>{image}</figure>")
    close_row()
    table = f'<h2>Files</h2><div class="scroll"><table>{"".join(files)}</table></div>' if files else ""
    return "".join(parts) + table


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF or SVG as it says itself, px."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    if head.startswith(b"\x89PNG") and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith(b"GIF8") and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    sides = [re.search(rb"<svg[^>]*\s" + name + rb'="(\d{1,5})(?:px)?"', head) for name in (b"width", b"height")]
    return (int(sides[0][1]), int(sides[1][1])) if sides[0] and sides[1] else None


def _table(folder: Path, table: Mapping[str, Any]) -> str:
    name = _inside(f"tables/{table.get('name')}.csv")
    rows = _rows(folder / name) if name else []
    if name is None or not rows:
        return ""
    title = f"<h2>{_text(table.get('caption') or table.get('name'))}</h2>"
    if table.get("kind") == "confusion" and all(_is_number(cell) for row in rows[1:] for cell in row[1:]):
        return title + _confusion(rows)
    path, head, body = folder / name, rows[0], rows[1:]
    numeric = [all(_is_number(row[k]) for row in body) for k in range(len(head))]
    cut = ""
    if len(body) > _ROWS:
        cut = f'<p class="soft">the first {_ROWS} of {len(body)} rows; all in <a href="{_link(path, folder)}">'
        cut += f"{_text(path.name)}</a></p>"

    def cell(k: int, text: str, tag: str) -> str:
        if numeric[k]:
            return f'<{tag} class="number">{_text(_short(text))}</{tag}>'
        return f'<{tag} class="wide">{_text(text)}</{tag}>' if len(text) > _LONG else f"<{tag}>{_text(text)}</{tag}>"

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(cell(k, text, tag) for k, text in enumerate(cells))}</tr>"

    inside = line(head, "th") + "".join(line(row, "td") for row in body[:_ROWS])
    return f'{title}<div class="scroll"><table>{inside}</table></div>{cut}'


def _rows(path: Path) -> list[list[str]]:
    """The cells of a CSV file, every row as long as the first."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error):
        return []
    width = len(rows[0]) if rows else 0
    return [(row + [""] * width)[:width] for row in rows]


def _confusion(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th class="column">{escape(name)}</th>' for name in rows[0][1:])
    lines = []
    for row in rows[1:]:
        counts = [float(cell) for cell in row[1:]]
        total = sum(counts) or 1
        cells = "".join(
            f'<td style="background: rgba(var(--accent), {0.75 * count / total:.3f})">{count:.0f}</td>'
            if count
            else '<td class="soft">·</td>'
            for count in counts
        )
        lines.append(f'<tr><th class="row">{escape(row[0])}</th>{cells}</tr>')
    corner = '<p class="soft">rows: true class; columns: predicted</p>'
    return f'<div class="scroll confusion"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>{corner}'


def _failures(folder: Path) -> str:
    path = folder / "items.jsonl"
    failed: dict[str, str] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                key, fields = str(entry["key"]), _mapping(entry["fields"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if "error" in fields:
                failed[key] = str(fields["error"])
            else:
                failed.pop(key, None)
    if not failed:
        return ""
    items = "1 item" if len(failed) == 1 else f"{len(failed)} items"
    return f"<h2>{items} could not be processed</h2>" + _pairs(dict(list(failed.items())[:_ROWS]))


def _settings(config: Mapping[str, Any]) -> str:
    sources = _mapping(config.get("sources"))
    rows = "".join(
        f'<tr><td>{escape(key)}</td><td class="wide">{escape(str(value))}</td>'
        f'<td class="soft">{escape(str(sources.get(key, "")))}</td></tr>'
        for key, value in config["settings"].items()
    )
    return f'<details><summary>all settings and where they come from</summary><div class="scroll"><table>{rows}</table></div></details>'


def _pairs(pairs: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td class="soft">{escape(str(name).replace("_", " "))}</td><td class="wide">{_text(value)}</td></tr>'
        for name, value in pairs.items()
        if value not in (None, "", "None MB", [], {})
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def _link(path: Path, base: Path) -> str:
    return quote(Path(os.path.relpath(path, base)).as_posix(), errors="backslashreplace")


def _short(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return "–" if value is None else str(value)
    if not math.isfinite(number):
        return str(number)
    return f"{number:.0f}" if number == int(number) and abs(number) < 1e9 else f"{number:.4g}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


# A run folder may come from someone else: what stands in its files may be of any type, and any text.


def _text(value: Any) -> str:
    return escape(str(value))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _inside(path: Any) -> str | None:
    """``path`` if it names something in the run folder."""
    if not isinstance(path, str) or not path or "\0" in path or len(path) > _MAX_PATH:
        return None
    pure = PurePosixPath(path)
    return path if not pure.is_absolute() and ".." not in pure.parts else None
