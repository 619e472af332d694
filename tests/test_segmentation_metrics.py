import numpy as np
import pytest
import torch

from clipzoo.errors import ConfigError, DataError
from clipzoo.metrics.segmentation import SegmentationScore


def reference(predicted: np.ndarray, target: np.ndarray, classes: int, ignore: int | None) -> dict[str, float]:
    """Written out class by class from the definitions."""
    kept = np.ones(target.shape, bool) if ignore is None else target != ignore
    iou, accuracy = [], []
    for label in range(classes):
        ours, theirs = (predicted == label) & kept, (target == label) & kept
        if (ours | theirs).any():
            iou.append((ours & theirs).sum() / (ours | theirs).sum())
        if theirs.any():
            accuracy.append((ours & theirs).sum() / theirs.sum())
    return {
        "miou": float(np.mean(iou)),
        "pixel_accuracy": float((predicted == target)[kept].mean()),
        "mean_accuracy": float(np.mean(accuracy)),
    }


def random_labels(classes: int, shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, shape, generator=generator)
    wrong = torch.rand(shape, generator=generator) < 0.4
    predicted = torch.where(wrong, torch.randint(0, classes, shape, generator=generator), target)
    target[torch.rand(shape, generator=generator) < 0.1] = 255
    return predicted, target


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_their_definitions(seed: int) -> None:
    predicted, target = random_labels(7, (3, 20, 30), seed)
    score = SegmentationScore(7)
    score.update(predicted, target)
    assert score.compute() == pytest.approx(reference(predicted.numpy(), target.numpy(), 7, 255))


def test_a_stream_is_the_sum_of_its_images() -> None:
    predicted, target = random_labels(5, (6, 16, 16), 0)
    whole, stream, shards = SegmentationScore(5), SegmentationScore(5), [SegmentationScore(5) for _ in range(2)]
    whole.update(predicted, target)
    for place in range(6):
        stream.update(predicted[place], target[place])
        shards[place % 2].update(predicted[place], target[place])
    shards[0].merge(shards[1])
    assert (stream.confusion == whole.confusion).all() and (shards[0].confusion == whole.confusion).all()
    assert whole.confusion.sum() == (target != 255).sum()


def test_mean_of_images_is_not_the_score() -> None:
    # mIoU is over the pixels of all images, so that small images of rare classes do not dominate.
    score = SegmentationScore(2)
    score.update(torch.zeros(1, 90).long(), torch.zeros(1, 90).long())
    score.update(torch.zeros(1, 10).long(), torch.ones(1, 10).long())
    assert score.iou().tolist() == [0.9, 0.0]
    assert score.compute()["miou"] == pytest.approx(0.45)


def test_absent_classes() -> None:
    score = SegmentationScore(4)
    score.update(torch.tensor([0, 0, 2]), torch.tensor([0, 0, 0]))
    iou = score.iou()
    # Class 2 was predicted and never is: zero. Classes 1 and 3 occur nowhere: no value.
    assert iou[0] == pytest.approx(2 / 3) and iou[2] == 0 and np.isnan(iou[[1, 3]]).all()
    assert score.compute()["miou"] == pytest.approx(1 / 3)
    assert score.compute()["mean_accuracy"] == pytest.approx(2 / 3)


def test_foreground_and_background() -> None:
    score = SegmentationScore(3, ignore_index=None)
    # Confusing two foreground classes costs nothing here.
    score.update(torch.tensor([0, 0, 1, 2, 1, 0]), torch.tensor([0, 0, 2, 1, 0, 1]))
    # background: shared 2, union 4; foreground: shared 2, union 4.
    assert score.foreground_background_iou() == pytest.approx(0.5)
    assert score.compute()["miou"] == pytest.approx(0.5 / 3)
    # With class 1 as background: shared 0; the rest: shared 2, union 6.
    assert score.foreground_background_iou(1) == pytest.approx((0 + 2 / 6) / 2)


def test_ignored_pixels_and_empty_scores() -> None:
    score = SegmentationScore(3)
    score.update(torch.tensor([[250, -7]]), torch.tensor([[255, 255]]))
    assert all(np.isnan(value) for value in score.compute().values()) and score.confusion.sum() == 0
    minus = SegmentationScore(3, ignore_index=-1)
    minus.update(torch.tensor([0, 1]), torch.tensor([-1, 1]))
    assert minus.compute()["pixel_accuracy"] == 1


def test_bytes_are_classes_too() -> None:
    score = SegmentationScore(200)
    score.update(torch.tensor([199], dtype=torch.uint8), torch.tensor([199], dtype=torch.uint8))
    assert score.confusion[199, 199] == 1


def test_torchmetrics_agrees() -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    predicted, target = random_labels(6, (2, 30, 30), 1)
    score = SegmentationScore(6)
    score.update(predicted, target)
    peer = classification.MulticlassJaccardIndex(6, ignore_index=255)
    assert score.compute()["miou"] == pytest.approx(float(peer(predicted, target)), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.update(torch.zeros(2, 3).long(), torch.zeros(3, 2).long()), DataError, "the same"),
        (lambda s: s.update(torch.zeros(2), torch.zeros(2).long()), DataError, "integers"),
        (lambda s: s.update(torch.tensor([3]), torch.tensor([0])), DataError, "a prediction has the class 3"),
        (lambda s: s.update(torch.tensor([0]), torch.tensor([-1])), DataError, "255 to ignore"),
        (lambda s: s.merge(SegmentationScore(4)), DataError, "4 classes"),
        (lambda s: s.foreground_background_iou(3), ConfigError, "0 to 2"),
        (lambda s: SegmentationScore(3, ignore_index=2), ConfigError, "outside"),
        (lambda s: SegmentationScore(0), ConfigError, "0 classes"),
    ],
)
def test_bad_input_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(SegmentationScore(3))  # type: ignore[operator]
