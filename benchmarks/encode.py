"""``FrozenCLIP`` beside the model that it wraps and beside transformers: the same network, images and sentences.

uv run python benchmarks/encode.py [--model ViT-B-32] [--batch 16] [--device cuda]

Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import click
import torch
from _rows import report
from _timing import in_turns
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

import clipzoo

BENCH = {
    "quick": ["--batch", "4", "--rounds", "3"],
    "cuda": ["--device", "cuda", "--batch", "256"],
    "quick_timeout_s": 40,
}


def counted(work: Callable[[], Any], weights: Any) -> tuple[float, float]:
    """Operations of one call, and the bytes of its weights, which it must read."""
    # The fused attention of inference is one operator that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops()), float(sum(part.numel() * part.element_size() for part in weights))


def transformers_tower(model: str, device: str) -> Any:
    """The image tower of transformers with the sizes of ViT-B-32, or None."""
    if model != "ViT-B-32" or importlib.util.find_spec("transformers") is None:
        return None
    import transformers

    config = transformers.CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        patch_size=32,
        projection_dim=512,
    )
    return transformers.CLIPVisionModelWithProjection(config).eval().to(device)


@click.command()
@click.option("--model", default="ViT-B-32", show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(model: str, batch: int, rounds: int, device: str) -> None:
    """Measure in turns."""
    clip = clipzoo.load_clip(f"{model}/random", device=device)
    wrapped = clip.model
    pixels = torch.rand(batch, 3, clip.image_size, clip.image_size, device=device)
    sentences = [f"a photo of the number {number}" for number in range(batch)]
    tokens = clip.tokenise(sentences).to(device)
    other = transformers_tower(model, device)
    jobs: dict[str, Callable[[], Any]] = {
        "images, ours": lambda: clip.encode_image(pixels, resize="none"),
        "images, open_clip": lambda: normalize(wrapped.encode_image(pixels), dim=-1),
        "sentences, ours": lambda: clip.encode_text(sentences),
        "sentences, open_clip": lambda: normalize(wrapped.encode_text(tokens), dim=-1),
    }
    if other is not None:
        jobs["images, transformers"] = lambda: other(pixel_values=pixels)
    with torch.inference_mode():
        spent = {name: statistics.median(times) for name, times in in_turns(jobs, rounds, device).items()}
        image_work = counted(jobs["images, open_clip"], wrapped.visual.parameters())
        text_work = counted(jobs["sentences, open_clip"], wrapped.transformer.parameters())
    image = f"{batch} images through {model}"
    for peer in ("open_clip", "transformers"):
        if f"images, {peer}" in spent:
            report(
                image if peer == "open_clip" else f"{image}, beside transformers",
                spent["images, ours"],
                peer=peer,
                peer_s=spent[f"images, {peer}"],
                flop=image_work[0],
                moved_bytes=image_work[1],
                device=device,
            )
    report(
        f"{batch} sentences through {model}, with tokens",
        spent["sentences, ours"],
        peer="open_clip, tokens at hand",
        peer_s=spent["sentences, open_clip"],
        flop=text_work[0],
        moved_bytes=text_work[1],
        device=device,
    )


if __name__ == "__main__":
    main()
