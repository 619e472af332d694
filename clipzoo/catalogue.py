"""The plugins of clipzoo: which extra installs each, and what it does, known without importing any."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "points": ("pointclip",),
}

KNOWN: dict[str, str] = {plugin: extra for extra, plugins in EXTRAS.items() for plugin in plugins}

SUMMARIES: dict[str, str] = {
    "pointclip": "classify point clouds through their depth maps, zero-shot or with a few examples",
    "zeroshot": "classify images: sentences, linear and k-NN probes, Tip-Adapter, CLIP-Adapter on cached features",
}
"""One line a plugin: a distribution has one summary, however many plugins it holds."""
