"""Detection on a dataset: boxes, metrics, pictures, result files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou

from clipzoo import Context, Result, Table
from clipzoo.errors import ClipzooError, ConfigError, DataError
from clipzoo.images.sheets import captioned_sheet
from clipzoo_detect.annotations import AnnotatedImage, DetectionData
from clipzoo_detect.detections import Detections
from clipzoo_detect.pictures import draw_detections, precision_recall_picture
from clipzoo_detect.plugin import ViLDSettings
from clipzoo_detect.precision import AveragePrecision, average_precision
from clipzoo_detect.prompts import class_sentences, known_templates
from clipzoo_detect.proposals import given_proposals
from clipzoo_detect.results import coco_results
from clipzoo_detect.run import novel_of
from clipzoo_detect.vild import ViLD, pixels_of

_FAILURES = 24

Look = Callable[[Tensor, AnnotatedImage], Detections]


@torch.no_grad()
def detect(settings: ViLDSettings, context: Context, data: DetectionData) -> Result:
    """Look for every class in every image, and measure where boxes are known."""
    done = context.items()
    pending = [image for image in data.images if "found" not in done.get(image.key, {})]
    federated = any(image.absent is not None for image in data.images)
    limit = settings.detections or (300 if federated else 100)
    look, protocol = _detector(settings, context, data)
    started, looked = time.perf_counter(), 0
    for image in context.progress(pending, total=len(pending), label="vild"):
        try:
            picture = image.read()
            found = look(pixels_of(picture), image)[:limit]
        except ClipzooError as error:
            context.failed(image.key, error)
            continue
        looked += 1
        context.record(image.key, size=[picture.height, picture.width], found=_plain(found))
    took = time.perf_counter() - started
    found = {key: _restored(item["found"]) for key, item in context.items().items() if "found" in item}
    if not found:
        return Result()
    _draw(settings, context, data, found)
    return _result(settings, context, data, found, protocol, took / looked if looked else math.nan, limit)


def _detector(settings: ViLDSettings, context: Context, data: DetectionData) -> tuple[Look, dict[str, Any]]:
    """The function that looks at an image, and how it does."""
    _warn_of_unknown(settings, context, data)
    if settings.tier == 2:
        from clipzoo_detect.network import TrainedViLD

        if settings.weights is None:
            raise ConfigError("tier 2 needs a trained detector", expected="weights=FILE, written by stage=train")
        trained = TrainedViLD.load(settings.weights, context.clip, device=context.device)
        rows = trained.text_rows(data.classnames, data.synonyms)
        federated = any(image.absent is not None for image in data.images)
        limit = settings.detections or (300 if federated else 100)
        options = {"limit": limit, "iou": settings.iou, "threshold": settings.threshold}
        if not settings.masks:
            trained.network.mask_head = None
        return lambda pixels, _: trained.detect_rows(pixels, rows, **options, mask_limit=limit), trained.protocol
    method = make_vild(settings, context, data)
    vocabulary = method.vocabulary(data.classnames)
    own = _own_boxes(settings.boxes) if settings.boxes else None

    def look(pixels: Tensor, image: AnnotatedImage) -> Detections:
        if own is None:
            proposed = method.propose(pixels)
        else:
            name = image.key if image.key in own else Path(image.key).name
            if name not in own:
                raise DataError(f"{settings.boxes} has no boxes for {image.key}")
            height, width = pixels.shape[-2:]
            proposed, left_out = given_proposals(torch.tensor(own[name]).reshape(-1, 4), (height, width))
            if left_out:
                context.note(f"{left_out} of the boxes given for {image.key} have no area in it and were left out.")
        return method.classify(proposed, method.embed(pixels, proposed.boxes), vocabulary)

    return look, _protocol(settings, context, method)


def make_vild(settings: ViLDSettings, context: Context, data: DetectionData) -> ViLD:
    """The training-free detector that the settings describe."""
    templates: Any = settings.templates or "vild"
    if templates == "vild" and data.synonyms:
        templates = class_sentences(data.classnames, known_templates(context.clip), data.synonyms)
    return ViLD(
        context.clip,
        features="dense" if settings.tier == 1 else "crops",
        proposer=settings.proposer,
        proposals=settings.proposals,
        templates=templates,
        background=settings.background or None,
        objectness=settings.objectness,
        fit=settings.fit,  # type: ignore[arg-type]
        temperature=settings.temperature or None,
        iou=settings.iou,
        threshold=settings.threshold,
        batch_size=settings.batch_size,
        dense_px=settings.dense_px,
    )


def _warn_of_unknown(settings: ViLDSettings, context: Context, data: DetectionData) -> None:
    unknown = [name for name in data.classnames if context.clip.unknown_words(name)]
    if unknown:
        context.note(
            f"{context.clip.name} never met the words of: {', '.join(unknown[:8])}"
            f"{', ...' if len(unknown) > 8 else ''}. Boxes are real, their names are not; choose a model such as "
            "model=ViT-B-32/openai."
        )


def _own_boxes(path: str) -> Mapping[str, Any]:
    try:
        content = json.loads(Path(path).expanduser().read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}"[:300], expected="image name to boxes") from error
    if not isinstance(content, dict) or not all(isinstance(rows, list) for rows in content.values()):
        raise DataError(f"{path} holds no boxes", expected='{"street.jpg": [[left, top, right, bottom], ...]}')
    for name, rows in content.items():
        for row in rows:
            if not (isinstance(row, list) and len(row) == 4 and all(isinstance(v, int | float) for v in row)):
                raise DataError(f"{path}: {name} has the box {row!r}"[:200], expected="[left, top, right, bottom], px")
    return content


def _draw(settings: ViLDSettings, context: Context, data: DetectionData, found: Mapping[str, Detections]) -> None:
    """The first images with their boxes, drawn from the records: a resumed run shows what any other shows."""
    for image in sorted((one for one in data.images if one.key in found), key=lambda one: one.key)[: settings.pictures]:
        try:
            picture = image.read()
        except ClipzooError:  # it has gone since it was looked at: the others are shown
            continue
        drawn = draw_detections(picture, uncluttered(found[image.key], settings.show), data.classnames)
        context.save_image(f"boxes-{image.key.rsplit('.', 1)[0]}", drawn, f"{image.key}: what was found")


def uncluttered(found: Detections, least: float, shared: float = 0.6) -> Detections:
    """What a picture shows: no box that shares most of its area, or of the other's, with a better one of any class.

    Args:
        found: best first.
        least: score that a box must have; the best of the image is shown in any case.
        shared: of the smaller of two boxes.
    """
    kept: list[int] = []
    area = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(1)
    for place in range(len(found)):
        if kept and found.scores[place] < least:
            break
        low = torch.maximum(found.boxes[place, :2], found.boxes[kept, :2])
        high = torch.minimum(found.boxes[place, 2:], found.boxes[kept, 2:])
        both = (high - low).clamp(min=0).prod(1)
        if not bool((both > shared * torch.minimum(area[place], area[kept])).any()):
            kept.append(place)
    return found[torch.tensor(kept, dtype=torch.long)]


def _plain(found: Detections) -> list[list[Any]]:
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    plain = [[label, round(score, 6), *(round(edge, 2) for edge in box)] for label, score, box in rows]
    if found.masks is None:
        return plain
    from clipzoo_detect.results import encode_mask

    return [[*row, encode_mask(mask)] for row, mask in zip(plain, found.masks.cpu().numpy(), strict=True)]


def _restored(rows: list[list[Any]]) -> Detections:
    if not rows:
        return Detections.none()
    from clipzoo_detect.results import decode_mask

    masks = None
    if len(rows[0]) == 7:
        decoded = [torch.from_numpy(decode_mask(row[6], (row[6]["size"][0], row[6]["size"][1]))) for row in rows]
        masks = torch.stack(decoded)
    return Detections(
        torch.tensor([row[2:6] for row in rows], dtype=torch.float32),
        torch.tensor([row[1] for row in rows], dtype=torch.float32),
        torch.tensor([row[0] for row in rows], dtype=torch.long),
        masks,
    )


def _result(
    settings: ViLDSettings,
    context: Context,
    data: DetectionData,
    found: Mapping[str, Detections],
    protocol: dict[str, Any],
    seconds: float,
    limit: int,
) -> Result:
    masks = any(one.masks is not None for one in found.values())
    rows = coco_results(found, data, masks=masks, limit=limit)
    context.save_bytes("results.json", json.dumps(rows).encode(), "Detections in the format of COCO and LVIS")
    named = {key: one.plain(data.classnames) for key, one in found.items()}
    context.save_bytes("detections.json", json.dumps(named, indent=1).encode(), "Detections by name")
    metrics: dict[str, float] = {}
    tables = [_counts(data, found, settings.show)]
    if data.annotated and any(image.things for image in data.images):
        # An image that could not be read is no image where nothing was found.
        seen = data.subset([place for place, image in enumerate(data.images) if image.key in found])
        metrics, tables = _measured(settings, context, seen, found, limit, masks)
    metrics["images"] = len(found)
    metrics["detections_an_image"] = sum(map(len, found.values())) / len(found)
    if not math.isnan(seconds):
        metrics["seconds_an_image"] = round(seconds, 4)
    return Result(metrics, tables, protocol)


def _counts(data: DetectionData, found: Mapping[str, Detections], least: float) -> Table:
    count, best = [0] * len(data.classnames), [0.0] * len(data.classnames)
    for one in found.values():
        for label, score in zip(one.labels.tolist(), one.scores.tolist(), strict=True):
            count[label] += score >= least
            best[label] = max(best[label], score)
    order = sorted(range(len(count)), key=lambda k: (-count[k], -best[k]))
    rows = [{"class": data.classnames[k], "found": count[k], "best score": round(best[k], 4)} for k in order]
    return Table("classes", rows, f"By class; found: detections of score {least:g} or more")


def _measured(
    settings: ViLDSettings,
    context: Context,
    data: DetectionData,
    found: Mapping[str, Detections],
    limit: int,
    masks: bool,
) -> tuple[dict[str, float], list[Table]]:
    measured = average_precision(data, found, limit=limit, backend=settings.backend)  # type: ignore[arg-type]
    novel = novel_of(settings, data)
    base = [label for label in range(len(data.classnames)) if label not in set(novel)]
    metrics: dict[str, float] = {}
    if novel:
        metrics["novel_AP50"] = measured.mean_of(novel, at_50=True)
        metrics["base_AP50"] = measured.mean_of(base, at_50=True)
    metrics |= {name: measured.summary[name] for name in measured.summary}
    if novel:
        metrics |= {"novel_AP": measured.mean_of(novel), "base_AP": measured.mean_of(base)}
    if masks:
        over = average_precision(data, found, masks=True, limit=limit, backend=settings.backend)  # type: ignore[arg-type]
        metrics |= {f"mask_{name}": over.summary[name] for name in ("AP", "AP50")}
        if novel:
            metrics["mask_novel_AP"] = over.mean_of(novel)
    recall = proposal_recall(data, found)
    metrics["recall_50"] = recall
    curves = {"all classes": measured.curve_of(range(len(data.classnames)))}
    if novel:
        curves |= {"base classes": measured.curve_of(base), "novel classes": measured.curve_of(novel)}
    context.save_image("precision-recall", precision_recall_picture(curves), "Precision over recall at IoU 0.5")
    _failures(context, data, found)
    metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
    return metrics, [_classes(data, measured, novel)]


def proposal_recall(data: DetectionData, found: Mapping[str, Detections], iou: float = 0.5) -> float:
    """Share of the annotated things that a detection of whatever class covers: how well things are located."""
    hit = total = 0
    for image in data.images:
        own = found[image.key]
        truth = torch.from_numpy(image.boxes)
        total += len(truth)
        if len(own) and len(truth):
            hit += int((box_iou(truth, own.boxes).amax(1) >= iou).sum())
    return hit / total if total else math.nan


def _classes(data: DetectionData, measured: AveragePrecision, novel: list[int]) -> Table:
    hidden = set(novel)
    rows = []
    for label, name in enumerate(data.classnames):
        if not measured.instances[label]:
            continue
        row: dict[str, Any] = {"class": name, "things": int(measured.instances[label])}
        if novel:
            row["kind"] = "novel" if label in hidden else "base"
        if data.frequency:
            row["frequency"] = data.frequency[label]
        row |= {"AP": round(float(measured.by_class[label]), 4), "AP50": round(float(measured.by_class_50[label]), 4)}
        rows.append(row)
    rows.sort(key=lambda row: -row["AP50"])
    return Table("classes", rows, "By class, those with annotated things")


def _failures(context: Context, data: DetectionData, found: Mapping[str, Detections]) -> None:
    """Things that nobody found under their name, as they look, and what the best box there was called instead."""
    cells: list[tuple[Image.Image, str]] = []
    for image in data.images:
        missed = list(_missed(image, found[image.key]))
        if not missed:
            continue
        try:
            picture = image.read()
        except ClipzooError:  # it has gone since it was looked at
            continue
        for box, label, called in missed:
            margin = 0.15 * max(box[2] - box[0], box[3] - box[1])
            left, top, right, bottom = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
            crop = picture.crop((round(left), round(top), round(right), round(bottom)))
            named = "nothing" if called is None else data.classnames[called]
            cells.append((crop, f"{data.classnames[label]}: found {named}"))
        if len(cells) >= _FAILURES:
            break
    if cells:
        sheet = captioned_sheet(cells[:_FAILURES], cell_px=120)
        context.save_image("failures", sheet, "Things missed, or found under another name")


def _missed(image: AnnotatedImage, own: Detections) -> Iterator[tuple[list[float], int, int | None]]:
    """Things whose best overlapping detection has another label: box, label, and that label, if there is any."""
    truth = torch.from_numpy(image.boxes)
    overlap = box_iou(truth, own.boxes) if len(own) else torch.zeros(len(truth), 0)
    for row, (box, label) in enumerate(zip(image.boxes.tolist(), image.labels, strict=True)):
        over = (overlap[row] >= 0.5).nonzero().flatten()
        called = int(own.labels[over[0]]) if len(over) else None
        if called != label:
            yield box, label, called


def _protocol(settings: ViLDSettings, context: Context, method: ViLD) -> dict[str, Any]:
    templates = settings.templates or list(known_templates(context.clip))
    return {
        "encoder": f"{context.clip.name} ({context.clip.fingerprint})",
        "tier": "0, CLIP on crops of 1x and 1.5x" if settings.tier == 0 else "1, RoIAlign on dense features",
        "proposals": f"{settings.boxes or settings.proposer}, at most {settings.proposals} an image",
        "crops": f"fit {settings.fit}, bicubic as Pillow" if settings.tier == 0 else f"{settings.dense_px} px image",
        "prompts": f"{len(templates)} templates" if len(templates) > 3 else " | ".join(templates),
        "background": " | ".join(method.background),
        "temperature": f"{method.temperature:.4g}",
        "score": f"objectness^{settings.objectness:g} x class probability^{1 - settings.objectness:g}",
        "suppression": f"within classes, IoU {settings.iou:g}",
        "selection": "none",
    }
