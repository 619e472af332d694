import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from clipzoo.errors import ConfigError, DataError
from clipzoo.metrics.intervals import bootstrap_interval
from clipzoo.metrics.ranking import (
    RankCounts,
    rank_counts,
    rank_counts_of_scores,
    ranks,
    recall_at,
    reciprocal_rank,
    retrieval_metrics,
)

ORACLE = Path(__file__).parent / "oracle" / "clip4clip_metrics.npz"


@pytest.fixture(scope="module")
def oracle() -> dict[str, np.ndarray]:
    with np.load(ORACLE) as stored:
        return {name: stored[name] for name in stored.files}


def unit_rows(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def assert_is_published(counts: RankCounts, oracle: dict[str, np.ndarray], prefix: str) -> None:
    found = retrieval_metrics(counts)
    for ours, theirs, scale in (
        ("recall@1", "R1", 100), ("recall@5", "R5", 100), ("recall@10", "R10", 100),
        ("median_rank", "MedianR", 1), ("mean_rank", "MeanR", 1),
    ):  # fmt: skip
        assert found[ours] * scale == pytest.approx(float(oracle[f"{prefix}/{theirs}"]), rel=1e-6), ours


@pytest.mark.parametrize("way", ["t2v", "v2t"])
def test_one_caption_a_video_as_published(way: str, oracle: dict[str, np.ndarray]) -> None:
    scores = oracle["single/sim"] if way == "t2v" else oracle["single/sim"].T
    counts = rank_counts_of_scores(scores)
    assert (ranks(counts) == oracle[f"single/{way}/ranks0"] + 1).all()
    assert_is_published(counts, oracle, f"single/{way}")


def test_several_captions_a_video_as_published(oracle: dict[str, np.ndarray]) -> None:
    scores, owner, videos = oracle["multi/sim"], oracle["multi/owner"], np.arange(9)
    assert_is_published(rank_counts_of_scores(scores, owner, videos), oracle, "multi/t2v")
    grouped = rank_counts_of_scores(scores.T, videos, owner, by_group=True)
    assert (ranks(grouped) == oracle["multi/v2t/ranks0"] + 1).all()
    assert_is_published(grouped, oracle, "multi/v2t")
    single = rank_counts_of_scores(scores.T, videos, owner)
    assert (ranks(single) == oracle["multi/v2t_anycaption_rank1"]).all()


def test_ties_count_half(oracle: dict[str, np.ndarray]) -> None:
    counts = rank_counts_of_scores(oracle["ties/sim"])
    assert (ranks(counts) == oracle["ties/spec_midrank"]).all()
    assert len(counts) == 12, "one rank a query, where the published code counts a tied query several times"


def enumerated(scores: np.ndarray, right: np.ndarray, value: object) -> float:
    """Mean over every order of equal scores, by brute force, of ``value`` of the rank of the first right answer."""
    total = []
    for order in itertools.permutations(range(len(scores))):
        place = np.array(order)
        ranked = place[np.argsort(-scores[place], kind="stable")]
        total.append(value(1 + int(np.argmax(right[ranked]))))  # type: ignore[operator]
    return float(np.mean(total))


@pytest.mark.parametrize("seed", range(12))
def test_expectations_are_means_over_all_orders(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 3, 6).astype(np.float32)
    right = random.random(6) < 0.4
    right[random.integers(6)] = True
    counts = rank_counts_of_scores(scores[None], [1], right.astype(int))
    assert float(ranks(counts)[0]) == pytest.approx(enumerated(scores, right, float))
    assert reciprocal_rank(counts) == pytest.approx(enumerated(scores, right, lambda rank: 1 / rank))
    for k in range(1, 7):
        assert recall_at(counts, k) == pytest.approx(enumerated(scores, right, lambda rank, k=k: rank <= k))


def test_a_constant_model_gets_what_guessing_gets() -> None:
    counts = rank_counts_of_scores(torch.zeros(50, 50))
    assert recall_at(counts, 1) == pytest.approx(1 / 50) and recall_at(counts, 10) == pytest.approx(0.2)
    assert recall_at(counts, 1, "optimistic") == 1 and recall_at(counts, 49, "pessimistic") == 0
    assert retrieval_metrics(counts)["mean_rank"] == 25.5
    # Three right answers among ten, all equal: 1 - (7 choose 2) / (10 choose 2) for k = 2.
    three = rank_counts_of_scores(torch.zeros(1, 10), [0], [0, 0, 0, *range(1, 8)])
    assert recall_at(three, 2) == pytest.approx(1 - 21 / 45)


def test_without_ties_every_treatment_agrees() -> None:
    counts = rank_counts(unit_rows(40, 16, 0), unit_rows(40, 16, 1))
    tables = [retrieval_metrics(counts, ties=ties) for ties in ("expected", "optimistic", "pessimistic")]  # type: ignore[arg-type]
    for key in tables[0]:
        assert tables[0][key] == pytest.approx(tables[1][key]) == pytest.approx(tables[2][key])


@pytest.mark.parametrize("by_group", [False, True])
def test_blocks_change_nothing(by_group: bool) -> None:
    queries, gallery = unit_rows(37, 8, 0), unit_rows(90, 8, 1)
    gallery[50] = gallery[3]
    owners, labels = torch.arange(37) % 30, torch.arange(90) % 30
    whole = rank_counts(queries, gallery, owners, labels, by_group=by_group)
    for block in (1, 200, 1000):
        part = rank_counts(queries, gallery, owners, labels, by_group=by_group, block=block)
        assert (ranks(part) == ranks(whole)).all()


def test_ranks_from_an_independent_count() -> None:
    queries, gallery = unit_rows(25, 6, 2).double(), unit_rows(60, 6, 3).double()
    labels = np.random.default_rng(0).integers(0, 20, 60)
    owners = np.random.default_rng(1).choice(np.unique(labels), 25)
    found = ranks(rank_counts(queries, gallery, owners.tolist(), labels.tolist()))
    scores = queries.numpy() @ gallery.numpy().T
    for row, score in enumerate(scores):
        order = np.argsort(-score)
        assert found[row] == 1 + int(np.flatnonzero(labels[order] == owners[row])[0])


def test_perfect_and_hopeless() -> None:
    eye = torch.eye(5)
    assert retrieval_metrics(rank_counts(eye, eye)) == {
        "recall@1": 1.0, "recall@5": 1.0, "recall@10": 1.0, "median_rank": 1.0, "mean_rank": 1.0, "mrr": 1.0,
    }  # fmt: skip
    assert retrieval_metrics(rank_counts_of_scores(-eye), ks=[4])["recall@4"] == 0


def test_scores_may_be_a_memory_map(tmp_path: Path) -> None:
    scores = np.lib.format.open_memmap(tmp_path / "scores.npy", mode="w+", dtype=np.float32, shape=(20, 20))
    scores[:] = np.random.default_rng(0).standard_normal((20, 20))
    found = rank_counts_of_scores(np.load(tmp_path / "scores.npy", mmap_mode="r"), block=60)
    assert (ranks(found) == ranks(rank_counts_of_scores(np.array(scores)))).all()


def test_no_queries() -> None:
    counts = rank_counts(torch.zeros(0, 4), torch.zeros(3, 4), [], [0, 1, 2])
    assert all(np.isnan(value) for value in retrieval_metrics(counts).values())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rank_counts(torch.zeros(3, 4), torch.zeros(3, 5)), DataError, "dim"),
        (lambda: rank_counts(torch.zeros(3, 4), torch.zeros(2, 4)), DataError, "or labels"),
        (lambda: rank_counts(torch.zeros(2, 4), torch.zeros(2, 4), [0, 1]), DataError, "one side"),
        (lambda: rank_counts(torch.zeros(2, 4), torch.zeros(2, 4), [0, 7], [0, 1]), DataError, r"\[1\] have no right"),
        (lambda: rank_counts(torch.zeros(2, 4), torch.zeros(2, 4), [0], [0, 1]), DataError, "labels of the shapes"),
        (lambda: rank_counts_of_scores(torch.tensor([[np.nan]])), DataError, "NaN"),
        (lambda: rank_counts_of_scores(torch.zeros(4)), DataError, "gallery"),
        (lambda: recall_at(rank_counts(torch.eye(2), torch.eye(2)), 0), ConfigError, "at least 1"),
        (lambda: ranks(rank_counts(torch.eye(2), torch.eye(2)), "optimist"), ConfigError, "optimistic"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


# Intervals.


def test_interval_of_an_accuracy_is_near_the_normal_approximation() -> None:
    values = np.r_[np.ones(900), np.zeros(100)]
    low, mean, high = bootstrap_interval(values, resamples=20000)
    half = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert mean == 0.9
    assert low == pytest.approx(0.9 - half, abs=0.002) and high == pytest.approx(0.9 + half, abs=0.002)


def test_counting_values_is_drawing_items() -> None:
    random = np.random.default_rng(0)
    many = random.standard_normal(400)  # drawn item by item
    few = np.round(many, 1)  # counted
    assert bootstrap_interval(many, resamples=4000) == pytest.approx(bootstrap_interval(few, resamples=4000), abs=0.01)


def test_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        low, _, high = bootstrap_interval(random.random(200) < 0.7, level=0.9, resamples=300, seed=seed)
        hits += low <= 0.7 <= high
    assert 0.84 < hits / 300 < 0.95


def test_interval_depends_on_the_seed_alone() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval([2.0]) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("values", "options", "error"),
    [
        ([], {}, DataError),
        ([1.0, np.nan], {}, DataError),
        ([1], {"level": 1.0}, ConfigError),
        ([1], {"resamples": 0}, ConfigError),
    ],
)
def test_intervals_refuse_bad_input(values: list, options: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        bootstrap_interval(values, **options)


def test_one_matrix_gives_both_directions() -> None:
    """Against the counts written out: five sentences of three videos, the best sentence of a video counts."""
    from clipzoo.metrics import retrieval

    scores = torch.tensor([[3.0, 1, 2], [1, 2, 3], [0, 5, 1], [4, 2, 1], [0, 1, 6]])
    table = retrieval(scores, groups=[0, 0, 1, 2, 2])
    # Ranks of the right video, row by row: 1, 3, 1, 3, 1.
    assert table["text_to_video"]["recall@1"] == pytest.approx(3 / 5)
    assert table["text_to_video"]["mean_rank"] == pytest.approx(9 / 5)
    # Best of a group for each video: video 0 sees 3, 0, 4; video 1 sees 2, 5, 2; video 2 sees 3, 1, 6.
    assert table["video_to_text"]["recall@1"] == pytest.approx(2 / 3)
    assert table["video_to_text"]["mean_rank"] == pytest.approx(4 / 3)
    square = retrieval(torch.eye(4))
    assert square["text_to_video"] == square["video_to_text"] and square["video_to_text"]["recall@1"] == 1.0


@pytest.mark.parametrize("groups", [[0, 1], [0, 1, 3], [0, 1, -1]])
def test_groups_that_fit_no_column_are_refused(groups) -> None:
    from clipzoo.metrics import retrieval

    with pytest.raises(DataError):
        retrieval(torch.eye(3), groups=groups)
