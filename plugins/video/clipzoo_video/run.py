"""The run behind ``clipzoo run clip4clip``: search in a folder, or retrieval on a dataset."""

from __future__ import annotations

from clipzoo import Context, Result
from clipzoo.errors import ConfigError, closest_matches
from clipzoo_video.plugin import CLIP4ClipSettings

_HEADS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")


def run(settings: CLIP4ClipSettings, context: Context) -> Result:
    """Check what is cheap to check; load torch and the encoder after that."""
    for head in settings.heads:
        if head not in _HEADS:
            raise ConfigError(
                f'no head called "{head}"', closest=closest_matches(head, _HEADS), expected=", ".join(_HEADS)
            )
    if not settings.heads:
        raise ConfigError("no head was named", expected=", ".join(_HEADS))
    if settings.weights and settings.train != "none":
        raise ConfigError("weights were given together with train", expected="one of them")
    if settings.input:
        from clipzoo_video.search_run import search

        return search(settings, context)
    if settings.query or settings.query_image:
        raise ConfigError("there is a query, but nothing to search in", hint='--input my_videos/ query="..."')
    from clipzoo_video.retrieval_run import retrieve

    return retrieve(settings, context)
