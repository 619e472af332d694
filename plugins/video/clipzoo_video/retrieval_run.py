"""``clipzoo run clip4clip --data NAME``: encode frames once, train what is asked for, measure retrieval both ways."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clipzoo import Context, Result
from clipzoo.errors import ClipzooError, DataError, WeightsError
from clipzoo.paths import cache_dir
from clipzoo.plugin import Table
from clipzoo_video.clip4clip import CLIP4Clip, EncodedVideos, sentence_features
from clipzoo_video.datasets import VideoDataset, VideoItem
from clipzoo_video.encoding import EncodedItems, FrameCache, encode_items, read_item
from clipzoo_video.evaluation import order_accuracy, paper_rows, similarity_in_blocks
from clipzoo_video.plugin import CLIP4ClipSettings
from clipzoo_video.published import load_clip4clip, save_head
from clipzoo_video.training import Pairs, TrainingLog, TrainingRecipe, train_head

if TYPE_CHECKING:
    from clipzoo.data.toy_clips import ToyClip

_HELD_OUT = 0.1
_TOY = "clips"


@dataclass(frozen=True)
class _Part:
    """Videos that could be read, their features, and their sentences."""

    data: VideoDataset
    videos: EncodedVideos

    @property
    def pairs(self) -> Pairs:
        together = [row // 2 for row in self.data.owner] if self.data.name == _TOY else None
        return Pairs(self.data.sentences, self.data.owner, len(self.data), together)


def retrieve(settings: CLIP4ClipSettings, context: Context) -> Result:
    """Evaluate each head on the split, after training it where that is asked for."""
    data = open_part(settings, context, settings.split, settings.pairs)
    started = time.perf_counter()
    part, failed = encode_part(settings, context, data, measured=True)
    seconds = time.perf_counter() - started
    training = _training_parts(settings, context) if settings.train != "none" else None
    rows: list[dict[str, Any]] = []
    meaning: list[dict[str, Any]] = []
    chosen: list[str] = []
    scores: dict[str, Tensor] = {}
    for head in _heads(settings):
        model, told, videos = _model(settings, context, head, training, part)
        chosen.append(f"{model.head_name}: {told}")
        text = sentence_features(model.clip, part.data.sentences, max_words=settings.max_words)
        scores[model.head_name] = similarity_in_blocks(model, text, videos.to(model.clip.device))
        rows += paper_rows(model.head_name, scores[model.head_name], part.data.owner)
        if part.data.name == _TOY:
            meaning.append(_meaning(model, videos, part.data, settings))
    metrics = _headline(rows, meaning)
    metrics |= {"videos": len(part.data), "sentences": len(part.data.sentences), "failed": failed}
    metrics["videos_per_second"] = len(part.data) / seconds
    last = next(reversed(scores))
    _record(context, part.data, scores[last])
    _picture(settings, context, part.data, scores[last], last)
    tables = [Table("retrieval", rows, "Retrieval (R@k in %); * needs all queries at once")]
    if meaning:
        tables.insert(
            0, Table("meaning", meaning, "Toy clips: share of clips whose own caption beats the other one (%)")
        )
        tables.append(Table("actions", _by_action(settings, part.data, scores), "Right order by action (%)"))
    return Result(metrics, tables, _protocol(settings, context, data, chosen))


def open_part(settings: CLIP4ClipSettings, context: Context, split: str, pairs: int) -> VideoDataset:
    """A part of the dataset, with what is missing told, and refused where it is too much."""
    data: VideoDataset = context.dataset("videos", split=split, count=pairs, frames=min(settings.frames, 8))
    for note in data.notes:
        context.note(f"{data.name}, {split}: {note}.")
    share = len(data.missing) / (len(data) + len(data.missing))
    if share > settings.max_failed:
        raise DataError(
            f"{len(data.missing)} of {len(data) + len(data.missing)} videos of {data.name} have no file ({share:.0%})",
            expected=f"at most {settings.max_failed:.0%}: numbers on a part are not those of the dataset",
            details=list(data.notes),
            hint=f"max_failed={min(1.0, np.ceil(share * 100) / 100):g} goes on with what is there",
        )
    if settings.limit and settings.limit < len(data):
        step = len(data) / settings.limit
        data = data.chosen([int(place * step) for place in range(settings.limit)])
    return data


def encode_part(
    settings: CLIP4ClipSettings, context: Context, data: VideoDataset, *, measured: bool
) -> tuple[_Part, int]:
    """Features of the frames of a part, from the cache where they are there.

    Raises:
        DataError: if more videos cannot be read than ``max_failed`` allows.
    """
    broken: dict[str, str] = {}

    def failed(item: VideoItem, error: Exception) -> None:
        broken[item.key] = error.what if isinstance(error, ClipzooError) else str(error)
        if measured:
            context.failed(item.key, error)

    encoded = encode_items(
        context.clip,
        data.items,
        settings.frames,
        settings.sampling,
        cache=FrameCache(cache_dir() / "video-frames"),
        failed=failed,
        batch_size=max(settings.batch_size, 1),
        progress=lambda rows: context.progress(rows, total=len(data), label=f"encode {data.split}"),
    )
    share = len(broken) / len(data)
    listed = [f"{key}: {reason}" for key, reason in list(broken.items())[:8]]
    if share > settings.max_failed:
        raise DataError(
            f"{len(broken)} of {len(data)} videos of {data.name} cannot be read ({share:.0%})",
            expected=f"at most {settings.max_failed:.0%} (max_failed)",
            details=listed,
        )
    if broken:
        context.note(f"{len(broken)} of {len(data)} videos are left out: {'; '.join(listed)}")
    return _Part(data.chosen(encoded.rows), encoded.videos), len(broken)


def _heads(settings: CLIP4ClipSettings) -> list[str]:
    return ["weights"] if settings.weights else list(dict.fromkeys(settings.heads))


def _training_parts(settings: CLIP4ClipSettings, context: Context) -> tuple[_Part, _Part]:
    """What is trained on, and what the best epoch is chosen on: never the split that is measured."""
    if settings.train_split == settings.split or settings.val_split == settings.split:
        raise DataError(
            f"the split {settings.split} is measured, and cannot also be trained or selected on",
            expected="train_split and val_split apart from split",
        )
    data = open_part(settings, context, settings.train_split, settings.train_pairs)
    train, _ = encode_part(settings, context, data, measured=False)
    if settings.val_split:
        data = open_part(settings, context, settings.val_split, settings.pairs)
        return train, encode_part(settings, context, data, measured=False)[0]
    count = len(train.data)
    # Pairs of toy clips stay together.
    held = max(2, int(count * _HELD_OUT) // 2 * 2)
    if count - held < 2:
        raise DataError(f"{count} training videos", expected="at least 4: some are held out to choose the epoch on")
    if train.data.name == _TOY:
        order = list(range(count))
    else:
        order = torch.randperm(count, generator=context.generator("held out")).tolist()
    return _of(train, order[:-held]), _of(train, order[-held:])


def _of(part: _Part, rows: Sequence[int]) -> _Part:
    return _Part(part.data.chosen(rows), part.videos.chosen(list(rows)))


def _model(
    settings: CLIP4ClipSettings,
    context: Context,
    head: str,
    training: tuple[_Part, _Part] | None,
    part: _Part,
) -> tuple[CLIP4Clip, str, EncodedVideos]:
    """A model, how it came about, and the features of the measured videos as its own encoder gives them."""
    if settings.weights:
        model = load_clip4clip(settings.weights, clip=context.clip, device=context.device, precision=settings.precision)
        return model, f"from {settings.weights}", _encoded_by(settings, context, model, part)
    torch_seed = int(context.generator(head).initial_seed())
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed)
        model = CLIP4Clip(
            context.clip,
            head,  # type: ignore[arg-type]
            layers=settings.layers,
            max_frames=max(76, settings.frames),
            position_scale=settings.position_scale,
        ).eval()
    if training is None or (head == "meanP" and settings.train == "head"):
        if head != "meanP":
            context.note(f"{head} is not trained: its numbers are those of chance. Try train=head, or weights=FILE.")
        return model, "not trained", part.videos
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed)
        log = _trained(settings, context, model, training)
    path = context.folder / "artifacts" / f"{head}.safetensors"
    save_head(model, path)
    context.save_bytes(f"{head}.json", json.dumps(log.rows, indent=1).encode(), f"Training of {head}")
    told = f"trained ({settings.train}) on {len(training[0].data)} videos, {log.selection}: {log.kept_epoch}"
    return model, told, _encoded_by(settings, context, model, part) if settings.train == "all" else part.videos


def _trained(
    settings: CLIP4ClipSettings, context: Context, model: CLIP4Clip, training: tuple[_Part, _Part]
) -> TrainingLog:
    recipe = TrainingRecipe(
        epochs=settings.epochs,
        batch_size=settings.train_batch,
        head_lr=settings.head_lr,
        encoder_lr=settings.encoder_lr,
        max_words=settings.max_words,
        precision="bf16" if settings.precision == "bf16" else "fp32",
        freeze_stem=context.clip.known_tokens is None,
        seed=settings.seed,
    )
    train, held = training
    if settings.train == "all":
        from clipzoo_video.end_to_end import train_end_to_end

        return train_end_to_end(
            model,
            train.data.items,
            train.pairs,
            recipe,
            frames=settings.frames,
            sampling=settings.sampling,
            validation=lambda now: _validated(now, held, _encoded_by(settings, context, now, held), settings.max_words),
        )
    device = model.clip.device
    return train_head(
        model,
        train.videos.to(device),
        train.pairs,
        recipe,
        train_text=settings.train == "text",
        validation=lambda now: _validated(now, held, held.videos, settings.max_words),
    )


def _validated(model: CLIP4Clip, part: _Part, videos: EncodedVideos, max_words: int) -> float:
    """R@1 in per cent, averaged over both directions; ties count for what guessing gets."""
    text = sentence_features(model.clip, part.data.sentences, max_words=max_words)
    rows = paper_rows("", similarity_in_blocks(model, text, videos.to(model.clip.device)), part.data.owner)
    return float(np.mean([row["R@1"] for row in rows if row["scores"] == "plain"]))


def _encoded_by(settings: CLIP4ClipSettings, context: Context, model: CLIP4Clip, part: _Part) -> EncodedVideos:
    """Features by the model's own encoder, if that is another than the run's."""
    if model.clip is context.clip:
        return part.videos
    found: EncodedItems = encode_items(
        model.clip, part.data.items, settings.frames, settings.sampling, batch_size=settings.batch_size
    )
    if len(found.rows) != len(part.data):
        raise WeightsError("videos that could be read before cannot be read now")
    return found.videos


def _toy_clips(settings: CLIP4ClipSettings, data: VideoDataset) -> list[tuple[int, ToyClip]]:
    """The number of each clip of the data, which tells its pair, and the clip."""
    from clipzoo.data.toy_clips import clip_dataset

    clips = clip_dataset(settings.pairs, 2, min(settings.frames, 8))
    numbers = [int(item.key.rpartition("-")[2]) for item in data.items]
    return [(number, clips[number]) for number in numbers]


def _meaning(
    model: CLIP4Clip, videos: EncodedVideos, data: VideoDataset, settings: CLIP4ClipSettings
) -> dict[str, Any]:
    """Own caption against that of the clip played backwards, and against that of another thing."""
    clips = [clip for _, clip in _toy_clips(settings, data)]
    own, backwards, other = (
        _diagonal(model, [getattr(clip, name) for clip in clips], videos, settings.max_words)
        for name in ("caption", "opposite", "other")
    )
    return {
        "head": model.head_name,
        "order": round(100 * order_accuracy(own, backwards), 1),
        "content": round(100 * order_accuracy(own, other), 1),
        "chance": 50.0,
    }


def _diagonal(model: CLIP4Clip, sentences: Sequence[str], videos: EncodedVideos, max_words: int) -> Tensor:
    """The score of each video with its own sentence."""
    text = sentence_features(model.clip, sentences, max_words=max_words)
    videos = videos.to(model.clip.device)
    rows = []
    with torch.no_grad():
        for first in range(0, len(text), 16):
            block = list(range(first, min(first + 16, len(text))))
            rows.append(model.similarity(text[block], videos.chosen(block)).diagonal())
    return torch.cat(rows).cpu()


def _by_action(settings: CLIP4ClipSettings, data: VideoDataset, scores: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Of each action: share of clips whose own caption beats that of the clip played backwards."""
    from clipzoo.data.toy_clips import ACTIONS

    clips = _toy_clips(settings, data)
    place = {number: row for row, (number, _) in enumerate(clips)}
    sentence = {owner: number for number, owner in enumerate(data.owner)}
    rows = []
    for action in ACTIONS:
        pairs = [
            (row, place[number ^ 1])
            for row, (number, clip) in enumerate(clips)
            if clip.action == action and number ^ 1 in place
        ]
        chosen, partners = [row for row, _ in pairs], [row for _, row in pairs]
        row: dict[str, Any] = {"action": action, "clips": len(chosen)}
        for head, score in scores.items():
            own, backwards = (score[[sentence[row] for row in of], chosen] for of in (chosen, partners))
            row[head] = round(100 * order_accuracy(own, backwards), 1) if chosen else None
        rows.append(row)
    return rows


