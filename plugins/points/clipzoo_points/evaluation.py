"""PointCLIP on a dataset: predictions, metrics and pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clipzoo import Context, Result, Table
from clipzoo.errors import ConfigError, DataError
from clipzoo.images.sheets import contact_sheet
from clipzoo.metrics.classification import class_recall, confusion_matrix, top_k_accuracy
from clipzoo.prompts import clean_name
from clipzoo_points.adapter import AdapterRecipe, InterViewAdapter, augment_shots, train_adapter
from clipzoo_points.datasets import PointDataset
from clipzoo_points.plugin import PointCLIPSettings
from clipzoo_points.pointclip import PointCLIP, view_logits
from clipzoo_points.run import open_clouds
from clipzoo_points.view_weights import agreement_weights, search_weights


@dataclass(frozen=True)
class _Classifier:
    """From features of the views to scores, by name: one for the run, one for each projection beside it."""

    model: PointCLIP
    adapter: InterViewAdapter | None = None

    def scores(self, features: Tensor) -> dict[str, Tensor]:
        """Probabilities [batch, classes]; the first entry is the run's own answer."""
        model, scale = self.model, self.model.clip.logit_scale
        if self.adapter is not None:
            return {"": self.adapter.logits(features, model.text, scale).softmax(-1)}
        found = {"": model.logits_from_features(features).softmax(-1)}
        if model.mode == "both":
            for name, part in (("v1", slice(None, 6)), ("v2", slice(6, None))):
                logits = view_logits(features[:, part], model.text, model.view_weights[part], scale)
                found[name] = logits.softmax(-1)
        return found


