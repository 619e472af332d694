"""The four heads against stored output of the published code, and what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_video.clip4clip import CLIP4Clip, EncodedVideos, retrieval_loss, sentence_tokens
from clipzoo_video.published import _renamed
from clipzoo_video.temporal_heads import HEADS, LooseHead, build_head

from clipzoo.errors import ConfigError, DataError

TRAINED = ("seqLSTM", "seqTransf", "tightTransf")


def head_of(numbers: dict[str, np.ndarray], name: str):
    """The head with the weights of the published code."""
    state = {key[3:]: torch.from_numpy(value) for key, value in numbers.items() if key.startswith("sd/")}
    state.pop("clip.logit_scale", None)
    renamed = _renamed(state, name, "the oracle")
    positions = len(renamed["positions"]) if "positions" in renamed else 77
    head = build_head(
        name,
        int(numbers["cfg/width"]),
        heads=int(numbers["cfg/heads"]),
        layers=int(numbers["cfg/layers"]),
        positions=positions,
    )
    head.load_state_dict(renamed)
    return head.eval()


def logits_of(head, text, frames, mask, scale):
    if isinstance(head, LooseHead):
        return scale * F.normalize(text, dim=-1) @ head(frames, mask).T
    return head(text, frames, mask)


def close(ours: torch.Tensor, theirs: np.ndarray, relative: float = 1e-5) -> bool:
    return float(np.abs(ours.detach().numpy() - theirs).max()) <= relative * float(np.abs(theirs).max()) + 1e-6


@pytest.mark.parametrize("case", ["sq", "rect", "short"])
@pytest.mark.parametrize("name", HEADS)
def test_scores_of_the_published_code(oracle, name, case):
    numbers = oracle(name)
    text, frames, mask = (torch.from_numpy(numbers[f"{case}/{part}"]) for part in ("text", "frames", "video_mask"))
    head = head_of(numbers, name)
    log_scale = torch.tensor(float(numbers.get("sd/clip.logit_scale", 0.0)), requires_grad=True)
    text = text[:, 0].clone().requires_grad_()
    frames = frames.clone().requires_grad_()
    logits = logits_of(head, text, frames, mask, log_scale.exp())
    assert close(logits, numbers[f"{case}/logits"])
    if case == "rect":
        return
    loss = retrieval_loss(logits)
    assert close(loss, numbers[f"{case}/loss"])
    loss.backward()
    assert close(text.grad, numbers[f"{case}/grad_text"][:, 0], 1e-4)
    assert close(frames.grad, numbers[f"{case}/grad_frames"], 1e-4)
    if f"{case}/grad_logit_scale" in numbers:
        assert close(log_scale.grad, numbers[f"{case}/grad_logit_scale"], 1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_what_lies_in_padding_does_not_matter(features, name):
    frames, mask = features
    torch.manual_seed(1)
    head = build_head(name, 128).eval()
    text = torch.randn(4, 128)
    with torch.no_grad():
        plain = logits_of(head, text, frames, mask, 100.0)
        for padding in (0.0, 1e4, float("nan")):
            other = frames.masked_fill(~mask[..., None], padding)
            assert float((logits_of(head, text, other, mask, 100.0) - plain).abs().max()) <= 1e-5
        longer = F.pad(frames, (0, 0, 0, 3))
        assert torch.allclose(logits_of(head, text, longer, F.pad(mask, (0, 3)), 100.0), plain, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_a_video_without_a_frame_is_an_error(features, name):
    frames, mask = features
    mask = mask.clone()
    mask[1] = False
    head = build_head(name, 128)
    with pytest.raises(DataError, match=r"\[1\]"):
        logits_of(head, torch.randn(2, 128), frames, mask, 1.0)
    with pytest.raises(DataError, match="before a frame"):
        logits_of(head, torch.randn(2, 128), frames, torch.tensor([[1, 0, 1, 0, 0]] * 3), 1.0)


@pytest.mark.parametrize("name", HEADS)
def test_only_mean_pooling_is_blind_to_order(features, name):
    frames, _ = features
    torch.manual_seed(2)
    head = build_head(name, 128).eval()
    whole = torch.ones(3, 5)
    with torch.no_grad():
        there, back = (logits_of(head, torch.ones(1, 128), part, whole, 1.0) for part in (frames, frames.flip(1)))
    assert torch.allclose(there, back, atol=1e-6) == (name == "meanP")


def test_one_frame_pooled_is_the_cosine(tiny):
    model = CLIP4Clip(tiny)
    pixels = torch.rand(2, 1, 3, 64, 64)
    videos = model.encode_video(pixels)
    cosines = tiny.encode_text(["a red circle", "a tree"]) @ tiny.encode_image(pixels[:, 0]).T
    assert torch.allclose(model.similarity(["a red circle", "a tree"], videos), tiny.logit_scale * cosines, atol=1e-4)


def test_frames_in_eight_bits_and_in_floats_are_the_same(tiny):
    model = CLIP4Clip(tiny)
    pixels = torch.randint(0, 256, (2, 2, 3, 80, 100), dtype=torch.uint8)
    both = model.encode_video(pixels).frames, model.encode_video(pixels.float() / 255).frames
    assert torch.allclose(*both, atol=1e-5)


def test_padding_frames_are_not_looked_at(tiny):
    model = CLIP4Clip(tiny)
    pixels = torch.rand(2, 3, 3, 64, 64)
    pixels[0, 1:] = float("nan")
    videos = model.encode_video(pixels, torch.tensor([[1, 0, 0], [1, 1, 1]]))
    assert bool(torch.isfinite(videos.frames).all())
    assert videos.frames[0, 1:].abs().max() == 0


@pytest.mark.parametrize("name", ["seqTransf", "tightTransf"])
def test_transformers_start_from_the_text_tower(tiny, name):
    head = CLIP4Clip(tiny, name).head
    tower = tiny.model.transformer
    assert torch.equal(head.blocks[0].attn.in_proj_weight, tower.resblocks[0].attn.in_proj_weight)
    assert torch.equal(head.positions[:4], tiny.model.positional_embedding[:4])
    assert not torch.equal(
        CLIP4Clip(tiny, name, from_text_tower=False).head.blocks[0].attn.in_proj_weight,
        tower.resblocks[0].attn.in_proj_weight,
    )


def test_the_pairs_of_tight_transf_are_scored_in_bounded_memory(features):
    frames, mask = features
    torch.manual_seed(0)
    head = build_head("tightTransf", 128, layers=1).eval()
    text = torch.randn(5, 128)
    with torch.no_grad():
        whole = head(text, frames, mask)
        assert torch.allclose(head(text, frames, mask, pairs_at_once=2), whole, atol=1e-5)


def test_tight_transf_has_no_vector_of_a_video(tiny):
    model = CLIP4Clip(tiny, "tightTransf")
    with pytest.raises(ConfigError, match="no vector of its own"):
        model.video_rows(EncodedVideos(torch.randn(2, 3, 128), torch.ones(2, 3)))


def test_unknown_heads_and_widths(tiny):
    with pytest.raises(ConfigError, match="did you mean: seqTransf"):
        CLIP4Clip(tiny, "seqTransv")
    with pytest.raises(ConfigError, match="divisor"):
        build_head("seqTransf", 100, heads=3)
    with pytest.raises(DataError, match="at most 5"):
        build_head("seqTransf", 64, positions=5)(torch.randn(1, 6, 64), torch.ones(1, 6))


@pytest.mark.parametrize("width", [64, 96, 640])
def test_heads_of_any_width(width):
    for name in HEADS:
        head = build_head(name, width, layers=1).eval()
        scores = logits_of(head, torch.randn(2, width), torch.randn(3, 4, width), torch.ones(3, 4), 1.0)
        assert scores.shape == (2, 3)


def test_the_loss_by_hand():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    rows = [np.log(1 + np.exp(-1.0)), np.log(1 + np.exp(-3.0))]
    columns = [np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(-2.0))]
    assert float(retrieval_loss(logits)) == pytest.approx((np.mean(rows) + np.mean(columns)) / 2, rel=1e-6)


def test_another_sentence_of_the_same_video_is_no_negative():
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    changed = logits.clone()
    changed[0, 1] += 50
    changed[1, 0] -= 50
    assert float(retrieval_loss(logits, same)) == pytest.approx(float(retrieval_loss(changed, same)), rel=1e-6)
    with pytest.raises(DataError, match="pairs"):
        retrieval_loss(logits[:2])


@pytest.mark.parametrize("words", [12, 32, 64])
def test_tokens_of_the_published_code(oracle, words):
    from types import SimpleNamespace

    from open_clip.tokenizer import SimpleTokenizer

    numbers = oracle("text")
    clip = SimpleNamespace(tokenizer=SimpleTokenizer(context_length=77))
    tokens = sentence_tokens(clip, [str(sentence) for sentence in numbers["sentences"]], words)
    assert np.array_equal(tokens.numpy(), numbers[f"max_words{words}/input_ids"])


def test_frames_of_the_published_code(oracle):
    from clipzoo.data.video_sampling import clip4clip_frames, clip4clip_selection

    numbers = oracle("frames")
    for case, (count, fps) in enumerate(zip(numbers["extract/frame_count"], numbers["extract/fps"], strict=True)):
        frames = clip4clip_frames(int(count), float(fps))
        assert np.array_equal(frames, numbers[f"extract/{case}/frame_indices"])
        for n in (8, 12):
            for number, part in enumerate(("head", "tail", "uniform")):
                chosen = clip4clip_selection(frames, n, part)
                assert np.array_equal(chosen, numbers[f"select/{case}/F{n}/slice{number}/indices"])


def test_sentences_that_cannot_be_looked_for(tiny):
    model = CLIP4Clip(tiny)
    videos = EncodedVideos(torch.randn(1, 2, 128), torch.ones(1, 2))
    with pytest.raises(DataError, match="empty"):
        model.similarity(["a circle", " "], videos)
    with pytest.raises(DataError, match="context"):
        model.similarity(["red " * 40], videos)
    assert model.encode_text(["red " * 40], max_words=32).shape == (1, 128)
