"""Readers of annotations: what they give, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clipzoo_detect import read_coco, read_voc
from clipzoo_detect.datasets import open_path
from clipzoo_detect.splits import OV_COCO_BASE, OV_COCO_NOVEL, base_mask, novel_labels, split_data
from clipzoo_detect.toy import NAMES, NOVEL, toy_scenes
from PIL import Image

from clipzoo.errors import DataError

VOC = """<annotation><filename>x.jpg</filename><size><width>50</width><height>40</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>40</ymax></bndbox></object>
<object><name>dog</name><difficult>1</difficult>
<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def test_coco_with_gaps_in_its_ids(coco_file):
    data = read_coco(coco_file())
    assert data.classnames == ("dog", "traffic cone")
    assert data.category_ids == (90, 7)
    assert [image.number for image in data.images] == [70, 3]
    assert data.images[0].boxes.tolist() == [[5, 6, 15, 26]]
    assert data.images[0].labels == [1]
    assert data.images[1].labels == [0]  # the crowd is no thing
    assert len(data.images[1].things) == 2


def test_boxes_without_area_or_beyond_the_image(coco_file):
    rows = [
        {"image_id": 70, "category_id": 7, "bbox": box}
        for box in ([10, 10, 0, 5], [70, 5, 10, 10], [50, 30, 40, 40], [-9, -9, 20, 20])
    ]
    data = read_coco(coco_file(annotations=rows))
    assert data.images[0].boxes.tolist() == [[50, 30, 60, 40], [0, 0, 11, 11]]
    assert data.notes == (
        "2 boxes without area in their image were left out.",
        "2 boxes reach beyond their image and were clipped to it.",
    )


