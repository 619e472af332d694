"""What an encoder knows of the toy world: ``python -m clipzoo_train.toy.evaluate tiny``."""

from __future__ import annotations

import click
import numpy as np
import torch
from torch import Tensor

from clipzoo.data.faces import FACE_ATTRIBUTES, face_dataset, face_phrases
from clipzoo.data.rooms import DISTANCE_WORDS, distance_sentences, room_windows
from clipzoo.data.scenes import COLOURS, HELD_OUT, SHAPES, Scene, scene_dataset
from clipzoo.data.shapes import CATEGORIES, shape_dataset
from clipzoo.data.toy_clips import clip_dataset
from clipzoo.encoders import FrozenCLIP, load_clip
from clipzoo.images.projection import project_depth


def scene_pixels(scenes: list[Scene]) -> Tensor:
    """Images of scenes as pixels ``[n, 3, side, side]`` in [0, 1]."""
    return torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def scene_accuracy(clip: FrozenCLIP, count: int = 1000, seed: int = 9001) -> dict[str, float]:
    """Zero-shot accuracy on scenes of one object whose colour and shape were never together in training.

    Returns:
        ``held_out`` among the held-out combinations, ``all_combinations`` among all 128 (most of them trained),
        ``colour`` and ``shape`` alone, and ``drawing``: the shape of a line drawing among 16.
    """
    scenes = [
        scene
        for style in ("colour", "textured")
        for scene in scene_dataset(count // 2, seed=seed, objects=1, style=style, combinations="held-out")
    ]
    features = clip.encode_image(scene_pixels(scenes))
    everything = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    truth = [(scene.objects[0].colour, scene.objects[0].shape) for scene in scenes]

    def accuracy(candidates: list[tuple[str, str]]) -> tuple[float, list[tuple[str, str]]]:
        text = clip.classifier([" ".join(pair) for pair in candidates], "photo", cache=False)
        answers = [candidates[k] for k in (features @ text.T).argmax(1).tolist()]
        return float(np.mean([a == t for a, t in zip(answers, truth, strict=True)])), answers

    found = {"held_out": accuracy(list(HELD_OUT))[0]}
    found["all_combinations"], answers = accuracy(everything)
    found["colour"] = float(np.mean([a[0] == t[0] for a, t in zip(answers, truth, strict=True)]))
    found["shape"] = float(np.mean([a[1] == t[1] for a, t in zip(answers, truth, strict=True)]))
    drawings = scene_dataset(count // 2, seed=seed, objects=1, style="drawing")
    text = clip.classifier(SHAPES, ["a line drawing of a {}."], cache=False)
    guess = (clip.encode_image(scene_pixels(drawings)) @ text.T).argmax(1).tolist()
    found["drawing"] = float(np.mean([SHAPES[g] == d.objects[0].shape for g, d in zip(guess, drawings, strict=True)]))
    return found


@torch.no_grad()
def shape_accuracy(clip: FrozenCLIP, per_class: int = 20, seed: int = 103) -> dict[str, float]:
    """Zero-shot accuracy of PointCLIP's view average on new toy shapes, 40 categories, by projection."""
    clouds, labels = shape_dataset(per_class, seed=seed)
    text = clip.classifier(CATEGORIES, "pointclip-zero-shot", cache=False)
    scores = {}
    for mode in ("v1", "v2"):
        rows = []
        for part in torch.from_numpy(clouds).split(32):
            images = project_depth(part, mode, size=clip.image_size)
            flat = images.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
            rows.append(clip.encode_image(flat, resize="none", normalise=False).unflatten(0, images.shape[:2]).mean(1))
        scores[mode] = (clip.logit_scale * images.shape[1] ** 0.5 * torch.cat(rows) @ text.T).softmax(1)
    truth = torch.from_numpy(labels)
    answers = {**scores, "both": scores["v1"] + scores["v2"]}
    return {name: float((score.argmax(1) == truth).float().mean()) for name, score in answers.items()}


@torch.no_grad()
def clip_accuracy(clip: FrozenCLIP, pairs: int = 60, seed: int = 9002) -> dict[str, float]:
    """How often the middle frame of a toy clip is nearer to what acts in it than to the thing its other caption names.

    Half is chance. Clips whose thing is told by its shape alone (it changes colour) are asked for the shape.
    """
    clips = clip_dataset(pairs, seed=seed)[::2]
    frames = torch.from_numpy(np.stack([one.frames[len(one.frames) * 3 // 4] for one in clips]))
    images = clip.encode_image(frames.permute(0, 3, 1, 2).float() / 255)
    own = clip.encode_text([f"a photo of {one.thing}" for one in clips])
    other = clip.encode_text([f"a photo of {_other_thing(one.other, one.action)}" for one in clips])
    return {"content": float(((images * own).sum(1) > (images * other).sum(1)).float().mean())}


@torch.no_grad()
def face_accuracy(clip: FrozenCLIP, count: int = 512, seed: int = 7) -> dict[str, float]:
    """Zero-shot accuracy on new faces, one attribute among its values; faces that do not show it are left out."""
    faces = face_dataset(count, seed=seed)
    images = clip.encode_image(torch.from_numpy(faces.images).permute(0, 3, 1, 2).float() / 255)
    found = {}
    for place, (attribute, values) in enumerate(FACE_ATTRIBUTES.items()):
        told = [clip.classifier(_told(attribute, value), ["{}"], cache=False).mean(0) for value in values]
        texts = torch.nn.functional.normalize(torch.stack(told), dim=1)
        truth = torch.from_numpy(faces.labels[:, place])
        right = (images @ texts.T).argmax(1) == truth
        found[attribute] = float(right[truth >= 0].float().mean())
    return found


def _told(attribute: str, value: str) -> list[str]:
    """A sentence for each way to say it."""
    return [
        "a photo of a " + " ".join(part for part in (before, "face", after) if part) + "."
        for before, after in face_phrases(attribute, value)
    ]


@torch.no_grad()
def room_accuracy(clip: FrozenCLIP, count: int = 350, seed: int = 9003) -> dict[str, float]:
    """How often the word for the distance of a window of a new toy room is the right one, or the next to it."""
    windows = room_windows(count, seed=seed)
    images = clip.encode_image(torch.from_numpy(windows.images).permute(0, 3, 1, 2).float() / 255)
    texts = [clip.encode_text(list(distance_sentences(word))).mean(0) for word in range(len(DISTANCE_WORDS))]
    answers = (images @ torch.nn.functional.normalize(torch.stack(texts), dim=1).T).argmax(1)
    apart = (answers - torch.from_numpy(windows.words)).abs()
    return {"word": float((apart == 0).float().mean()), "next": float((apart <= 1).float().mean())}


def _other_thing(told: str, action: str) -> str:
    return told.partition(" turning from ")[0] if action.startswith("turning") else told.removesuffix(f" {action}")


@click.command()
@click.argument("name", default="tiny")
def main(name: str) -> None:
    """Print what the encoder NAME knows, a bundled one or any other that clipzoo loads."""
    clip = load_clip(name, device="cpu")
    measures = {
        "scenes": scene_accuracy,
        "shapes": shape_accuracy,
        "clips": clip_accuracy,
        "faces": face_accuracy,
        "rooms": room_accuracy,
    }
    for title, measure in measures.items():
        for key, value in measure(clip).items():
            click.echo(f"{title:7} {key:17} {value:.1%}")


if __name__ == "__main__":
    main()
