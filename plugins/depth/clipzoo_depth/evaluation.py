"""DepthCLIP on a dataset: depth of every image, metrics, files and pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from clipzoo import Context, Result, Table
from clipzoo.errors import ClipzooError, ConfigError, DataError
from clipzoo.metrics.depth import DEPTH_METRICS
from clipzoo_depth.bins import BINS, PROMPTS, SCENE_BINS
from clipzoo_depth.datasets import DepthDataset, DepthItem, View
from clipzoo_depth.depth_files import depth_npy, depth_png, write_whole
from clipzoo_depth.depthclip import DepthCLIP, enlarge, fit_cells
from clipzoo_depth.learning import LearningRecipe, gather_shots, learn_depth
from clipzoo_depth.pictures import Shown, bins_picture, depth_picture, depth_range, depth_sheet
from clipzoo_depth.plugin import DepthCLIPSettings
from clipzoo_depth.point_cloud import intrinsics_of_view, point_cloud_ply
from clipzoo_depth.protocols import Protocol, find_protocol, pasted
from clipzoo_depth.run import open_images

_PHOTO_SIDE = 416
_PICTURES = 8
_READERS = 4
_BEFORE = {"delta1": "a1", "delta2": "a2", "delta3": "a3", "AbsRel": "abs_rel", "log10": "log10", "RMSE (m)": "rmse"}
PUBLISHED: dict[str, tuple[float, ...]] = {
    "published: DepthCLIP, RN50": (0.394, 0.683, 0.851, 0.388, 0.156, 1.167),
    "published: lower bound": (0.140, 0.297, 0.471, 1.327, 0.323, 2.934),
}
"""delta1, delta2, delta3, AbsRel, log10, RMSE on NYU Depth v2 (Zhang et al. 2022, table 1)."""


@dataclass(frozen=True, eq=False)
class _Frame:
    """An image in the frame of the protocol, and the part of it that the encoder sees."""

    item: DepthItem
    view: View
    inside: tuple[int, int, int, int]

    @cached_property
    def pixels(self) -> Tensor:
        """[3, height, width] in [0, 1], the part that the encoder sees."""
        left, top, right, bottom = self.inside
        # A copy: what a reader gives may be read-only.
        part = self.view.image[top:bottom, left:right].copy()
        return torch.from_numpy(part).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class _Answers:
    """The methods of a run by name, the main one first; those of one projection share the features."""

    methods: Mapping[str, DepthCLIP]
    short_side: int
    """Of the images for the encoder, px; 0: as they are."""
    largest: int
    """Longest that the short side may be, px; 0: as it is."""

    @property
    def main(self) -> str:
        """Whose depth is written and shown."""
        return next(iter(self.methods))

    def seen(self, pixels: Tensor) -> Tensor:
        """The images as the encoder takes them."""
        short = min(pixels.shape[-2:])
        wanted = self.short_side or (min(short, self.largest) if self.largest else short)
        if short == wanted:
            return pixels
        factor = wanted / short
        size = [max(1, round(side * factor)) for side in pixels.shape[-2:]]
        return interpolate(pixels, size=size, mode="bilinear", antialias=True).clamp(0, 1)

    def predict(self, pixels: Tensor, scenes: Sequence[str | None]) -> tuple[dict[str, Tensor], Tensor]:
        """Depth [batch, height, width] by every method, and the winning bins of the main one."""
        seen, size = self.seen(pixels), (pixels.shape[-2], pixels.shape[-1])
        features: dict[str, Tensor] = {}
        found: dict[str, Tensor] = {}
        winners = torch.zeros(0)
        for name, method in self.methods.items():
            if method.projection not in features:
                features[method.projection] = method.features_both(seen)
            logits = torch.stack([method.logits_of(part) for part in features[method.projection]])
            found[name] = enlarge(method.depth_of(logits, scenes), size)[:, 0].cpu()
            if name == self.main:
                votes = logits.softmax(2).mean(0)
                winners = interpolate(votes, size=size, mode="bilinear", align_corners=True).argmax(1).cpu()
        return found, winners


@torch.no_grad()
def evaluate(settings: DepthCLIPSettings, context: Context, data: DepthDataset) -> Result:
    """Depth of ``data``, and metrics where its depth is known."""
    protocol = find_protocol(data.protocol if settings.protocol == "auto" else settings.protocol)
    _warn(settings, context, data)
    answers, selection = _answers(settings, context, data, protocol)
    waiting = [item for item in data.items if item.key not in context.items()]
    chosen = [item.key for item in data.items[: settings.files]] if settings.files >= 0 else [i.key for i in data.items]
    started, done = time.perf_counter(), 0
    total = -(-len(waiting) // settings.batch_size)
    for frames in context.progress(_frames(waiting, settings, context, protocol), total=total, label="depthclip"):
        for group in _alike(frames):
            pixels, scenes = torch.stack([frame.pixels for frame in group]), [frame.item.scene for frame in group]
            try:
                found, winners = answers.predict(pixels, scenes)
            except DataError as error:  # of their size, which they share
                for frame in group:
                    context.failed(frame.item.key, error)
                continue
            metrics = _measured(found, group, protocol)
            for place, frame in enumerate(group):
                own = {name: depth[place].numpy() for name, depth in found.items()}
                if frame.item.key in chosen:
                    _write_files(settings, context, frame, own[answers.main], winners[place].numpy(), answers)
                _record(context, frame, own, metrics, place)
            done += len(group)
    seconds = time.perf_counter() - started
    items = {key: item for key, item in context.items().items() if "error" not in item}
    if not items:
        return Result()
    rows = _pictures(settings, context, data, protocol, answers)
    constant = _best_constant(data, items, protocol) if data.labelled else None
    metrics, tables = _summary(data, items, answers, constant)
    metrics["images"] = len(items)
    if done:
        metrics["images_per_second"] = done / seconds
    tables += _bin_tables(answers, rows)
    return Result(metrics, tables, _protocol(settings, context, data, protocol, answers, selection))


def _warn(settings: DepthCLIPSettings, context: Context, data: DepthDataset) -> None:
    clip = context.clip
    unknown = clip.unknown_words(settings.template.format(" ".join(_words(settings))))
    if unknown:
        context.note(
            f"{clip.name} has never met: {', '.join(dict.fromkeys(unknown))}. Its depth from these words means "
            "nothing; learned bins and prompts (learn=bins,prompts) do not need them. Or name a real encoder, for "
            "example model=RN50/openai."
        )
    if clip.name.endswith("/random"):
        context.note(f"{clip.name} is untrained: the run shows format and speed, and its numbers mean nothing.")
    if settings.scene_bins and not any(item.scene in SCENE_BINS for item in data.items):
        context.note(f"scene_bins changes nothing: no image is known to be a {' or a '.join(SCENE_BINS)}.")
    if clip.known_tokens is not None and data.name != "rooms":
        context.note(
            f"{clip.name} has seen procedural images only: name a real encoder, for example model=RN50/openai."
        )


def _words(settings: DepthCLIPSettings) -> tuple[str, ...]:
    one = settings.prompts[0] if len(settings.prompts) == 1 else None
    return PROMPTS.get(one or "", tuple(settings.prompts))


def _bins(settings: DepthCLIPSettings) -> str | list[float]:
    if len(settings.bins) == 1 and settings.bins[0] in BINS:
        return settings.bins[0]
    try:
        return [float(depth) for depth in settings.bins]
    except ValueError as error:
        raise ConfigError(
            f"bins={','.join(settings.bins)}", expected=f"depths in m, or one of {', '.join(BINS)}", hint="bins=1,2,3"
        ) from error


def _method(settings: DepthCLIPSettings, context: Context, projection: str | None) -> DepthCLIP:
    if "{}" not in settings.template:
        raise ConfigError(f'template="{settings.template}"', expected="a sentence with {} for the phrase")
    known = len(settings.prompts) == 1 and (settings.prompts[0] in PROMPTS)
    prompts: Any = settings.prompts[0] if known else settings.prompts
    return DepthCLIP(
        context.clip,
        _bins(settings),
        prompts,
        projection,
        templates=[settings.template],
        temperature=settings.temperature,
        flip=settings.flip,
        preprocessing=settings.preprocessing,
        scene_bins=SCENE_BINS if settings.scene_bins else None,
        windows={"auto": None, "yes": True, "no": False}[settings.windows],
    )


def _answers(
    settings: DepthCLIPSettings, context: Context, data: DepthDataset, protocol: Protocol
) -> tuple[_Answers, str]:
    """The methods that the settings ask for, the main one first, and how they were chosen."""
    projection = None if settings.projection == "auto" else settings.projection
    method = _method(settings, context, projection)
    sizes = (settings.short_side, _PHOTO_SIDE if data.photos and protocol.frame is None else 0)
    plain = {f"zero-shot, {method.projection}": method}
    if settings.compare:
        other = "attnpool" if method.projection == "even_channels" else "even_channels"
        plain[f"zero-shot, {other}"] = _method(settings, context, other)
    if not settings.learn:
        return _Answers(plain, *sizes), "nothing was learned"
    if data.labelled and settings.split == "train":
        raise ConfigError("learn was given with split=train", expected="another split: the shots are drawn from train")
    pairs = _training_pairs(settings, context, protocol, _Answers(plain, *sizes))
    learned: dict[str, DepthCLIP] = {}
    sets = [tuple(settings.learn)] if tuple(settings.learn) == ("bins",) else [tuple(settings.learn), ("bins",)]
    for start in plain.values():
        shots = gather_shots(start, *pairs)
        for parts in sets:
            fitted = learn_depth(start, shots, parts, LearningRecipe(steps=settings.steps))
            learned[f"learned {' and '.join(parts)}, {start.projection}"] = fitted.method
    ordered = {**learned, **plain}
    context.note(f"{len(pairs[0])} training images; the depth shown is that of: {next(iter(ordered))}.")
    told = (
        f"{', '.join(settings.learn)} learned from {len(pairs[0])} images of the training split, {settings.steps} steps"
    )
    return _Answers(ordered, *sizes), told


def _training_pairs(
    settings: DepthCLIPSettings, context: Context, protocol: Protocol, answers: _Answers
) -> tuple[list[Tensor], list[Tensor]]:
    """Images as the encoder takes them, and depth of the same size."""
    train = open_images(settings, context, "train", rooms=settings.shots, limit=0)
    generator = context.generator("shots")
    order = torch.randperm(len(train), generator=generator).tolist()
    images, depths = [], []
    for place in order:
        if len(images) == settings.shots:
            break
        item = train.items[place]
        try:
            frame = _framed(item, item.read(), protocol)
        except ClipzooError as error:
            context.note(f"A training image is left out: {error}")
            continue
        if frame.view.depth is None:
            continue
        left, top, right, bottom = frame.inside
        depth = torch.from_numpy(frame.view.depth[top:bottom, left:right].copy())
        depth = torch.where((depth > protocol.minimum_m) & (depth < protocol.maximum_m), depth, 0.0)
        seen = answers.seen(frame.pixels[None])[0]
        images.append(seen)
        depths.append(interpolate(depth[None, None], size=seen.shape[-2:], mode="nearest-exact")[0, 0])
    if not images:
        raise DataError(f"the training split of {train.name} has no image with depth", hint="learn=[]")
    return images, depths


def _frames(
    items: Sequence[DepthItem], settings: DepthCLIPSettings, context: Context, protocol: Protocol
) -> Iterator[list[_Frame]]:
    """Batches of images that could be read; those that could not are noted."""
    with ThreadPoolExecutor(_READERS) as pool:
        batches = [items[k : k + settings.batch_size] for k in range(0, len(items), settings.batch_size)]
        # The files of the next batch are read while the encoder works on this one.
        waiting = [pool.submit(_read, item, protocol) for item in batches[0]] if batches else []
        for number, batch in enumerate(batches):
            coming = batches[number + 1] if number + 1 < len(batches) else []
            later = [pool.submit(_read, item, protocol) for item in coming]
            frames = []
            for item, future in zip(batch, waiting, strict=True):
                found = future.result()
                if isinstance(found, ClipzooError):
                    context.failed(item.key, found)
                else:
                    frames.append(found)
            waiting = later
            yield frames


def _read(item: DepthItem, protocol: Protocol) -> _Frame | ClipzooError:
    try:
        return _framed(item, item.read(), protocol)
    except ClipzooError as error:
        return error


def _framed(item: DepthItem, view: View, protocol: Protocol) -> _Frame:
    """An image in the frame of the protocol, resized if it has another size (depth without mixing)."""
    height, width = view.image.shape[:2]
    if protocol.frame is None:
        return _Frame(item, view, (0, 0, width, height))
    if (height, width) != protocol.frame:
        tall, wide = protocol.frame
        image = np.asarray(Image.fromarray(view.image).resize((wide, tall), Image.Resampling.BILINEAR))
        depth = view.depth
        if depth is not None:
            depth = np.asarray(Image.fromarray(depth).resize((wide, tall), Image.Resampling.NEAREST))
        view = View(image, depth, _scaled(view.intrinsics, wide / width, tall / height))
    return _Frame(item, view, protocol.inside or (0, 0, protocol.frame[1], protocol.frame[0]))


def _scaled(intrinsics: tuple[float, float, float, float] | None, across: float, down: float) -> Any:
    if intrinsics is None:
        return None
    fx, fy, cx, cy = intrinsics
    return fx * across, fy * down, (cx + 0.5) * across - 0.5, (cy + 0.5) * down - 0.5


def _alike(frames: Sequence[_Frame]) -> list[list[_Frame]]:
    """Images of one size together; a batch of photos of many sizes becomes several."""
    groups: dict[tuple[int, ...], list[_Frame]] = {}
    for frame in frames:
        left, top, right, bottom = frame.inside
        groups.setdefault((bottom - top, right - left, *frame.view.image.shape), []).append(frame)
    return list(groups.values())


def _measured(found: Mapping[str, Tensor], group: Sequence[_Frame], protocol: Protocol) -> dict[str, np.ndarray]:
    """The seven metrics of every image that has depth; NaN for the others."""
    rows = {name: np.full((len(group), len(DEPTH_METRICS)), np.nan) for name in found}
    places = [place for place, frame in enumerate(group) if frame.view.depth is not None]
    if places:
        target = torch.stack([torch.from_numpy(np.array(group[place].view.depth)) for place in places])
        for name, depth in found.items():
            score = protocol.score()
            score.update(pasted(depth[places], protocol), target)
            rows[name][places] = score.per_image()
    return rows


def _record(
    context: Context, frame: _Frame, own: Mapping[str, np.ndarray], metrics: Mapping[str, np.ndarray], place: int
) -> None:
    fields: dict[str, Any] = {}
    if frame.item.scene:
        fields["scene"] = frame.item.scene
    main = next(iter(own))
    low, middle, high = (float(value) for value in np.percentile(own[main], [2, 50, 98]))
    fields |= {"near_m": round(low, 3), "median_m": round(middle, 3), "far_m": round(high, 3)}
    if frame.view.depth is not None:
        if np.isnan(metrics[main][place]).all():
            context.failed(frame.item.key, DataError("no pixel that the protocol counts has known depth"))
            return
        fields["metrics"] = {
            name: dict(zip(DEPTH_METRICS, rows[place].tolist(), strict=True)) for name, rows in metrics.items()
        }
    context.record(frame.item.key, **fields)


def _summary(
    data: DepthDataset, items: Mapping[str, Mapping[str, Any]], answers: _Answers, constant: dict[str, float] | None
) -> tuple[dict[str, float], list[Table]]:
    # All rows share their columns, also where only some images have depth.
    unmeasured = dict.fromkeys(_BEFORE, "") if any("metrics" in item for item in items.values()) else {}
    listed = Table(
        "images",
        [
            {
                "image": key,
                "scene": item.get("scene", ""),
                **{
                    f"{part} (m)": item[name]
                    for part, name in (("near", "near_m"), ("median", "median_m"), ("far", "far_m"))
                },
                **(_shares(item["metrics"][answers.main]) if "metrics" in item else unmeasured),
            }
            for key, item in sorted(items.items())
        ],
        "By image: 2nd, 50th and 98th percentile of the depth"
        + (f", metrics of: {answers.main}" if any("metrics" in item for item in items.values()) else ""),
    )
    measured = [item["metrics"] for _, item in sorted(items.items()) if "metrics" in item]
    if not measured:
        return {"median_depth_m": float(np.median([item["median_m"] for item in items.values()]))}, [listed]
    means = {
        name: {metric: float(np.mean([item[name][metric] for item in measured])) for metric in DEPTH_METRICS}
        for name in answers.methods
        if all(name in item for item in measured)
    }
    main = means[answers.main]
    metrics = {"delta1": main["a1"], "delta2": main["a2"], "delta3": main["a3"], "abs_rel": main["abs_rel"]}
    metrics |= {"log10": main["log10"], "rmse_m": main["rmse"], "abs_diff_m": main["abs_diff"]}
    zero_shot = next((name for name in means if name.startswith("zero-shot")), None)
    if zero_shot is not None and zero_shot != answers.main:
        metrics["delta1_zero_shot"] = means[zero_shot]["a1"]
    rows = [{"method": name, **_shares(row)} for name, row in means.items()]
    if constant is not None:
        metrics["delta1_constant"] = constant["a1"]
        rows.append(
            {"method": f"best constant, {constant['depth']:.2f} m, chosen on these images", **_shares(constant)}
        )
    if data.name == "nyuv2":
        rows += [{"method": name, **dict(zip(_BEFORE, row, strict=True))} for name, row in PUBLISHED.items()]
    return metrics, [Table("methods", rows, "By method, in the layout of the published table"), listed]


def _shares(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(metrics[key]), 4) for name, key in _BEFORE.items()}


def _best_constant(data: DepthDataset, items: Mapping[str, Any], protocol: Protocol) -> dict[str, float] | None:
    """The one depth for all pixels that has the best delta1 on these very images: what any method must beat."""
    grid = np.geomspace(0.2, 0.9 * protocol.maximum_m, 240)
    share, targets = np.zeros(len(grid)), []
    for item in data.items:
        if "metrics" not in items.get(item.key, {}):
            continue
        frame = _read(item, protocol)
        if isinstance(frame, ClipzooError) or frame.view.depth is None:
            continue
        target = torch.from_numpy(np.array(frame.view.depth))[None]
        # The crop as the score applies it: the pixels of which a perfect prediction is counted.
        known = np.sort(_counted(target[0].numpy(), protocol))
        if len(known):
            low, high = (np.searchsorted(known, grid * factor) for factor in (1 / 1.25, 1.25))
            share += (high - low) / len(known)
            targets.append(item)
    if not targets:
        return None
    best = float(grid[share.argmax()])
    score = protocol.score()
    for item in targets:
        frame = _read(item, protocol)
        if isinstance(frame, ClipzooError) or frame.view.depth is None:
            continue
        left, top, right, bottom = frame.inside
        flat = torch.full((1, bottom - top, right - left), best)
        score.update(pasted(flat, protocol), torch.from_numpy(np.array(frame.view.depth))[None])
    return {**score.compute(), "depth": best}


def _counted(target: np.ndarray, protocol: Protocol) -> np.ndarray:
    from clipzoo.metrics.depth import crop_mask

    mask = crop_mask(target.shape[0], target.shape[1], protocol.crop).numpy()
    if protocol.inside is not None:
        left, top, right, bottom = protocol.inside
        seen = np.zeros_like(mask)
        seen[top:bottom, left:right] = True
        mask = mask & seen
    return target[mask & (target > protocol.minimum_m) & (target < protocol.maximum_m)]


def _file_name(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", key.replace("/", "-")).strip(".") or "image"


def _write_files(
    settings: DepthCLIPSettings,
    context: Context,
    frame: _Frame,
    depth: np.ndarray,
    winners: np.ndarray,
    answers: _Answers,
) -> None:
    """Depth as numbers, pictures and points, in the folder ``depth`` of the run."""
    left, top, right, bottom = frame.inside
    image = frame.view.image[top:bottom, left:right]
    intrinsics = frame.view.intrinsics
    if intrinsics is None:
        intrinsics = intrinsics_of_view(frame.view.image.shape[0], frame.view.image.shape[1], settings.fov_deg)
    intrinsics = (intrinsics[0], intrinsics[1], intrinsics[2] - left, intrinsics[3] - top)
    folder, name = context.folder / "depth", _file_name(frame.item.key)
    write_whole(folder / f"{name}.depth.png", depth_png(depth))
    write_whole(folder / f"{name}.depth.npy", depth_npy(depth))
    write_whole(folder / f"{name}.ply", point_cloud_ply(depth, image, intrinsics))
    for suffix, picture in (
        ("colour", depth_picture(depth, *depth_range([depth]))),
        ("bins", bins_picture(winners, _labels(answers.methods[answers.main]))),
    ):
        write_whole(folder / f"{name}.{suffix}.png", _png(picture))


def _png(picture: Image.Image) -> bytes:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _labels(method: DepthCLIP) -> list[str]:
    return [f"{word} {depth:.2f} m" for word, depth in zip(method.words, method.bins.tolist(), strict=True)]


def _pictures(
    settings: DepthCLIPSettings, context: Context, data: DepthDataset, protocol: Protocol, answers: _Answers
) -> list[Shown]:
    """The sheet: a few images spread over the data, predicted once more, so that a resumed run has it too."""
    done = [item for item in data.items if "error" not in context.items().get(item.key, {"error": ""})]
    step = max(1, len(done) / _PICTURES)
    chosen = [done[int(place * step)] for place in range(min(_PICTURES, len(done)))]
    rows = []
    for item in chosen:
        frame = _read(item, protocol)
        if isinstance(frame, ClipzooError):  # a file may have gone since
            continue
        left, top, right, bottom = frame.inside
        found, winners = answers.predict(frame.pixels[None], [item.scene])
        target = None if frame.view.depth is None else frame.view.depth[top:bottom, left:right]
        told = context.items()[item.key].get("metrics", {}).get(answers.main)
        rows.append(
            Shown(
                item.key,
                frame.view.image[top:bottom, left:right],
                found[answers.main][0].numpy(),
                winners[0].numpy(),
                target,
                f"delta1 {told['a1']:.3f}   AbsRel {told['abs_rel']:.3f}   RMSE {told['rmse']:.2f} m" if told else "",
            )
        )
    if rows:
        sheet = depth_sheet(rows, _labels(answers.methods[answers.main]))
        caption = f"Depth by {answers.main}" + (", with the truth and the error" if data.labelled else "")
        context.save_bytes("sheet.png", _png(sheet), caption)
    if settings.files:
        context.note(
            "Depth of each image as 16-bit PNG (mm), npy (m), colours, bins and .ply lies in the folder depth."
        )
    return rows


def _bin_tables(answers: _Answers, rows: Sequence[Shown]) -> list[Table]:
    """Depths of the bins of every method, and how much of the images shown each bin of the main one won."""
    listed = []
    won = np.concatenate([row.winners.ravel() for row in rows]) if rows else np.zeros(0, int)
    for place, word in enumerate(answers.methods[answers.main].words):
        entry: dict[str, Any] = {"word": word}
        for name, method in answers.methods.items():
            entry[f"{name} (m)"] = round(float(method.bins[place]), 3)
        if len(won):
            entry["share of the pixels shown"] = round(float((won == place).mean()), 4)
        listed.append(entry)
    return [Table("bins", listed, "Depths that the words stand for, and where they won")]


def _protocol(
    settings: DepthCLIPSettings,
    context: Context,
    data: DepthDataset,
    protocol: Protocol,
    answers: _Answers,
    selection: str,
) -> dict[str, Any]:
    method = answers.methods[answers.main]
    first = next(item for item in data.items if "error" not in context.items().get(item.key, {"error": ""}))
    told = {
        "encoder": f"{context.clip.name} ({context.clip.fingerprint})",
        "data": f"{data.name}, split {data.split}, {len(data)} images",
        "metrics": f"{protocol.name}: {protocol.told}",
        "projection": _projection_told(method.projection)
        + ("; windows of the encoder's size" if method.windows else ""),
        "pixels": f"mean and deviation of {'ImageNet' if settings.preprocessing == 'imagenet' else 'the encoder'}",
        "prompts": " | ".join(settings.template.format(word) for word in method.words),
        "bins": ", ".join(f"{depth:.3g}" for depth in method.bins.tolist()) + " m",
        "temperature": f"{method.temperature:.3g}",
        "flip": "averaged with the mirror image before enlarging" if settings.flip else "no",
        "selection": selection,
    }
    if settings.scene_bins:
        told["scene bins"] = "; ".join(f"{scene}: {', '.join(map(str, bins))}" for scene, bins in SCENE_BINS.items())
    frame = _read(first, protocol)
    if isinstance(frame, _Frame):
        seen = answers.seen(frame.pixels[None])
        size = tuple(fit_cells(seen, context.clip).shape[-2:])
        told["size for the encoder"] = f"{size[0]} x {size[1]} px (first image)"
        if protocol.frame is not None and first.read().image.shape[:2] != protocol.frame:
            told["frame"] = f"images of another size were resized to {protocol.frame[0]} x {protocol.frame[1]} px"
        if frame.view.intrinsics is None and settings.files:
            told["intrinsics"] = f"unknown: {settings.fov_deg:g} degrees across were taken for the point clouds"
    if data.remark:
        told["data remark"] = data.remark
    return told


def _projection_told(projection: str) -> str:
    if projection == "attnpool":
        return "attnpool: attention pooling with every place as a query, as in the paper"
    if projection == "even_channels":
        return "even_channels: thinned channels of layer4, as in the released code; not the space of the sentences"
    return f"{projection}: dense reading of a ViT, not in the paper"
