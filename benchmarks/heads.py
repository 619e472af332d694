"""The linear probe beside scikit-learn, and ranking a gallery beside one matrix, on random features.

uv run python benchmarks/heads.py [--items 2000] [--queries 2000]
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
from torch import Tensor
from torch.nn.functional import normalize

from clipzoo.heads import fit_linear_probe
from clipzoo.metrics.ranking import rank_counts

BENCH = {"quick": ["--items", "500", "--queries", "1000", "--rounds", "2"], "quick_timeout_s": 40}
CLASSES, WIDTH = 20, 512


def features(items: int) -> tuple[Tensor, Tensor]:
    """Unit rows around the centre of their class, and the classes."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    labels = torch.arange(items) % CLASSES
    return normalize(centres[labels] + 2 * torch.randn(items, WIDTH, generator=generator), dim=-1), labels


def whole_matrix(queries: Tensor, gallery: Tensor) -> Tensor:
    """What everybody writes: all scores at once, a full sort, and the place of the right answer."""
    order = (queries @ gallery.T).argsort(1, descending=True)
    return (order == torch.arange(len(queries))[:, None]).float().argmax(1)


@click.command()
@click.option("--items", default=2000, show_default=True)
@click.option("--queries", default=4000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(items: int, queries: int, rounds: int) -> None:
    """Measure in turns."""
    rows, labels = features(items)
    jobs: dict[str, Callable[[], Any]] = {"ours": lambda: fit_linear_probe(rows, labels, CLASSES, 1.0)}
    if importlib.util.find_spec("sklearn") is not None:
        from sklearn.linear_model import LogisticRegression

        # Ours divides the loss by the number of items, so that its tolerance is that of scikit-learn over the same.
        jobs["scikit-learn"] = lambda: LogisticRegression(tol=1e-7 * items, max_iter=1000).fit(
            rows.double().numpy(), labels.numpy()
        )
    spent = {name: statistics.median(times) for name, times in in_turns(jobs, rounds).items()}
    passes = fit_linear_probe(rows, labels, CLASSES, 1.0).iterations
    report(
        f"linear probe, {items} x {WIDTH} features, {CLASSES} classes, float64",
        spent["ours"],
        peer="scikit-learn" if "scikit-learn" in spent else "",
        peer_s=spent.get("scikit-learn"),
        moved_bytes=passes * 8 * items * WIDTH,
    )
    text, gallery = features(queries)[0], features(queries)[0]
    keys = torch.arange(queries)
    jobs = {"ours": lambda: rank_counts(text, gallery, keys, keys), "sorted": lambda: whole_matrix(text, gallery)}
    spent = {name: statistics.median(times) for name, times in in_turns(jobs, rounds).items()}
    report(
        f"ranks of {queries} queries among {queries} answers, {WIDTH} wide, ties counted",
        spent["ours"],
        peer="one matrix, sorted",
        peer_s=spent["sorted"],
        flop=2 * queries**2 * WIDTH,
        moved_bytes=8 * queries * WIDTH,
    )


if __name__ == "__main__":
    main()
