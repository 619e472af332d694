"""Few-shot heads on stored features: accuracy by the number of examples, mean and deviation over seeds.

    python benchmarks/few_shot.py FOLDER [--seeds 3]

It measures accuracy, not time, and needs features of real images: ``clipzoo bench`` passes it over.

FOLDER holds ``image_embeddings.npy`` [items, dim], ``image_labels.npy`` [items] and ``text_embeddings.npy``
[classes, dim]; of the latter ``--text`` may name another file, and ``--rows`` the rows of it that are the classes, in
their order. A class that the other file lacks is written as ``-``, and its items are left out.
All hyper-parameters are chosen on held-out examples of the training part, never on the tested ones.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from _rows import skip
from torch import Tensor

from clipzoo.heads import (
    TipAdapter,
    draw_shots,
    fit_probe_path,
    knn_probabilities,
    search_tip,
    train_clip_adapter,
    train_tip_adapter,
)

BENCH = {"timeout_s": 60}
HEADS = ("linear probe", "probe from the sentences", "k-NN", "Tip-Adapter", "Tip-Adapter-F", "CLIP-Adapter")


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def score_heads(
    features: Tensor, labels: Tensor, text: Tensor, train: list[int], held: list[int], test: list[int], seed: int
) -> dict[str, float]:
    """Accuracy of every head on the ``test`` rows."""
    rows, own = features[train], labels[train]
    validation = (features[held], labels[held])
    target, truth = features[test], labels[test]
    probe = fit_probe_path(rows, own, validation, len(text)).probe
    informed = fit_probe_path(rows, own, validation, len(text), prior=100 * text).probe
    neighbours = min(len(train), max(1, len(train) // len(text)))
    tip = search_tip(TipAdapter.build(text, rows, own), *validation)
    trained = train_tip_adapter(tip, rows, own, validation, generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    adapter = train_clip_adapter(text, rows, own, validation, epochs=60, generator=generator)
    scores = (
        probe.logits(target),
        informed.logits(target),
        knn_probabilities(target, rows, own, len(text), neighbours=neighbours),
        tip.logits(target),
        search_tip(trained, *validation).logits(target),
        adapter.logits(target, text),
    )
    return {head: accuracy(score, truth) for head, score in zip(HEADS, scores, strict=True)}


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--text", default="text_embeddings.npy", show_default=True)
@click.option("--rows", default="", help="Rows of the text file that are the classes, with commas.")
@click.option("--seeds", default=3, show_default=True)
def main(folder: Path | None, text: str, rows: str, seeds: int) -> None:
    """Print the table."""
    if folder is None:
        skip("measures accuracy on stored features: pass their folder to benchmarks/few_shot.py")
    features = F.normalize(torch.from_numpy(np.load(folder / "image_embeddings.npy")).float(), dim=-1)
    labels = torch.from_numpy(np.load(folder / "image_labels.npy")).long()
    table = torch.from_numpy(np.load(folder / text)).float()
    named = rows.split(",") if rows else [str(row) for row in range(len(table))]
    classes = {label: int(row) for label, row in enumerate(named) if row != "-"}
    classifier = F.normalize(table[list(classes.values())], dim=-1)
    kept = [place for place, label in enumerate(labels.tolist()) if label in classes]
    order = list(classes)
    features, labels = features[kept], torch.tensor([order.index(label) for label in labels[kept].tolist()])
    keys = [f"{row:06d}" for row in range(len(labels))]
    click.echo(f"zero-shot: {accuracy(features @ classifier.T, labels):.1%} of {len(labels)}")
    click.echo("| shots | zero-shot | " + " | ".join(HEADS) + " |")
    click.echo("|---" * (len(HEADS) + 2) + "|")
    for shots in (1, 2, 4, 8, 16):
        found: dict[str, list[float]] = {head: [] for head in ("zero-shot", *HEADS)}
        for seed in range(seeds):
            most = draw_shots(keys, labels.tolist(), 16, seed)
            reserved = {*most.train, *most.validation}
            test = [place for place, key in enumerate(keys) if key not in reserved]
            drawn = draw_shots(keys, labels.tolist(), shots, seed)
            parts = [[int(key) for key in part] for part in (drawn.train, drawn.validation)]
            found["zero-shot"].append(accuracy(features[test] @ classifier.T, labels[test]))
            for head, score in score_heads(features, labels, classifier, *parts, test, seed).items():
                found[head].append(score)
        cells = [f"{100 * np.mean(score):.1f} ± {100 * np.std(score):.1f}" for score in found.values()]
        click.echo(f"| {shots} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
