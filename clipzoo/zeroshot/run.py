"""The run behind ``clipzoo run zeroshot``."""

from __future__ import annotations

import dataclasses
import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipzoo.data.labelled_images import ImageDataset
from clipzoo.errors import DataError
from clipzoo.plugin import Context, Result, Table
from clipzoo.prompts import TEMPLATE_SETS, clean_name
from clipzoo.zeroshot.plugin import HEADS, ZeroShotSettings

if TYPE_CHECKING:
    from clipzoo.zeroshot.classify import Scored
    from clipzoo.zeroshot.features import Encoded

_COMPARED = ("name", "photo", "imagenet-7", "imagenet-80")


def run(settings: ZeroShotSettings, context: Context) -> Result:
    """Open the data; load torch and the encoder only when there is something to classify."""
    data = open_split(settings, context, settings.split)
    heads = HEADS if settings.head == "all" else (settings.head,)
    train = None if heads == ("zero-shot",) else open_split(settings, context, settings.train_split, limited=False)
    return _classify(settings, context, data, train, heads)


def open_split(settings: ZeroShotSettings, context: Context, split: str, limited: bool = True) -> ImageDataset:
    """A part of the data, with the class names and the number of images that the settings ask for."""
    per_class = settings.per_class if limited else max(settings.per_class, 2 * (settings.shots or settings.per_class))
    data: ImageDataset = context.dataset("images", split=split, per_class=per_class)
    if settings.names:
        data = data.with_classnames(settings.names)
    if not data.classnames:
        raise DataError(
            f"{data.name} has no classes: its images lie in no class folders",
            expected="names to tell apart",
            hint='names="a dog, a cat"',
        )
    if limited and settings.limit and settings.limit < len(data):
        step = len(data) / settings.limit  # spread over the whole, so that a short look sees every class
        data = data.subset([int(place * step) for place in range(settings.limit)])
    return data


def _classify(
    settings: ZeroShotSettings, context: Context, data: ImageDataset, train: ImageDataset | None, heads: tuple[str, ...]
) -> Result:
    from clipzoo.zeroshot.classify import score_head, zero_shot
    from clipzoo.zeroshot.features import encode

    names = tuple(clean_name(name) for name in data.classnames)
    clip = context.clip
    unknown = [name for name in names if clip.unknown_words(name)]
    if unknown:
        context.note(
            f"{clip.name} has never met: {', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''}. "
            "Name a real encoder, for example model=ViT-B-32/openai."
        )
    templates = _templates(settings)
    started = time.perf_counter()
    text = clip.classifier(names, templates).cpu()
    shown = encode(context, data, settings.batch_size)
    seconds = time.perf_counter() - started
    scores = {"zero-shot": zero_shot(shown.features, text, clip.logit_scale)}
    drawn: dict[str, Any] = {}
    if train is not None:
        own, held, drawn = _training(settings, context, data, train)
        for head in heads:
            if head != "zero-shot":
                generator = context.generator(head)
                scores[head] = score_head(head, shown.features, text, clip.logit_scale, own, held, generator)
    main = heads[0] if settings.head != "all" else "zero-shot"
    _record(context, shown, scores, main, names)
    metrics, tables = _measured(settings, shown, scores, main, names)
    metrics["images_per_second"] = len(shown.keys) / seconds
    if shown.labelled and settings.compare_templates and clip.known_tokens is None:
        tables.insert(1, _template_table(context, shown, names))
    _sheet(context, data, shown, scores[main], names)
    return Result(metrics, tables, _protocol(settings, context, data, templates, scores, drawn))


def _templates(settings: ZeroShotSettings) -> Any:
    one = settings.templates[0] if len(settings.templates) == 1 else None
    return one if one in TEMPLATE_SETS or (one is not None and "{}" not in one) else settings.templates


