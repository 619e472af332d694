"""PointCLIP: how views become class scores."""

from __future__ import annotations

import pytest
import torch
from clipzoo_points import PointCLIP, normalise_clouds, to_y_up
from clipzoo_points.pointclip import view_logits
from torch.nn.functional import normalize

from clipzoo.errors import ConfigError, DataError

NAMES = ("chair", "night_stand", "table")
VIEWS = {"v1": 6, "v2": 10, "both": 16}


@pytest.fixture(scope="module", params=["v1", "v2", "both"])
def model(request, tiny):
    return PointCLIP(tiny, NAMES, request.param)


def test_aggregation_equals_the_published_formula(oracle):
    stored = oracle("aggregation")
    text = normalize(stored["text"], dim=-1)
    equal = view_logits(stored["view_feat_unit"], text, torch.ones(6), 100.0)
    assert float((equal - stored["logits_equal"]).abs().max()) <= 1e-4
    weighted = view_logits(stored["view_feat_unit"], text, stored["view_weights"], 100.0)
    assert float((weighted - stored["logits_weighted"]).abs().max()) <= 1e-4


def test_shapes(model, tiny, clouds):
    count = VIEWS[model.mode]
    assert model.depth_images(clouds).shape == (4, count, tiny.image_size, tiny.image_size)
    features = model.features(clouds)
    assert features.shape == (4, count, tiny.embed_dim)
    assert torch.allclose(features.norm(dim=-1), torch.ones(4, count), atol=1e-5)
    assert model.logits(clouds).shape == (4, 3)
    assert len(model.view_names) == len(set(model.view_names)) == count


def test_a_batch_equals_its_clouds_one_by_one(model, clouds):
    single = torch.cat([model.logits(cloud[None]) for cloud in clouds])
    assert torch.allclose(model.logits(clouds), single, atol=2e-3)


def test_clouds_keep_their_order(model, clouds):
    assert torch.allclose(model.logits(clouds.flip(0)), model.logits(clouds).flip(0), atol=2e-3)


def test_passing_fewer_images_at_once_changes_nothing(model, tiny, clouds):
    small = PointCLIP(tiny, NAMES, model.mode, view_batch=5)
    assert torch.allclose(small.features(clouds), model.features(clouds), atol=1e-5)


def test_gradients_reach_the_points_and_no_weight(model, tiny, clouds):
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    points = clouds.clone().requires_grad_()
    model.logits(points).softmax(-1)[:, 0].sum().backward()
    assert bool(torch.isfinite(points.grad).all())
    assert float(points.grad.abs().max()) > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny.parameters())
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())


def test_both_averages_the_probabilities_of_v1_and_v2(tiny, clouds):
    v1, v2, both = (PointCLIP(tiny, NAMES, mode).logits(clouds).softmax(-1) for mode in ("v1", "v2", "both"))
    assert torch.allclose(both, (v1 + v2) / 2, atol=1e-5)


def test_view_weights_act_on_their_view(tiny, clouds):
    weights = torch.zeros(10)
    weights[3] = 1
    model = PointCLIP(tiny, NAMES, "v2", view_weights=weights)
    expected = tiny.logit_scale / 10**0.5 * model.features(clouds)[:, 3] @ model.text.T
    assert torch.allclose(model.logits(clouds), expected, atol=1e-3)


def test_view_names():
    from clipzoo.images.projection import VIEW_NAMES, VIEW_SETS, view_rotations

    assert set(VIEW_NAMES) == set(VIEW_SETS)
    assert all(len(VIEW_NAMES[views]) == len(view_rotations(views)) for views in VIEW_SETS)


def test_view_names_say_which_projection(tiny):
    names = PointCLIP(tiny, NAMES, "both").view_names
    assert names[0] == "v1 front"
    assert names[6] == "v2 front-right"
    assert PointCLIP(tiny, NAMES, "v1", views=torch.eye(3)[None]).view_names == ("view 0",)
    assert PointCLIP(tiny, NAMES, "v1", views="few-shot").view_names[-1] == "bottom"


def test_mismatched_features_are_refused(tiny):
    with pytest.raises(DataError, match="6 as in this PointCLIP"):
        PointCLIP(tiny, NAMES, "v1").logits_from_features(torch.zeros(1, 10, tiny.embed_dim))


@pytest.mark.parametrize("weights", [[1.0] * 9, [1.0] * 11, [float("nan")] * 10, [[1.0] * 10]])
def test_wrong_weights_are_refused(tiny, weights):
    with pytest.raises(ConfigError, match="10 finite numbers"):
        PointCLIP(tiny, NAMES, "v2", view_weights=weights)


def test_unknown_modes_are_refused(tiny):
    with pytest.raises(ConfigError, match='"v3"'):
        PointCLIP(tiny, NAMES, "v3")
    with pytest.raises(ConfigError, match="mode=both"):
        PointCLIP(tiny, NAMES, "both", views="v2")
    with pytest.raises(ConfigError, match="zero-shot"):
        PointCLIP(tiny, NAMES, "v1", views="zero-shots")


@pytest.mark.parametrize("names", [[], ["chair", "chair"], ["night_stand", "night stand"], ["chair", " "]])
def test_bad_class_names_are_refused(tiny, names):
    with pytest.raises(DataError):
        PointCLIP(tiny, names)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_the_up_axis_becomes_y_by_a_rotation(axis):
    up = torch.eye(3)["xyz".index(axis)]
    assert to_y_up(up[None], axis)[0].tolist() == [0, 1, 0]
    assert float(torch.linalg.det(to_y_up(torch.eye(3), axis))) == pytest.approx(1)


def test_an_unknown_axis_is_named():
    with pytest.raises(ConfigError, match='"w"'):
        to_y_up(torch.zeros(1, 3), "w")


def test_clouds_are_centred_in_the_unit_sphere(clouds):
    found = normalise_clouds(clouds * 30 + torch.tensor([5.0, -8.0, 2.0]))
    assert float(found.mean(1).abs().max()) < 1e-5
    assert torch.allclose(found.norm(dim=-1).amax(1), torch.ones(4))


@pytest.mark.parametrize("place", [0.0, 0.1, 1000.1, -3e7])
def test_a_cloud_without_size_is_named_wherever_it_is(clouds, place):
    clouds[1] = place
    with pytest.raises(DataError, match=r"clouds \[1\]"):
        normalise_clouds(clouds)


def test_small_clouds_have_a_size(clouds):
    assert torch.allclose(normalise_clouds(clouds * 1e-6), normalise_clouds(clouds), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3), (1, 0, 3), (1, 4, 2)])
def test_wrong_shapes_are_not_normalised(shape):
    with pytest.raises(DataError, match="shape"):
        normalise_clouds(torch.ones(shape))
