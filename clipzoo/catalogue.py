"""The extras of clipzoo, and the plugins that each one installs: what can be had, installed or not."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "points": ("pointclip",),
}

KNOWN: dict[str, str] = {plugin: extra for extra, plugins in EXTRAS.items() for plugin in plugins}