def test_missing_images_are_counted_listed_and_only_accepted_on_request(coco_file, tmp_path):
    path = coco_file()
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 images .* a\.png"):
        read_coco(path)
    data = read_coco(path, missing=0.5)
    assert [image.key for image in data.images] == ["b.png"]
    assert "a.png" in data.notes[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": None}, '"images"'),
        ({"categories": []}, "no categories"),
        ({"categories": [{"id": 1}]}, "no name"),
        ({"categories": [{"id": "seven", "name": "a"}]}, "a number"),
        ({"images": [{"id": 70, "file_name": "a.png", "width": None, "height": 40}]}, "a number"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "id 7 occurs twice"),
        ({"annotations": [{"image_id": 70, "caption": "a dog"}]}, "no box"),
        ({"annotations": [{"image_id": 70, "category_id": 8, "bbox": [0, 0, 1, 1]}]}, "category 8"),
        ({"annotations": [{"image_id": 71, "category_id": 7, "bbox": [0, 0, 1, 1]}]}, "image 71"),
        ({"annotations": [{"image_id": 70, "category_id": 7, "bbox": [0, 0, "x", 1]}]}, "box"),
        ({"annotations": [{"image_id": 70, "category_id": 7, "bbox": [0, 0, 1e999, 1]}]}, "finite"),
    ],
)
def test_what_is_no_coco_file(coco_file, changes, said):
    with pytest.raises(DataError, match=said):
        read_coco(coco_file(**changes))


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "[" * 100_000])
def test_what_is_no_annotation_file(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(DataError):
        read_coco(path)


def test_file_names_cannot_reach_out_of_the_dataset(coco_file, tmp_path):
    inside = tmp_path / "deep" / "data"
    inside.mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(tmp_path / "secret.png")
    path = coco_file(images=[{"id": 70, "file_name": "../../secret.png", "width": 60, "height": 40}], annotations=[])
    with pytest.raises(DataError, match="secret"):
        read_coco(path, inside)


def test_lvis_knows_what_was_checked(coco_file):
    path = coco_file(
        categories=[
            {"id": 90, "name": "dog", "frequency": "f", "synonyms": ["dog", "hound"]},
            {"id": 7, "name": "traffic_cone", "frequency": "r", "synonyms": ["traffic_cone"]},
        ],
        images=[
            {
                "id": 70,
                "coco_url": "http://images.cocodataset.org/images/a.png",
                "width": 60,
                "height": 40,
                "neg_category_ids": [90],
                "not_exhaustive_category_ids": [7],
            }
        ],
        annotations=[{"image_id": 70, "category_id": 7, "bbox": [5, 6, 10, 20]}],
    )
    data = read_coco(path)
    assert data.images[0].absent == (0,)
    assert data.images[0].incomplete == (1,)
    assert data.frequency == ("f", "r")
    assert data.synonyms["dog"] == ("dog", "hound")
    assert novel_labels(data, "lvis") == [1]


def test_pascal_voc(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations" / "x.xml").write_text(VOC)
    Image.new("RGB", (50, 40)).save(tmp_path / "JPEGImages" / "x.jpg")
    data = read_voc(tmp_path)
    assert len(data.classnames) == 20
    image = data.images[0]
    assert image.boxes.tolist() == [[0, 10, 20, 40]]
    assert [data.classnames[k] for k in image.labels] == ["cat"]
    assert image.things[1].crowd
    assert len(open_path(tmp_path)) == 1


@pytest.mark.parametrize(
    "content", ["", "<a/>", '<!DOCTYPE x [<!ENTITY a "b">]><a/>', VOC.replace("<xmin>1</xmin>", "")]
)
def test_xml_that_is_none_of_pascal_voc(tmp_path, content):
    (tmp_path / "x.xml").write_text(content)
    with pytest.raises(DataError, match=r"x\.xml"):
        read_voc(tmp_path)


@pytest.mark.parametrize("content", [b"x\n\xff\xfe\n", b"x " * (9 << 20)])
def test_a_list_of_pascal_voc_that_is_none(tmp_path, content):
    (tmp_path / "x.xml").write_text(VOC)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"test\.txt"):
        read_voc(tmp_path, "test", missing=1)


def test_images_alone(tmp_path):
    for name in ("b.png", "sub/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    data = open_path(tmp_path)
    assert [image.key for image in data.images] == ["b.png", "sub/a.jpg"]
    assert not data.annotated
    assert data.with_classnames(["cat"]).category_ids == (1,)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="neither images nor annotations"):
        open_path(empty)


def test_names_choose_among_the_classes(coco_file):
    data = read_coco(coco_file())
    chosen = data.with_classnames(["zebra", "Traffic cone"])
    assert chosen.category_ids == (91, 7)
    assert [image.labels for image in chosen.images] == [[1], []]
    with pytest.raises(DataError, match="zebra"):
        data.with_classnames(["zebra"])


def test_toy_scenes_of_two_seeds_have_no_key_in_common():
    one, other = toy_scenes(4, "train"), toy_scenes(4, "train", seed=3)
    assert not {image.key for image in one.images} & {image.key for image in other.images}
    assert not np.array_equal(one.images[0].pixels, other.images[0].pixels)


def test_toy_scenes_hide_novel_classes():
    data = toy_scenes(8, "train")
    novel = novel_labels(data, "toy")
    assert {NAMES[k] for k in novel} == set(NOVEL)
    assert base_mask(len(NAMES), novel).sum() == 112
    hidden = data.without(novel)
    assert any(set(image.labels) & set(novel) for image in data.images)
    assert not any(set(image.labels) & set(novel) for image in hidden.images)
    again = toy_scenes(8, "train")
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(data.images, again.images, strict=True))


@pytest.mark.data
def test_the_splits_of_coco_are_the_published_ids(real_data):
    data = split_data(open_path(real_data / "data" / "coco"), "ov-coco")
    assert len(OV_COCO_BASE) == 48
    assert len(OV_COCO_NOVEL) == 17
    novel = [data.category_ids[k] for k in novel_labels(data, "ov-coco")]
    assert novel == [5, 6, 17, 18, 21, 22, 28, 32, 36, 41, 47, 49, 61, 63, 76, 81, 87]


@pytest.mark.data
def test_real_coco_and_lvis_files_are_read(real_data):
    coco = open_path(real_data / "data" / "coco")
    assert (len(coco), sum(len(image.things) for image in coco.images)) == (100, 742)
    lvis = open_path(real_data / "data" / "coco" / "annotations" / "lvis_val_subset.json")
    assert sum(len(image.things) for image in lvis.images) == 48
    assert json.dumps(lvis.category_ids)
