"""Average precision through both tools: perfect detections, none, and hand-made ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from clipzoo_detect import Detections, average_precision, coco_results
from clipzoo_detect.results import coco_truth, decode_mask, encode_mask, truth_as_detections
from clipzoo_detect.toy import toy_scenes

from clipzoo.errors import ConfigError, DataError

pytest.importorskip("pycocotools", reason="needs pycocotools")
BACKENDS = ("pycocotools", "faster-coco-eval")


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    return request.param


@pytest.fixture(scope="module")
def data():
    return toy_scenes(6)


def with_masks(data):
    return {
        image.key: Detections(
            torch.from_numpy(image.boxes),
            torch.ones(len(image.boxes)),
            torch.tensor(image.labels),
            torch.from_numpy(np.stack([thing.segmentation for thing in image.things])),
        )
        for image in data.images
    }


def test_the_truth_is_perfect(data, backend):
    for masks in (False, True):
        measured = average_precision(data, with_masks(data), masks=masks, backend=backend)
        assert measured.summary["AP"] == pytest.approx(1.0)
        assert measured.instances.sum() == sum(len(image.things) for image in data.images)


def test_nothing_found_is_nothing(data, backend):
    measured = average_precision(data, {}, backend=backend)
    assert measured.summary["AP"] == measured.summary["AP50"] == 0.0
    assert measured.mean_of(np.nonzero(measured.instances)[0]) == 0.0


def test_against_a_plain_average_precision(coco_file, backend):
    """Three boxes of one class; the second best is wrong: 101 levels of recall, interpolated, by hand."""
    from clipzoo_detect import read_coco

    rows = [{"image_id": 70, "category_id": 7, "bbox": [x, 5, 10, 10], "iscrowd": 0} for x in (0, 20, 40)]
    data = read_coco(coco_file(annotations=rows))
    boxes = torch.tensor([[0.0, 5, 10, 15], [0, 25, 10, 35], [20, 5, 30, 15]])
    found = {"a.png": Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 1, 1]))}
    # Precision is 1 up to a recall of 1/3, then 2/3 up to 2/3, then nothing: of 101 levels, 34 and 33.
    expected = (34 * 1 + 33 * 2 / 3) / 101
    measured = average_precision(data, found, backend=backend)
    assert measured.by_class_50[1] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(measured.by_class_50[0])
    assert measured.curve_of([1])[1][:34].tolist() == pytest.approx([1.0] * 34)


def test_lvis_counts_only_what_was_checked(coco_file):
    pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    from clipzoo_detect import read_coco

    sizes = {"width": 60, "height": 40}
    data = read_coco(
        coco_file(
            images=[
                {"id": 70, "file_name": "a.png", "neg_category_ids": [], "not_exhaustive_category_ids": [], **sizes},
                {"id": 3, "file_name": "b.png", "neg_category_ids": [7], "not_exhaustive_category_ids": [], **sizes},
            ],
            annotations=[{"image_id": 70, "category_id": 90, "bbox": [5, 5, 20, 20]}],
            categories=[{"id": 90, "name": "dog", "frequency": "f"}, {"id": 7, "name": "cone", "frequency": "r"}],
        )
    )
    box, other = torch.tensor([[5.0, 5, 25, 25]]), torch.tensor([[0.0, 0, 9, 9]])
    found = {
        "a.png": Detections(torch.cat([box]), torch.tensor([0.5]), torch.tensor([0])),
        # Nobody looked for dogs in b: this better-scored dog there does not count against the class.
        "b.png": Detections(other, torch.tensor([0.9]), torch.tensor([0])),
    }
    measured = average_precision(data, found)
    assert measured.backend == "faster-coco-eval"
    assert measured.summary["APf"] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="LVIS"):
        average_precision(data, found, backend="pycocotools")


def test_result_rows_come_back_as_they_went(data):
    from clipzoo_detect.detecting import _plain, _restored

    for one in with_masks(data).values():
        again = _restored(json.loads(json.dumps(_plain(one))))
        assert torch.equal(again.boxes, one.boxes)
        assert torch.equal(again.masks, one.masks)
    rows = coco_results(with_masks(data), data, masks=True)
    assert json.loads(json.dumps(rows)) == rows
    assert set(rows[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    truth = coco_truth(data, masks=True)
    assert min(row["id"] for row in truth["annotations"]) == 1
    assert len(truth["annotations"]) == len(rows)


def test_masks_of_every_kind():
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:15, 4:24] = True
    assert np.array_equal(decode_mask(mask, (20, 30)), mask)
    assert np.array_equal(decode_mask(encode_mask(mask), (20, 30)), mask)
    assert np.array_equal(decode_mask([[4, 5, 24, 5, 24, 15, 4, 15]], (20, 30)), mask)
    assert np.array_equal(decode_mask(None, (20, 30), (4, 5, 24, 15)), mask)
    runs = {"size": [20, 30], "counts": [85, *[10, 10] * 19, 10, 600 - 85 - 390]}
    assert np.array_equal(decode_mask(runs, (20, 30)), mask)


def test_nothing_to_compare_with(data):
    with pytest.raises(DataError, match="no boxes"):
        average_precision(data.without(range(128)), {})
    with pytest.raises(ConfigError, match="cocoeval"):
        average_precision(data, {}, backend="cocoeval")


@pytest.mark.data
def test_real_annotations_as_detections_are_perfect(real_data, backend):
    from clipzoo_detect.datasets import open_path

    coco = open_path(real_data / "data" / "coco")
    perfect = truth_as_detections(coco)
    assert sum(map(len, perfect.values())) > 700
    assert average_precision(coco, perfect, backend=backend).summary["AP"] == pytest.approx(1.0)
