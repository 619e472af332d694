"""Sketches with the bundled encoders show what they should, to an encoder and to one who knows none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from clipzoo_sketch.clipasso import CLIPasso
from clipzoo_sketch.ink import Ink
from clipzoo_sketch.meaning import (
    EncoderViewer,
    OutlineViewer,
    Seen,
    level_table,
    main,
    mask_table,
    on_texture,
    own_drawing,
    summary,
)

from clipzoo.data.scenes import SHAPES

OBJECTS = ("house", "tree")


@pytest.fixture(scope="module")
def viewers(tiny_rn):
    return {"encoder": EncoderViewer(tiny_rn), "outlines": OutlineViewer()}


@pytest.fixture(scope="module")
def painter(tiny, tiny_rn) -> CLIPasso:
    return CLIPasso(tiny_rn, tiny, views=1)


def test_sketches_are_recognised_and_more_strokes_say_more(painter, viewers):
    rows, sketches = level_table(painter, viewers, OBJECTS, [3, 12], steps=30, restarts=1, seed=7)
    by_state = {(row["strokes"], row["at"]): row for row in rows}
    assert list(sketches) == list(OBJECTS) and len(rows) == 5
    drawn = by_state[12, "end"]
    assert drawn["named by encoder"] == drawn["named by outlines"] == len(OBJECTS)
    # With margin: the optimisation and further strokes each raise the cosine by more than rounding.
    assert drawn["cosine, encoder"] > by_state[12, "start"]["cosine, encoder"] + 0.02
    assert drawn["cosine, encoder"] > by_state[3, "end"]["cosine, encoder"] + 0.01


def test_a_mask_helps(painter, viewers):
    masked, whole = mask_table(painter, viewers, ["fish"], 8, steps=15, restarts=1, seed=7)
    assert masked["background"] == "masked" and whole["background"] == "drawn too"
    assert masked["cosine, encoder"] > whole["cosine, encoder"] + 0.1


def test_nobody_names_an_empty_sheet(viewers):
    away = Ink(torch.full((1, 1, 4, 2), -900.0), torch.ones(1, 1), torch.tensor([[[0.0, 0, 0, 1]]]), 96)
    assert viewers["outlines"].look(away.render, torch.ones(1, 3, 96, 96)) == Seen(
        "nothing", pytest.approx(np.nan, nan_ok=True)
    )
    named = viewers["encoder"].look(away.render, torch.ones(1, 3, 96, 96))
    assert named.named in SHAPES and named.similarity == pytest.approx(1, abs=1e-4)


def test_the_toy_world_s_own_drawings_are_named(viewers):
    photo = torch.ones(1, 3, 64, 64)
    for shape in SHAPES:
        assert viewers["outlines"].look(own_drawing(shape), photo).named == shape
    assert sum(viewers["encoder"].look(own_drawing(shape), photo).named == shape for shape in SHAPES) >= 14


def test_a_row_counts_right_names_and_means_cosines():
    seen = {"one": [Seen("fish", 0.5), Seen("cup", 0.7)], "other": [Seen("fish"), Seen("fish")]}
    assert summary(seen, ["fish", "key"]) == {"named by one": 1, "cosine, one": pytest.approx(0.6), "named by other": 1}


def test_the_texture_leaves_the_object_as_it_is():
    photo, solid = on_texture("cup", 1)
    pixels = np.asarray(photo)
    assert (pixels[solid][:, 2] > pixels[solid][:, 0]).all()
    assert np.ptp(pixels[~solid], axis=1).max() == 0 and pixels[~solid].std() > 30


def test_the_command_prints_tables_and_writes_a_sheet(tmp_path):
    out = tmp_path / "sheet.png"
    given = ["--objects", "heart", "--counts", "2,3", "--steps", "1", "--views", "0", "--out", str(out)]
    given += ["--threads", str(torch.get_num_threads())]
    told = CliRunner().invoke(main, given, catch_exceptions=False).output
    assert "| 3 | end |" in told and "| masked |" in told and out.stat().st_size > 1000