def _training(
    settings: ZeroShotSettings, context: Context, data: ImageDataset, train: ImageDataset
) -> tuple[Encoded, Encoded, dict[str, Any]]:
    """Encoded training and validation images, and how they were drawn."""
    from clipzoo.heads import draw_shots, read_shots
    from clipzoo.zeroshot.features import encode

    if tuple(train.classnames) != tuple(data.classnames):
        train = train.with_classnames(data.classnames)
    if train.split == data.split:
        raise DataError(
            f"{data.name} has one split only ({data.split}): the heads would learn from what they are tested on",
            expected=f"folders {settings.train_split} and {settings.split}",
            hint="head=zero-shot, which needs no training images",
        )
    labelled = [item for item in train.items if item.label is not None]
    if not labelled:
        raise DataError(f"{train.name}, split {train.split}, has no labels to learn from")
    if settings.shots_file:
        drawn = read_shots(settings.shots_file)
    else:
        labels = [int(item.label or 0) for item in labelled]
        most = settings.shots or max(labels.count(label) for label in set(labels))
        drawn = draw_shots([item.key for item in labelled], labels, most, settings.seed)
    context.save_bytes("shots.json", json.dumps(dataclasses.asdict(drawn) | {"format": 1}, indent=1).encode())
    part = train.selected([*drawn.train, *drawn.validation])
    found = encode(context, part, settings.batch_size, record_failures=False)
    own, held = found.chosen(drawn.train), found.chosen(drawn.validation)
    if not held.keys:
        raise DataError("no training image is left to choose hyper-parameters on", expected="two images a class")
    absent = sorted(set(range(len(data.classnames))) - set(own.labels.tolist()))
    if absent:
        context.note(f"No training images of: {', '.join(data.classnames[label] for label in absent[:8])}.")
    return own, held, {"shots": settings.shots or "all", "training": len(own.keys), "validation": len(held.keys)}


def _record(context: Context, shown: Encoded, scores: dict[str, Scored], main: str, names: tuple[str, ...]) -> None:
    best = scores[main].probabilities.topk(min(5, len(names)), dim=-1)
    others = {head: score.probabilities.argmax(-1).tolist() for head, score in scores.items() if head != main}
    labels = shown.labels.tolist()
    rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    for place, (probabilities, ranked) in enumerate(rows):
        context.record(
            shown.keys[place],
            label=labels[place],
            ranked=ranked,
            predicted=names[ranked[0]],
            true=names[labels[place]] if labels[place] >= 0 else None,
            probability=round(probabilities[0], 4),
            **{head: names[answers[place]] for head, answers in others.items()},
        )


def _measured(
    settings: ZeroShotSettings, shown: Encoded, scores: dict[str, Scored], main: str, names: tuple[str, ...]
) -> tuple[dict[str, float], list[Table]]:
    from clipzoo.metrics.classification import class_recall, confusion_matrix, top_k_accuracy
    from clipzoo.metrics.intervals import bootstrap_interval

    best = scores[main].probabilities.topk(min(5, len(names)), dim=-1)
    ranked, labels = best.indices.tolist(), shown.labels.tolist()
    rows = [
        {
            "image": key,
            "true": names[label] if label >= 0 else "",
            "predicted": names[order[0]],
            "probability": round(probability, 4),
        }
        for key, label, order, probability in zip(shown.keys, labels, ranked, best.values[:, 0].tolist(), strict=True)
    ]
    predictions = Table("predictions", rows, "Predictions")
    if not shown.labelled:
        return {"images": len(labels)}, [predictions]
    compared = []
    for head, score in scores.items():
        right = (score.probabilities.argmax(-1) == shown.labels).double().numpy()
        low, _, high = bootstrap_interval(right, seed=settings.seed)
        compared.append({"head": head, "top-1": right.mean(), "low": low, "high": high, "chosen": score.told})
    counts = confusion_matrix([order[0] for order in ranked], labels, len(names))
    recall = class_recall(counts)
    present = [k for k in range(len(names)) if counts[k].sum()]
    headline = next(row for row in compared if row["head"] == main)
    metrics = {"top1": float(headline["top-1"]), "top1_low": headline["low"], "top1_high": headline["high"]}
    metrics |= {f"top1_{row['head']}": float(row["top-1"]) for row in compared if row["head"] != main}
    if len(names) > 5:
        metrics["top5"] = top_k_accuracy(ranked, labels, 5)
    metrics["mean_class_accuracy"] = float(recall[present].mean())
    metrics["images"] = len(labels)
    shares = [
        {key: round(float(value), 4) if isinstance(value, float) else value for key, value in row.items()}
        for row in compared
    ]
    by_class = [
        {"class": names[k], "images": int(counts[k].sum()), "accuracy": round(float(recall[k]), 4)} for k in present
    ]
    taken = [k for k in range(len(names)) if counts[k].sum() or counts[:, k].sum()]
    tables = [
        Table("heads", shares, "By head: accuracy with its 95 % bootstrap interval"),
        Table("classes", by_class, "By class"),
    ]
    if len(taken) <= 60:
        confusion = [{"": names[k], **{names[j]: int(counts[k, j]) for j in taken}} for k in taken]
        tables.append(Table("confusion", confusion, "Confusion", "confusion"))
    return metrics, [*tables, predictions]


