"""The report of a run: one static page made from the files of its folder; no network, no script, all escaped."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

_ROWS = 200

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1d2430, #e6e9ee); --soft: light-dark(#667085, #98a2b3);
  --line: light-dark(#e4e7ec, #2c3340); --page: light-dark(#ffffff, #12161d); --card: light-dark(#f7f8fa, #1a202a);
  --accent: 37, 99, 235; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 40px 24px 80px; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 30px; margin: 0; letter-spacing: -0.02em; } h2 { font-size: 17px; margin: 44px 0 12px; }
p.lead { color: var(--soft); margin: 4px 0 28px; } .soft { color: var(--soft); }
.cards { display: flex; flex-wrap: wrap; gap: 12px; }
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
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
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
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    stored = _read_json(folder / "metrics.json")
    paper = run.get("paper", {})
    parts = [
        f"<h1>{escape(run.get('plugin', ''))}</h1>",
        f'<p class="lead">{escape(str(paper.get("title", "")))}, {escape(str(paper.get("authors", "")))} '
        f"{escape(str(paper.get('year', '')))} · encoder <b>{escape(str(run.get('model', '')))}</b> · "
        f"data <b>{escape(str(config['settings'].get('data')))}</b> · {_duration(run.get('duration_s', 0))}</p>",
    ]
    if run.get("status") != "complete" and not stored:
        parts.append(f'<pre class="error">{escape(run.get("status", ""))}: {escape(run.get("error", ""))}</pre>')
    if stored:
        parts.append(_cards(stored["metrics"]))
        parts += [f"<p>{escape(note)}</p>" for note in stored["notes"]]
        parts += [_figure(folder, artifact) for artifact in stored["artifacts"]]
        parts += [_table(folder, table) for table in stored["tables"]]
        if stored["protocol"]:
            parts += ["<h2>Protocol</h2>", _pairs(stored["protocol"])]
    parts.append(_failures(folder))
    parts += ["<h2>Again</h2>", f"<pre>{escape(run.get('command', ''))}</pre>"]
    parts += ["<h2>Settings</h2>", _settings(config)]
    provenance = {
        "status": run.get("status"),
        "started": run.get("started"),
        "device": run.get("device"),
        "weights": run.get("fingerprint"),
        "seed": run.get("seed"),
        "peak memory": f"{run.get('peak_memory_mb')} MB",
        "host": run.get("host", {}).get("system"),
        **{name: value for name, value in run.get("versions", {}).items()},
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
        picture = next((a["path"] for a in stored.get("artifacts", []) if a["path"].endswith(".png")), None)
        name, value = next(iter(stored.get("metrics", {}).items()), ("", ""))
        image = f'<img src="{_link(folder / picture, path.parent)}" alt="">' if picture else ""
        cards.append(
            f'<a href="{_link(folder / "report.html", path.parent)}"><div class="card">{image}<div class="text">'
            f"<b>{escape(_short(value))}</b><span>{escape(name)}</span><h2>{escape(run.get('plugin', ''))}</h2>"
            f"<span>{escape(str(run.get('paper', {}).get('title', '')))}</span></div></div></a>"
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
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def _cards(metrics: dict[str, Any]) -> str:
    cards = [
        f'<div class="card{" first" if place == 0 else ""}"><b>{escape(_short(value))}</b>'
        f"<span>{escape(name.replace('_', ' '))}</span></div>"
        for place, (name, value) in enumerate(metrics.items())
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _figure(folder: Path, artifact: dict[str, str]) -> str:
    path, caption = artifact["path"], escape(artifact["caption"])
    if not path.endswith((".png", ".jpg", ".gif", ".svg")):
        return f'<p><a href="{_link(folder / path, folder)}">{escape(path)}</a> {caption}</p>'
    size = _size(folder / path)
    return (
        f'<h2>{caption}</h2><figure><img src="{_link(folder / path, folder)}" alt="{caption}"{size} loading="lazy">'
        "</figure>"
    )


def _size(path: Path) -> str:
    if path.suffix == ".png":
        head = path.read_bytes()[16:24]
        return f' width="{int.from_bytes(head[:4], "big")}" height="{int.from_bytes(head[4:], "big")}"'
    return ""


def _table(folder: Path, table: dict[str, str]) -> str:
    path = folder / "tables" / f"{table['name']}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    title = f"<h2>{escape(table['caption'] or table['name'])}</h2>"
    if not rows:
        return ""
    if table["kind"] == "confusion":
        return title + _confusion(rows)
    head, body = rows[0], rows[1:]
    numeric = [all(_is_number(row[k]) for row in body) for k in range(len(head))]
    cut = ""
    if len(body) > _ROWS:
        cut = f'<p class="soft">the first {_ROWS} of {len(body)} rows; all in <a href="{_link(path, folder)}">'
        cut += f"{escape(path.name)}</a></p>"

    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(
                f'<{tag} class="number">{escape(_short(cell))}</{tag}>'
                if numeric[k]
                else f"<{tag}>{escape(cell)}</{tag}>"
                for k, cell in enumerate(cells)
            )
            + "</tr>"
        )

    inside = line(head, "th") + "".join(line(row, "td") for row in body[:_ROWS])
    return f'{title}<div class="scroll"><table>{inside}</table></div>{cut}'


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
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "error" in entry["fields"]:
                failed[entry["key"]] = entry["fields"]["error"]
            else:
                failed.pop(entry["key"], None)
    if not failed:
        return ""
    return f"<h2>{len(failed)} items could not be processed</h2>" + _pairs(dict(list(failed.items())[:_ROWS]))


def _settings(config: dict[str, Any]) -> str:
    sources = config.get("sources", {})
    rows = "".join(
        f'<tr><td>{escape(key)}</td><td class="wide">{escape(str(value))}</td>'
        f'<td class="soft">{escape(str(sources.get(key, "")))}</td></tr>'
        for key, value in config["settings"].items()
    )
    return f'<details><summary>all settings and where they come from</summary><div class="scroll"><table>{rows}</table></div></details>'


def _pairs(pairs: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><td class="soft">{escape(str(name).replace("_", " "))}</td><td class="wide">{escape(str(value))}</td></tr>'
        for name, value in pairs.items()
        if value not in (None, "", "None MB")
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def _link(path: Path, base: Path) -> str:
    import os

    return quote(Path(os.path.relpath(path, base)).as_posix())


def _short(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "–" if value is None else str(value)
    return f"{number:.0f}" if number == int(number) and abs(number) < 1e9 else f"{number:.4g}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
