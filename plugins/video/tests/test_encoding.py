"""Features of many videos: equal frames cost once, and what is stored is what would be computed."""

from __future__ import annotations

import clipzoo_video.encoding as encoding
import numpy as np
import torch
from clipzoo_video.clip4clip import frame_features
from clipzoo_video.datasets import VideoItem, open_clips
from clipzoo_video.encoding import FrameCache, encode_items


def test_equal_frames_pass_the_encoder_once(tiny, monkeypatch):
    data = open_clips(None, count=6, frames=4)
    seen = []
    plain = encoding.encode_fitted

    def counted(clip, pixels):
        seen.append(len(pixels))
        return plain(clip, pixels)

    monkeypatch.setattr(encoding, "encode_fitted", counted)
    found = encode_items(tiny, data.items, 4)
    different = {frame.tobytes() for item in data.items for frame in item.source}
    assert sum(seen) == len(different) < 48
    for item, features in zip(data.items, found.videos.frames, strict=True):
        alone = frame_features(tiny, torch.from_numpy(item.source.copy()).permute(0, 3, 1, 2))
        assert torch.allclose(features, alone, atol=1e-4)
    assert torch.equal(found.videos.frames[0], found.videos.frames[1].flip(0)), "the same clip backwards"


def test_what_is_stored_is_read_again_and_what_is_damaged_is_not(tiny, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    items = [VideoItem(str(number), clip) for number, clip in enumerate(frames)]
    cache = FrameCache(tmp_path)
    first = encode_items(tiny, items, 3, cache=cache).videos.frames
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:40])
    assert torch.allclose(encode_items(tiny, items, 3, cache=cache).videos.frames, first, atol=1e-5)
    assert encode_items(tiny, items, 2, cache=cache).videos.frames.shape[1] == 2, "other frames are another entry"
