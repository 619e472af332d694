"""Detection without training, with the bundled encoder: it finds what it is asked for."""

from __future__ import annotations

import pytest
import torch
from clipzoo_detect import Detections, GroupingProposer, Proposals, ViLD
from clipzoo_detect.toy import toy_scenes
from clipzoo_detect.vild import Vocabulary, pixels_of
from PIL import Image
from torchvision.ops import box_iou

from clipzoo.errors import ConfigError, DataError


def test_things_are_found_by_name(tiny, square_scene):
    names = ["blue circle", "red square", "green star"]
    found = ViLD(tiny, proposals=40).detect([square_scene], names)[0]
    assert names[int(found.labels[0])] == "red square"
    assert (found.boxes[0] - torch.tensor([30.0, 20, 70, 60])).abs().max() <= 2
    assert found.scores[0] > 0.5


def test_most_toy_things_are_found_under_their_name_among_all(tiny):
    """Top detections name both shape and colour of most things, out of 128 combinations; chance is 1 in 128."""
    data = toy_scenes(6)
    found = ViLD(tiny, proposals=40).detect([pixels_of(image.read()) for image in data.images], data.classnames)
    hits = total = 0
    for image, own in zip(data.images, found, strict=True):
        top = own[: len(image.labels) + 1]
        over = box_iou(torch.from_numpy(image.boxes), top.boxes) >= 0.5
        for row, label in enumerate(image.labels):
            hits += bool((over[row] & (top.labels == label)).any())
            total += 1
    assert hits / total > 0.5


def test_labels_follow_the_names(tiny, square_scene):
    names = ["blue circle", "red square", "green star"]
    method = ViLD(tiny, proposals=20)
    one = method.detect([square_scene], names)[0]
    other = method.detect([square_scene], names[::-1])[0]
    assert torch.allclose(one.scores, other.scores, atol=1e-5)
    assert [names[k] for k in one.labels[:3]] == [names[::-1][k] for k in other.labels[:3]]


def test_own_boxes_are_named_and_those_without_area_left_out(tiny, square_scene):
    boxes = torch.tensor([[30.0, 20, 70, 60], [200, 200, 300, 300], [-50, -50, -5, -5]])
    found = ViLD(tiny).detect([square_scene], ["red square"], boxes=[boxes])[0]
    assert len(found) == 1
    assert found.boxes[0].tolist() == [30.0, 20.0, 70.0, 60.0]
    with pytest.raises(DataError, match="boxes for 2"):
        ViLD(tiny).detect([square_scene], ["red square"], boxes=[boxes, boxes])


def test_no_box_no_detection(tiny, square_scene):
    found = ViLD(tiny).detect([square_scene], ["red square"], boxes=[torch.zeros(0, 4)])[0]
    assert isinstance(found, Detections)
    assert len(found) == 0


def test_dense_features_see_colours(tiny, square_scene):
    method = ViLD(tiny, features="dense", dense_px=192)
    boxes = [torch.tensor([[30.0, 20, 70, 60]])]
    found = method.detect([square_scene], ["red square", "blue square"], boxes=boxes)[0]
    assert int(found.labels[0]) == 0


def test_images_of_any_size_and_kind(tiny):
    images = [Image.new("L", (33, 71), 90), torch.rand(3, 70, 33)]
    found = ViLD(tiny, proposals=5).detect(images, ["red square"])
    assert len(found) == 2
    for image in (torch.rand(3, 9, 9, 9), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.full((3, 8, 8), 200.0)):
        with pytest.raises(DataError):
            ViLD(tiny).detect([image], ["red square"])
    with pytest.raises(DataError, match=r"\[image\]"):
        ViLD(tiny).detect(torch.rand(3, 8, 8), ["red square"])


@pytest.mark.parametrize(
    "options",
    [
        {"features": "patches"},
        {"fit": "crop"},
        {"objectness": 1.5},
        {"context": ()},
        {"temperature": -1},
        {"proposer": "r"},
    ],
)
def test_settings_that_do_not_exist(tiny, options):
    with pytest.raises(ConfigError):
        ViLD(tiny, **options)


def test_proposals_cover_the_things_of_toy_scenes():
    """Nine of ten things have a proposal that overlaps by 0.5, among the 60 best."""
    data = toy_scenes(6)
    best = []
    for image in data.images:
        proposed = GroupingProposer(60)(pixels_of(image.read()))
        assert isinstance(proposed, Proposals)
        assert (proposed.objectness[:-1] >= proposed.objectness[1:]).all()
        best += box_iou(torch.from_numpy(image.boxes), proposed.boxes).amax(1).tolist()
    assert sum(value >= 0.5 for value in best) / len(best) > 0.85


def test_an_empty_picture_gives_the_whole():
    proposed = GroupingProposer()(torch.full((3, 50, 70), 0.4))
    assert proposed.boxes.tolist() == [[0, 0, 70, 50]]


def test_an_rpn_of_torchvision_proposes_in_pixels_of_the_image():
    from clipzoo_detect import RPNProposer
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, min_size=64, max_size=96)
    proposed = RPNProposer(model, 20)(torch.rand(3, 120, 200, generator=torch.Generator().manual_seed(0)))
    assert 0 < len(proposed) <= 20
    assert proposed.boxes[:, 0::2].max() <= 200.001
    assert proposed.boxes[:, 1::2].max() <= 120.001
    assert (proposed.objectness[:-1] >= proposed.objectness[1:]).all()


def test_twenty_thousand_classes_are_scored_at_once(tiny):
    generator = torch.Generator().manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(20_000, tiny.embed_dim, generator=generator), dim=-1)
    vocabulary = Vocabulary(tuple(map(str, range(20_000))), text, text[:0])
    corners = 60 * torch.rand(300, 2, generator=generator)
    proposed = Proposals(torch.cat([corners, corners + 8], 1), torch.full((300,), 0.5))
    wanted = torch.randperm(20_000, generator=generator)[:300]
    found = ViLD(tiny).classify(proposed, text[wanted], vocabulary)
    assert len(found) == 300
    assert set(found.labels.tolist()) <= set(wanted.tolist())
    assert all(label in wanted for label in found.labels[:50])
