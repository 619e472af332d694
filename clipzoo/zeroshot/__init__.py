"""The plugin ``zeroshot``: classify images with sentences, probes and few-shot heads."""
