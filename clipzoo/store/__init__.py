"""Embedding stores: features of image collections on disk, made once and read by everything else."""

from clipzoo.store.clip_retrieval import export_clip_retrieval, import_clip_retrieval
from clipzoo.store.extraction import Extraction, embed
from clipzoo.store.sources import source_items
from clipzoo.store.store import EmbeddingStore, StoreInfo

__all__ = [
    "EmbeddingStore",
    "Extraction",
    "StoreInfo",
    "embed",
    "export_clip_retrieval",
    "import_clip_retrieval",
    "source_items",
]
