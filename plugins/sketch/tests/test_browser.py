"""A browser opens what we write, and paints the same picture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from clipzoo_sketch import Drawing, Stroke
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 640, 520
PATIENCE_S = 60


def screenshot(svg: str, folder: Path) -> np.ndarray:
    """What a browser shows of an SVG, RGB in [0, 1]; skips where there is no browser that can."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    source, shown = folder / "drawing.svg", folder / "shown.png"
    source.write_text(svg, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={WIDTH},{HEIGHT}"]
    command += ["--force-device-scale-factor=1", "--force-color-profile=srgb", f"--screenshot={shown}", source.as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"Chromium gave no picture in {PATIENCE_S} s")
    if not shown.exists():
        pytest.skip(f"Chromium gave no picture: {done.stderr.decode(errors='replace')[-200:]}")
    with Image.open(shown) as image:
        return np.asarray(image.convert("RGB"))[:HEIGHT, :WIDTH] / 255


def drawing_of_everything() -> Drawing:
    """Opaque and transparent strokes, thin and thick, lines, quadratic and cubic curves, a star filled by each rule."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(12, 4, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT]) * 1.1 - 20
    colours = torch.rand(12, 4, generator=generator)
    colours[::2, 3] = 1
    widths = 2 + torch.rand(12, generator=generator) * 18
    strokes = [
        Stroke(points[k, : 4 - k % 3].tolist(), float(widths[k]), colours[k].tolist()) for k in range(len(points))
    ]
    for place, rule in ((150, "nonzero"), (450, "evenodd")):
        turns = np.arange(5) * 4 * np.pi / 5
        star = np.stack([place + 90 * np.cos(turns), 330 + 90 * np.sin(turns)], -1)
        strokes.append(Stroke(star, 5, (0, 0, 0, 0.8), (0.9, 0.6, 0.1, 0.7), closed=True, degree=1, fill_rule=rule))
    metadata = {"prompt": 'a <b> & "c" ü 猫 ]]> \x00', "seed": 3}
    return Drawing(strokes, size=(HEIGHT, WIDTH), background=(0.9, 0.95, 1), metadata=metadata)


def test_a_browser_paints_what_we_paint(tmp_path) -> None:
    drawing = drawing_of_everything()
    ours = drawing.pixels()[0].permute(1, 2, 0).numpy()
    theirs = screenshot(drawing.svg(), tmp_path)
    apart = np.abs(theirs - ours).max(-1)
    # Areas are the same to a level of 255; a browser smooths edges in its own way, by less than half a pixel.
    assert np.median(apart) < 0.005
    assert apart.max() < 0.6 and (apart > 0.1).mean() < 0.02
    for axis in (0, 1):
        for shift in (-1, 1):
            moved = np.abs(np.roll(theirs, shift, axis) - ours).max(-1)
            assert apart.mean() < moved.mean() / 3
