"""Retrieval on a fixed gallery with all captions, the loss against chance, and zero-shot classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from clipzoo.data.labelled_images import ImageDataset
from clipzoo.encoders.pixels import unit_rows
from clipzoo.losses import contrastive_loss
from clipzoo.metrics.ranking import rank_counts, retrieval_metrics
from clipzoo.store.decoding import fit_square
from clipzoo_train.captions import CaptionedImage
from clipzoo_train.pair import Pair
from clipzoo_train.pixel_bank import PixelBank

KS = (1, 5, 10)
LOSS_BATCH = 64


@torch.no_grad()
def encode_gallery(
    pair: Pair, images: Sequence[CaptionedImage], bank: PixelBank, batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features of images and of all their captions, and the image that each caption belongs to.

    Args:
        pair: in eval mode.
        images: of the gallery.
        bank: of their exact squares.
        batch_size: images or sentences at a time.
    """
    device = next(pair.parameters()).device
    told = [(place, caption) for place, image in enumerate(images) for caption in image.captions]
    rows = [
        unit_rows(pair.encode_image(bank.read(part)[0].to(device).float() / 255))
        for part in _parts(range(len(images)), batch_size)
    ]
    sentences = [caption for _, caption in told]
    texts = [
        unit_rows(pair.encode_text(pair.tokens(sentences[part.start : part.stop]).to(device)))
        for part in _parts(range(len(sentences)), batch_size)
    ]
    return torch.cat(rows), torch.cat(texts), torch.tensor([place for place, _ in told], device=device)


def _parts(places: range, size: int) -> list[range]:
    return [places[start : start + size] for start in range(0, len(places), size)]


@torch.no_grad()
def retrieval_row(image: Tensor, text: Tensor, owner: Tensor, scale: float) -> dict[str, float]:
    """R@1, 5, 10 and the median rank in both directions, and CLIP's loss minus what guessing would have.

    A sentence finds its image; an image finds any of its captions (its rank is that of the best). The loss is that of
    batches of 64 with one caption an image, minus the logarithm of the batch's size: below zero is better than
    guessing, whatever the training batch and the training loss were.

    Args:
        image: unit rows.
        text: unit rows.
        owner: row of each text's image.
        scale: factor on cosines.
    """
    gallery = torch.arange(len(image), device=image.device)
    to_images = retrieval_metrics(rank_counts(text, image, owner, gallery), KS)
    to_texts = retrieval_metrics(rank_counts(image, text, gallery, owner), KS)
    row = {f"t2i_R@{k}": to_images[f"recall@{k}"] for k in KS} | {f"i2t_R@{k}": to_texts[f"recall@{k}"] for k in KS}
    row |= {"t2i_median_rank": to_images["median_rank"], "i2t_median_rank": to_texts["median_rank"]}
    return row | {"loss_minus_chance": loss_minus_chance(image, text, owner, scale)}


def loss_minus_chance(image: Tensor, text: Tensor, owner: Tensor, scale: float) -> float:
    """CLIP's loss of batches of 64 images with their first captions, minus ln 64; smaller galleries are one batch."""
    first = torch.full((len(image),), -1, dtype=torch.long, device=owner.device)
    first[owner.flip(0)] = torch.arange(len(owner), device=owner.device).flip(0)
    size = min(LOSS_BATCH, len(image))
    losses = []
    for start in range(0, len(image) - size + 1, size):
        rows = slice(start, start + size)
        losses.append(float(contrastive_loss(image[rows], text[first[rows]], scale)) - math.log(size))
    return float(np.mean(losses))


@torch.no_grad()
def zeroshot_accuracy(pair: Pair, dataset: ImageDataset, batch_size: int) -> float:
    """Top-1 accuracy on images with classes, by one sentence a class ("a photo of a NAME").

    Args:
        pair: in eval mode.
        dataset: images with labels.
        batch_size: images at a time.
    """
    clip = pair.frozen()
    text = clip.classifier(dataset.classnames, "photo", cache=False)
    right = total = 0
    labelled = [item for item in dataset.items if item.label is not None]
    for start in range(0, len(labelled), batch_size):
        part = labelled[start : start + batch_size]
        squares = [np.array(fit_square(item.read(), clip.preprocessing)) for item in part]
        pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
        features = clip.encode_image(pixels)
        answers = (features @ text.T).argmax(1).tolist()
        right += sum(answer == item.label for answer, item in zip(answers, part, strict=True))
        total += len(part)
    return right / max(1, total)
