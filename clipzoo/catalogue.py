"""The plugins of clipzoo: which extra installs each, and what it does, known without importing any."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "points": ("pointclip",),
    "depth": ("depthclip",),
    "sketch": ("clipasso", "clipdraw"),
    "style": ("styleclip",),
    "detect": ("vild",),
    "video": ("clip4clip",),
    "train": ("train",),
}

KNOWN: dict[str, str] = {plugin: extra for extra, plugins in EXTRAS.items() for plugin in plugins}

SUMMARIES: dict[str, str] = {
    "clip4clip": "find videos by sentences: retrieval with four temporal heads, and search in your own folder",
    "clipasso": "draw a photo with a few Bezier strokes (SVG)",
    "clipdraw": "draw a sentence with coloured Bezier strokes (SVG)",
    "depthclip": "depth of photos from words, zero-shot or with a few examples",
    "pointclip": "classify point clouds through their depth maps, zero-shot or with a few examples",
    "styleclip": "edit faces with a sentence: latent optimisation, mapper, global directions; StyleGAN-NADA",
    "train": "train a pair of towers on images and captions; make the bundled encoders",
    "vild": "find things by name: boxes from CLIP without training, or a detector distilled from it",
    "zeroshot": "classify images: sentences, linear and k-NN probes, Tip-Adapter, CLIP-Adapter on cached features",
}
"""One line a plugin: a distribution has one summary, however many plugins it holds."""