@torch.no_grad()
def evaluate(settings: PointCLIPSettings, context: Context, data: PointDataset) -> Result:
    """Classify ``data``, and measure where it is labelled."""
    classnames = tuple(clean_name(name) for name in data.classnames)
    pending = data.batches(
        settings.batch_size,
        settings.points,
        skip=set(context.items()),
        on_error=context.failed,
        up_axis=settings.up_axis,
    )
    _warn_of_unknown(context, classnames)
    classifier, selection = _classifier(settings, context, data, classnames)
    started, done = time.perf_counter(), 0
    for batch in context.progress(pending, total=-(-len(data) // settings.batch_size), label="pointclip"):
        scores = classifier.scores(classifier.model.features(batch.points))
        _record(context, batch.keys, batch.labels, scores, classnames)
        done += len(batch.keys)
    seconds = time.perf_counter() - started
    items = {key: item for key, item in context.items().items() if "error" not in item}
    if not items:
        return Result()
    _sheet(settings, context, data, classifier.model, classnames)
    metrics, tables = _evaluate(items, classnames, _answers(items))
    if done:
        metrics["clouds_per_second"] = done / seconds
    return Result(metrics, tables, _protocol(settings, context, data, classifier.model, selection))


def _warn_of_unknown(context: Context, classnames: tuple[str, ...]) -> None:
    unknown = [name for name in classnames if context.clip.unknown_words(name)]
    if unknown:
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        context.note(
            f"{context.clip.name} has never met: {shown}. Name a real encoder, for example model=ViT-B-16/openai."
        )


def _model(settings: PointCLIPSettings, context: Context, classnames: tuple[str, ...], **changes: Any) -> PointCLIP:
    options: dict[str, Any] = {
        "templates": settings.templates or None,
        "size": settings.raster or None,
        "view_weights": settings.view_weights or None,
        "renderer": settings.renderer,
    }
    return PointCLIP(context.clip, classnames, settings.mode, **{**options, **changes})


def _classifier(
    settings: PointCLIPSettings, context: Context, data: PointDataset, classnames: tuple[str, ...]
) -> tuple[_Classifier, str]:
    """The classifier that the settings ask for, and how it was selected."""
    if settings.adapter:
        return _adapted(settings, context, classnames)
    model = _model(settings, context, classnames)
    if settings.view_weights:
        return _Classifier(model), "view weights given by the user"
    if settings.weights == "equal":
        return _Classifier(model), "none"
    if settings.mode == "both":
        raise ConfigError("view weights are searched for one projection at a time", expected="mode=v1 or mode=v2")
    scale = context.clip.logit_scale
    if settings.weights == "held-out":
        held = _shots(settings, context, classnames)[1]
        features, labels = _labelled(*_features_of(held, model, settings, _leave_out(context)), held)
        weights, accuracy = search_weights(features, labels, model.text, scale)
        told = f"view weights searched on {len(labels)} training clouds, where they reach {accuracy:.1%}"
    else:
        features, labels = _features_of(data, model, settings, context.failed)
        if settings.weights == "agreement":
            weights, told = agreement_weights(features, model.text, scale), "view weights by agreement, without labels"
        else:
            weights, _ = search_weights(*_labelled(features, labels, data), model.text, scale)
            told = "official protocol: view weights searched on the labels of the evaluated split"
            context.note("The view weights were chosen on the very labels that the accuracy is measured with.")
    return _Classifier(_model(settings, context, classnames, view_weights=weights)), told


def _adapted(settings: PointCLIPSettings, context: Context, classnames: tuple[str, ...]) -> tuple[_Classifier, str]:
    if settings.mode != "v1":
        raise ConfigError(
            f"the adapter was given with mode={settings.mode}", expected="mode=v1, which it was published for"
        )
    model = _model(
        settings,
        context,
        classnames,
        templates=settings.templates or "pointclip-few-shot",
        views="few-shot",
        size=settings.raster or min(224, context.clip.image_size),
        distance=1.4,
        view_weights=None,
    )
    shots, held = _shots(settings, context, classnames)
    batches = list(
        shots.batches(settings.batch_size, settings.points, on_error=_leave_out(context), up_axis=settings.up_axis)
    )
    if not batches:
        raise DataError(f"no cloud of {shots.name}, split {shots.split}, could be read")
    clouds = torch.cat([batch.points for batch in batches])
    labels = torch.tensor([label for batch in batches for label in batch.labels])
    generator = context.generator("adapter")

    def features(epoch: int) -> Tensor:
        with torch.no_grad():
            points = augment_shots(clouds, context.generator("augment", epoch))
            return torch.cat([model.features(part) for part in points.split(settings.batch_size)])

    with torch.enable_grad():
        fit = train_adapter(
            features,
            labels,
            model.text,
            context.clip.logit_scale,
            validation=_labelled(*_features_of(held, model, settings, _leave_out(context)), held),
            recipe=AdapterRecipe(epochs=settings.epochs),
            generator=generator,
        )
    told = (
        f"adapter trained on {len(labels)} clouds; epoch {fit.epoch} kept, the best on {len(held)} other training "
        f"clouds ({fit.validation_accuracy:.1%})"
    )
    return _Classifier(model, fit.adapter), told


def _shots(
    settings: PointCLIPSettings, context: Context, classnames: tuple[str, ...]
) -> tuple[PointDataset, PointDataset]:
    """Training clouds of ``classnames``, ``shots`` a class, and others of the same split that are held out."""
    per_class = max(settings.per_class, 2 * settings.shots)
    train = open_clouds(replace(settings, limit=0, per_class=per_class), context, "train").among(classnames)
    absent = [name for label, name in enumerate(classnames) if all(item.label != label for item in train.items)]
    if absent:
        context.note(f"The training split has no clouds of: {', '.join(absent)}.")
    generator = context.generator("shots")
    shots, held = [], []
    for label in range(len(train.classnames)):
        own = [place for place in range(len(train)) if train.label(place) == label]
        own = [own[k] for k in torch.randperm(len(own), generator=generator).tolist()]
        cut = min(settings.shots, max(1, len(own) // 2))
        shots += own[:cut]
        held += own[cut : 2 * cut]
    if not held:
        raise DataError(f"the training split of {train.name} is too small to hold clouds out", expected="two a class")
    return train.subset(shots), train.subset(held)


def _leave_out(context: Context) -> Callable[[str, Exception], None]:
    def note(key: str, error: Exception) -> None:
        context.note(f"A training cloud is left out: {error}")

    return note


def _features_of(
    data: PointDataset, model: PointCLIP, settings: PointCLIPSettings, on_error: Callable[[str, Exception], None]
) -> tuple[Tensor, list[int | None]]:
    rows: list[Tensor] = []
    labels: list[int | None] = []
    with torch.no_grad():
        for batch in data.batches(settings.batch_size, settings.points, on_error=on_error, up_axis=settings.up_axis):
            rows.append(model.features(batch.points))
            labels += batch.labels
    if not rows:
        raise DataError(f"no cloud of {data.name}, split {data.split}, could be read")
    return torch.cat(rows), labels


def _labelled(features: Tensor, labels: list[int | None], data: PointDataset) -> tuple[Tensor, Tensor]:
    if any(label is None for label in labels):
        raise DataError(
            f"{data.name} has no labels", expected="labelled clouds, or weights=agreement, which needs none"
        )
    return features, torch.tensor(labels, device=features.device)


def _record(
    context: Context,
    keys: tuple[str, ...],
    labels: tuple[int | None, ...],
    scores: dict[str, Tensor],
    classnames: tuple[str, ...],
) -> None:
    best = scores[""].topk(min(5, len(classnames)), dim=-1)
    probabilities, ranked = best.values.tolist(), best.indices.tolist()
    others = {name: value.argmax(-1).tolist() for name, value in scores.items() if name}
    for row, key in enumerate(keys):
        label = labels[row]
        context.record(
            key,
            label=label,
            ranked=ranked[row],
            predicted=classnames[ranked[row][0]],
            true=None if label is None else classnames[label],
            probability=round(probabilities[row][0], 4),
            **{f"predicted_{name}": value[row] for name, value in others.items()},
        )


def _answers(items: Mapping[str, Mapping[str, Any]]) -> list[str]:
    first = next(iter(items.values()))
    return [key for key in first if key.startswith("predicted_")]


def _evaluate(
    items: Mapping[str, Mapping[str, Any]], classnames: tuple[str, ...], answers: list[str]
) -> tuple[dict[str, float], list[Table]]:
    rows = [
        {"cloud": key, "true": item["true"] or "", "predicted": item["predicted"], "probability": item["probability"]}
        for key, item in sorted(items.items())
    ]
    predictions = Table("predictions", rows, "Predictions")
    labelled = [item for _, item in sorted(items.items()) if item["label"] is not None]
    if not labelled:
        return {"clouds": len(items)}, [predictions]
    labels, ranked = [item["label"] for item in labelled], [item["ranked"] for item in labelled]
    counts = confusion_matrix([row[0] for row in ranked], labels, len(classnames))
    recall = class_recall(counts)
    present = [k for k in range(len(classnames)) if counts[k].sum()]
    metrics = {"top1": top_k_accuracy(ranked, labels, 1)}
    for answer in answers:
        metrics[answer.replace("predicted", "top1")] = top_k_accuracy([[item[answer]] for item in labelled], labels, 1)
    if len(classnames) > 5:
        metrics["top5"] = top_k_accuracy(ranked, labels, 5)
    metrics["mean_class_accuracy"] = float(recall[present].mean())
    metrics["clouds"] = len(labelled)
    by_class = [
        {
            "class": classnames[k],
            "clouds": int(counts[k].sum()),
            "accuracy": round(float(recall[k]), 4),
            "most often taken for": _confused_with(counts[k], k, classnames),
        }
        for k in present
    ]
    shown = [k for k in range(len(classnames)) if counts[k].sum() or counts[:, k].sum()]
    confusion = [{"": classnames[k], **{classnames[j]: int(counts[k, j]) for j in shown}} for k in shown]
    return metrics, [
        Table("classes", by_class, "By class"),
        Table("confusion", confusion, "Confusion", "confusion"),
        predictions,
    ]


def _confused_with(row: Any, own: int, classnames: tuple[str, ...]) -> str:
    others = row.copy()
    others[own] = 0
    return f"{classnames[others.argmax()]} ({others.max()})" if others.max() else ""


def _sheet(
    settings: PointCLIPSettings, context: Context, data: PointDataset, model: PointCLIP, classnames: tuple[str, ...]
) -> None:
    """The views of the first cloud of each class, as the encoder saw them."""
    done = context.items()
    chosen: dict[str, int] = {}
    for place, key in enumerate(data.keys):
        label = data.label(place)
        name = key if label is None else classnames[label]
        if "error" not in done.get(key, {"error": ""}) and (label is not None or len(chosen) < 12):
            chosen.setdefault(name, place)
    subset = data.subset(list(chosen.values()))
    # A file may have gone since it was classified: the picture does without it.
    batches = list(subset.batches(64, settings.points, on_error=lambda key, error: None, up_axis=settings.up_axis))
    if not batches:
        return
    clouds, keys = torch.cat([batch.points for batch in batches]), {key for batch in batches for key in batch.keys}
    names = [name for name, place in chosen.items() if data.keys[place] in keys]
    images = model.depth_images(clouds.to(context.device))
    # Raw depth has no upper bound: it is shown with the nearest point white.
    peak = images.amax((-2, -1), keepdim=True)
    shown = torch.where(peak > 1, images / peak, images).cpu()
    context.save_image("views", contact_sheet(shown, names, list(model.view_names)), "What the encoder sees")


def _protocol(
    settings: PointCLIPSettings, context: Context, data: PointDataset, model: PointCLIP, selection: str
) -> dict[str, Any]:
    templates = settings.templates or [
        "point cloud of a big {}." if settings.adapter else "point cloud depth map of a {}."
    ]
    protocol = {
        "encoder": f"{context.clip.name} ({context.clip.fingerprint})",
        "data": f"{data.name}, split {data.split}, {len(data)} clouds, {len(data.classnames)} classes",
        "points": f"{'the first' if data.ordered else 'a random'} {settings.points} of each cloud, centred on the mean "
        "of all its points and divided by the largest norm",
        "up axis": f"{data.up_axis}: {data.up_axis_reason}" if settings.up_axis == "auto" else settings.up_axis,
        "projection": f"{settings.mode}: {', '.join(model.view_names)}",
        "pixels": "depth in three equal channels, not normalised with the encoder's mean and deviation, as published",
        "prompts": " | ".join(templates),
        "view weights": ", ".join(f"{value:.3g}" for value in model.view_weights.tolist()),
        "selection": selection,
    }
    if context.clip.known_tokens is not None:
        protocol["note"] = (
            f"{context.clip.name} learned its categories from procedural shapes: this is another task than that of "
            "the published numbers, whose encoder never saw a depth map"
        )
    if data.remark:
        protocol["data remark"] = data.remark
    return protocol
