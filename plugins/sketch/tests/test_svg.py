"""Drawings to SVG and back, files of others, and files that mean harm."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from clipzoo_sketch import Drawing, Stroke, rasterize
from clipzoo_sketch.svg_paths import read_path
from PIL import Image

from clipzoo.errors import ConfigError, DataError

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="32" height="24" {}>{}</svg>'
NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}


def drawing_of(content: str, attributes: str = "") -> Drawing:
    return Drawing.from_svg(SVG.format(attributes, content))


@pytest.fixture
def random_drawing() -> Drawing:
    generator = torch.Generator().manual_seed(0)
    return Drawing.from_tensors(
        torch.rand(9, 7, 2, generator=generator) * 90 - 5,
        torch.rand(9, generator=generator) * 8,
        torch.rand(9, 4, generator=generator),
        (70, 80),
        background=(0.9, 0.95, 1.0),
        metadata={"prompt": 'a <b> & "c" \x00 ü 猫', "seed": 3, "config": {"rate": 0.1, "paths": [1, 2]}},
    )


def test_what_is_written_reads_back_to_the_bit(random_drawing: Drawing) -> None:
    assert Drawing.from_svg(random_drawing.svg()) == random_drawing
    assert Drawing.from_svg(random_drawing.svg(animate_s=3.0)) == random_drawing
    points, widths, colours = random_drawing.tensors()
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(points, torch.rand(9, 7, 2, generator=generator) * 90 - 5)
    assert torch.equal(widths, torch.rand(9, generator=generator) * 8)
    assert torch.equal(colours, torch.rand(9, 4, generator=generator))


@pytest.mark.parametrize(
    "stroke",
    [
        Stroke([(1, 2)]),
        Stroke([(1, 2), (3, 4.5)], 1e-6, (1, 0, 0, 0.25)),
        Stroke([(1, 2), (3, 4), (5, 1e-9)]),
        Stroke([(1, 2), (3, 4), (5, 0)], degree=1),
        Stroke([(1, 2), (3, 4), (5, 0)], degree=1, closed=True, fill=(0, 0.1, 0.2, 0.3), fill_rule="evenodd"),
        Stroke([(1, 2), (3, 4), (5, 0), (3e8, -2)], closed=True),
        Stroke([(1, 2), (3, 4), (5, 0), (2, 2), (9, 9), (8, 3)], closed=True, color=None, fill=(1, 1, 0, 1)),
        Stroke([(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)], degree=2),
    ],
)
def test_every_kind_of_stroke_reads_back(stroke: Stroke) -> None:
    drawing = Drawing([stroke], (12, 10), None)
    read = Drawing.from_svg(drawing.svg())
    assert np.array_equal(read.strokes[0].points[: len(stroke.points)], stroke.points)
    if len(stroke.points) > 1:
        assert read == drawing


def test_browsers_find_standard_svg(random_drawing: Drawing) -> None:
    """A namespace, a view box, round ends, and no attribute that would be drawn differently."""
    root = ElementTree.fromstring(random_drawing.svg())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib == {"width": "80", "height": "70", "viewBox": "0 0 80 70"}
    paths = root.findall("svg:path", NAMESPACE)
    assert len(paths) == 9
    for path in paths:
        assert path.get("stroke-linecap") == path.get("stroke-linejoin") == "round"
        assert path.get("fill") == "none"
        assert path.get("stroke-dasharray") is None
        assert [chain.points()[1] for chain in read_path(path.get("d"))] == [3]


def test_an_animation_draws_stroke_after_stroke(random_drawing: Drawing) -> None:
    root = ElementTree.fromstring(random_drawing.svg(animate_s=9.0))
    begins = []
    for path in root.findall("svg:path", NAMESPACE):
        animate = path.find("svg:animate", NAMESPACE)
        begins.append(float(animate.get("begin")[:-1]))
        assert float(animate.get("dur")[:-1]) == pytest.approx(1)
        hidden = path.find("svg:set", NAMESPACE)
        assert hidden is None if begins[-1] == 0 else float(hidden.get("end")[:-1]) == begins[-1]
    assert begins == pytest.approx(range(9))


def test_pixels_are_those_of_the_rasteriser(random_drawing: Drawing) -> None:
    points, widths, colours = (tensor[None] for tensor in random_drawing.tensors())
    assert torch.equal(random_drawing.pixels(), rasterize(points, widths, colours, (70, 80), random_drawing.background))
    double = random_drawing.pixels(scale=2)
    pooled = torch.nn.functional.avg_pool2d(double, 2)
    assert (pooled - random_drawing.pixels()).abs().mean() < 0.01


def test_strokes_of_different_kinds_keep_their_order() -> None:
    red = Stroke([(0, 8), (16, 8)], 16, (1, 0, 0, 1))
    blue = Stroke([(8, 0), (8, 8), (8, 16)], 4, (0, 0, 1, 1))
    assert Drawing([red, blue], (16, 16)).pixels()[0, :, 8, 8].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert Drawing([blue, red], (16, 16)).pixels()[0, :, 8, 8].tolist() == pytest.approx([1, 0, 0], abs=1e-6)


def test_saved_files(tmp_path, random_drawing: Drawing) -> None:
    svg = random_drawing.save(tmp_path / "a.svg")
    assert Drawing.from_svg(svg) == Drawing.from_svg(str(svg)) == random_drawing
    with Image.open(random_drawing.save(tmp_path / "a.png", scale=2)) as image:
        assert image.size == (160, 140)
        assert "猫" in image.text["clipzoo"]
    with pytest.raises(ConfigError, match="suffix"):
        random_drawing.save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="cannot be read"):
        Drawing.from_svg(tmp_path / "none.svg")


@pytest.mark.parametrize(
    ("element", "points"),
    [
        ('<path d="M1,2 L3,4"/>', [(1, 2), (3, 4)]),
        ('<path d="m1 2 2 2"/>', [(1, 2), (3, 4)]),
        ('<path d="M1-2L.5.5"/>', [(1, -2), (0.5, 0.5)]),
        ('<path d="M1 2H5v-1"/>', [(1, 2), (5, 2), (5, 1)]),
        ('<path d="M0 0C1 1 2 1 3 0S5-1 6 0"/>', [(0, 0), (1, 1), (2, 1), (3, 0), (4, -1), (5, -1), (6, 0)]),
        ('<path d="M0 0Q1 1 2 0T4 0"/>', [(0, 0), (1, 1), (2, 0), (3, -1), (4, 0)]),
        ('<path d="M0 0q3 3 6 0l3 3"/>', [(0, 0), (2, 2), (4, 2), (6, 0), (7, 1), (8, 2), (9, 3)]),
        ('<line x1="1" y1="2" x2="3px" y2="4"/>', [(1, 2), (3, 4)]),
        ('<polyline points="1,2 3,4 5,0"/>', [(1, 2), (3, 4), (5, 0)]),
        ('<rect x="1" y="2" width="3" height="4"/>', [(1, 2), (4, 2), (4, 6), (1, 6)]),
        ('<g transform="translate(10)"><path transform="scale(2 3)" d="M1 1L2 2"/></g>', [(12, 3), (14, 6)]),
        ('<path transform="rotate(90, 1, 1)" d="M1 1L3 1"/>', [(1, 1), (1, 3)]),
        ('<path transform="matrix(1 0 0 1 5 6)" d="M0 0L1 1"/>', [(5, 6), (6, 7)]),
    ],
)
def test_elements_of_other_writers(element: str, points: list) -> None:
    (stroke,) = drawing_of(f'<g stroke="#123456" fill="none" stroke-width="2">{element}</g>').strokes
    assert np.allclose(stroke.points, points, atol=1e-5)
    assert stroke.color == pytest.approx((0x12 / 255, 0x34 / 255, 0x56 / 255, 1))


def test_circles_and_arcs_are_round() -> None:
    for element in (
        '<circle cx="16" cy="12" r="8"/>',
        '<ellipse cx="16" cy="12" rx="8" ry="8"/>',
        '<path d="M8 12A8 8 0 1 1 24 12A8 8 0 0 1 8 12z"/>',
        '<path d="M8 12a8 8 0 0116 0a8,8,0,0,1,-16,0z"/>',
        '<rect x="8" y="4" width="16" height="16" rx="8"/>',
    ):
        image = drawing_of(element).pixels()[0, 0]
        assert (1 - image).sum().item() == pytest.approx(64 * np.pi, rel=2e-3), element
        assert image[12, 16] < 1e-6 < image[5, 9]


def test_styles_are_inherited_and_units_scaled() -> None:
    drawing = drawing_of(
        '<g style="stroke:rgb(10%,20%,30%);fill:none" opacity="0.5" stroke-width="1in">'
        '<path d="M0 0L1 1" stroke-opacity="50%"/><path d="M0 0L1 1" stroke="currentColor" color="lime"/></g>'
        '<path d="M0 0L1 1L0 1"/><path d="M0 0L1 1" display="none" stroke="red"/>',
        'viewBox="0 0 16 12"',
    )
    first, second, third = drawing.strokes
    assert first.color == pytest.approx((0.1, 0.2, 0.3, 0.25))
    assert first.width == pytest.approx(192)
    assert first.points[1] == (2, 2)
    assert second.color == (0, 1, 0, 0.5)
    assert third.color is None and third.fill == (0, 0, 0, 1) and not third.closed


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<html/>", "first element"),
        ("<svg", "no SVG"),
        ("<svg><g></svg>", "no SVG"),
        ('<!DOCTYPE svg [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>', "entities"),
        ('<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/hostname">]><svg><path d="&a;"/></svg>', "entities"),
        ('<!DOCTYPE svg [<!ENTITY % a SYSTEM "http://localhost/a">%a;]><svg/>', "entities"),
        ('<svg width="99999999" height="9"/>', "width"),
        ('<svg width="-3" height="9"/>', "width"),
        ('<svg width="1e999" height="9"/>', "length"),
        ('<svg viewBox="0 0 0 0"/>', "viewBox"),
        ("<svg><svg/></svg>", "<svg> in its <svg>"),
        ("<svg>" + "<g>" * 100 + "</g>" * 100 + "</svg>", "deep"),
        ('<svg><path d="M0 0L1 x"/></svg>', "path data"),
        ('<svg><path d="L1 1"/></svg>', "path data"),
        ('<svg><path d="M0 0L1e999 1"/></svg>', "path data"),
        ('<svg><path d="M0 0A1 1 0 2 0 3 3"/></svg>', "path data"),
        ('<svg><path d="M0 0L1 1" transform="spin(3)"/></svg>', "transform"),
        ('<svg><path d="M0 0L1 1" fill="url(#a)"/></svg>', "paints with"),
        ('<svg><path d="M0 0L9 9L0 9zM1 1L2 2L1 2z"/></svg>', "several parts"),
        ('<svg><metadata id="clipzoo">[1]</metadata></svg>', "metadata"),
        ('<svg><metadata id="clipzoo">{</metadata></svg>', "metadata"),
        ('<svg stroke="red"><path d="M1e38 0L1 1" transform="scale(1e30)"/></svg>', "finite"),
    ],
)
def test_what_is_no_drawing_is_refused(content: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Drawing.from_svg(content)


def test_scripts_styles_and_references_are_not_read() -> None:
    drawing = drawing_of(
        "<script>alert(1)</script><style>path{stroke:red}</style><foreignObject><path d='M0 0L1 1'/></foreignObject>"
        "<defs><path d='M0 0L1 1'/></defs><image href='http://localhost/a.png'/><use href='file:///etc/hostname'/>"
        "<path d='M0 0L9 9' stroke='red' fill='none' onclick='alert(1)'/>",
        'onload="alert(1)"',
    )
    assert len(drawing.strokes) == 1
    assert "alert" not in drawing.svg()


def test_no_more_is_kept_than_the_bounds_allow(monkeypatch) -> None:
    monkeypatch.setattr("clipzoo_sketch.svg_reading.MAX_PATHS", 10)
    with pytest.raises(DataError, match="too much"):
        drawing_of('<path d="M0 0L1 1" stroke="red"/>' * 11)
    monkeypatch.setattr("clipzoo_sketch.svg_reading.MAX_POINTS", 100)
    with pytest.raises(DataError, match=r"too (much|long)"):
        drawing_of('<path d="M0 0{}" stroke="red" fill="none"/>'.format("L1 1" * 200))
    monkeypatch.setattr("clipzoo_sketch.svg_reading.MAX_BYTES", 1000)
    with pytest.raises(DataError, match="bytes"):
        drawing_of(" " * 2000)


def test_strokes_with_wrong_numbers() -> None:
    with pytest.raises(ConfigError, match="shape"):
        Stroke([(1, 2, 3)])
    with pytest.raises(DataError, match="finite"):
        Stroke([(1, float("nan"))])
    with pytest.raises(ConfigError, match="colour"):
        Stroke([(1, 2)], color=(1, 2))
    with pytest.raises(DataError, match="different numbers"):
        Drawing([Stroke([(1, 2)]), Stroke([(1, 2), (3, 4)])]).tensors()