def _template_table(context: Context, shown: Encoded, names: tuple[str, ...]) -> Table:
    rows = []
    for templates in _COMPARED:
        text = context.clip.classifier(names, templates).cpu()
        right = (shown.features @ text.T).argmax(-1) == shown.labels
        rows.append({"templates": templates, "top-1": round(float(right.double().mean()), 4)})
    return Table("templates", rows, "Zero-shot accuracy by set of prompts")


def _sheet(context: Context, data: ImageDataset, shown: Encoded, scored: Scored, names: tuple[str, ...]) -> None:
    """The surest answers: right ones and wrong ones (or all, without labels)."""
    from clipzoo.errors import ClipzooError
    from clipzoo.images.sheets import captioned_sheet

    sure, answer = scored.probabilities.max(-1)
    order = sure.argsort(descending=True, stable=True).tolist()
    labels, answers = shown.labels.tolist(), answer.tolist()
    right = [row for row in order if labels[row] in (answers[row], -1)]
    wrong = [row for row in order if labels[row] not in (answers[row], -1)]
    read = {item.key: item.read for item in data.items}
    for name, rows, caption in (
        ("successes", _spread(right, answers, 24), "Right answers, the surest of each class"),
        ("failures", _spread(wrong, answers, 24), "Wrong answers, the surest of each class"),
    ):
        cells = []
        for row in rows:
            told = names[answers[row]] if name == "successes" else f"{names[labels[row]]}, not {names[answers[row]]}"
            try:
                cells.append((read[shown.keys[row]](), f"{told} {sure[row]:.0%}"))
            except ClipzooError:  # a file may have gone since
                continue
        if cells:
            buffer = io.BytesIO()
            captioned_sheet(cells).save(buffer, format="PNG")
            context.save_bytes(f"{name}.png", buffer.getvalue(), caption if labels[0] >= 0 else "The surest answers")


def _spread(rows: list[int], answers: list[int], most: int) -> list[int]:
    """Rows in the order given, but one of each answer before the second of any."""
    seen: dict[int, int] = {}
    ranked = []
    for place, row in enumerate(rows):
        seen[answers[row]] = seen.get(answers[row], 0) + 1
        ranked.append((seen[answers[row]], place, row))
    return [row for _, _, row in sorted(ranked)[:most]]


def _protocol(
    settings: ZeroShotSettings,
    context: Context,
    data: ImageDataset,
    templates: Any,
    scores: dict[str, Scored],
    drawn: dict[str, Any],
) -> dict[str, Any]:
    protocol = {
        "encoder": f"{context.clip.name} ({context.clip.fingerprint})",
        "data": f"{data.name}, split {data.split}, {len(data)} images, {len(data.classnames)} classes ({data.layout})",
        "pixels": context.clip.preprocess_id,
        "prompts": templates if isinstance(templates, str) else " | ".join(templates),
        "heads": "; ".join(f"{head}: {score.told}" for head, score in scores.items()),
    }
    if drawn:
        protocol["training"] = (
            f"{drawn['shots']} shots: {drawn['training']} images of the split {settings.train_split}, and "
            f"{drawn['validation']} others of it to choose hyper-parameters on"
        )
        if settings.shots_file:
            protocol["training"] += f", from {Path(settings.shots_file).name}"
    return protocol