def _headline(rows: list[dict[str, Any]], meaning: list[dict[str, Any]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for row in meaning:
        metrics[f"order_{row['head']}"] = row["order"]
        metrics[f"content_{row['head']}"] = row["content"]
    for row in rows:
        if row["scores"] == "plain" and row["direction"] in ("text to video", "video to text"):
            short = "t2v" if row["direction"].startswith("text") else "v2t"
            metrics[f"{short}_R@1_{row['head']}"] = row["R@1"]
    return metrics


def _record(context: Context, data: VideoDataset, similarity: Tensor) -> None:
    """One item a sentence: where its video stands."""
    # Videos that look the same to a head (a clip and the same clip backwards) stand in the order of their names.
    named = sorted(range(len(data.items)), key=lambda column: data.items[column].key)
    for number, sentence in enumerate(data.sentences):
        row = similarity[number].double().mul(1e4).round()
        best = row[named].sort(descending=True, stable=True).indices[:5].tolist()
        own = row[data.owner[number]]
        context.record(
            f"{data.items[data.owner[number]].key} #{number}",
            sentence=sentence,
            rank=int((row > own).sum()) + 1,
            found=[data.items[named[place]].key for place in best],
            score=float(own) / 1e4,
        )


def _picture(settings: CLIP4ClipSettings, context: Context, data: VideoDataset, similarity: Tensor, head: str) -> None:
    """Some sentences, each above the video found for it, as a strip of frames."""
    first_of = {owner: number for number, owner in reversed(list(enumerate(data.owner)))}
    numbers = [first_of[owner] for owner in sorted(first_of)]
    step = max(1, len(numbers) // 12)
    # An odd step, so that of toy clips, which come in pairs, both directions are seen.
    cells = []
    for number in numbers[:: step + (step % 2 == 0)][:12]:
        column = int(similarity[number].argmax())
        right = column == data.owner[number]
        try:
            frames = read_item(data.items[column], min(6, settings.frames), settings.sampling)
        except ClipzooError:  # a file may have gone since
            continue
        cells.append((_strip(frames), f"{'right' if right else 'WRONG'}: {data.sentences[number]}"))
    if cells:
        buffer = io.BytesIO()
        _strips(cells).save(buffer, format="PNG")
        context.save_bytes("found.png", buffer.getvalue(), f"Sentences, and the video that {head} finds first")


def _strip(frames: Tensor) -> Image.Image:
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    height = 72
    pictures = [one.resize((max(1, round(one.width * height / one.height)), height)) for one in pictures]
    strip = Image.new("RGB", (sum(one.width + 2 for one in pictures) - 2, height), "white")
    x = 0
    for one in pictures:
        strip.paste(one, (x, 0))
        x += one.width + 2
    return strip


def _strips(cells: Sequence[tuple[Image.Image, str]], gap: int = 10) -> Image.Image:
    """Strips below each other, each with its sentence above it."""
    font = ImageFont.load_default(13)
    width = max(max(strip.width, round(font.getlength(told))) for strip, told in cells)
    row = cells[0][0].height + 20 + gap
    sheet = Image.new("RGB", (width + 2 * gap, row * len(cells) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (strip, told) in enumerate(cells):
        y = gap + place * row
        draw.text((gap, y), told, (170, 30, 30) if told.startswith("WRONG") else (60, 60, 60), font)
        sheet.paste(strip, (gap, y + 20))
        draw.rectangle((gap - 1, y + 19, gap + strip.width, y + 20 + strip.height), outline=(225, 225, 225))
    return sheet


def _protocol(
    settings: CLIP4ClipSettings, context: Context, data: VideoDataset, chosen: Sequence[str]
) -> dict[str, Any]:
    clip = context.clip
    unknown: Callable[[str], list[str]] = clip.unknown_words
    words = sorted({word for sentence in data.sentences[:50] for word in unknown(sentence)})
    if words and settings.train in ("none", "head") and data.name != _TOY:
        context.note(
            f"{clip.name} has never met: {', '.join(words[:5])}{' ...' if len(words) > 5 else ''}. "
            "Name a real encoder, for example model=ViT-B-32/openai."
        )
    return {
        "encoder": f"{clip.name} ({clip.fingerprint})",
        "data": f"{data.name}, split {data.split}, {len(data)} videos, {len(data.sentences)} sentences",
        "frames": f"{settings.frames}, {settings.sampling}",
        "pixels": clip.preprocess_id,
        "sentences": f"cut to {settings.max_words} tokens",
        "heads": "; ".join(chosen),
        "ranks": "ties count for the mean over all orders; several sentences of a video: by the best (CLIP4Clip)",
    }
