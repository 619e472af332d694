"""Classifiers on the features of a frozen CLIP: they train in seconds, because features are computed once."""

from clipzoo.heads.clip_adapter import CLIPAdapter, train_clip_adapter
from clipzoo.heads.knn import knn_probabilities
from clipzoo.heads.linear_probe import LAMBDAS, LinearProbe, ProbePath, fit_linear_probe, fit_probe_path
from clipzoo.heads.shots import Shots, draw_shots, read_shots, write_shots
from clipzoo.heads.tip_adapter import TipAdapter, search_tip, train_tip_adapter

__all__ = [
    "LAMBDAS",
    "CLIPAdapter",
    "LinearProbe",
    "ProbePath",
    "Shots",
    "TipAdapter",
    "draw_shots",
    "fit_linear_probe",
    "fit_probe_path",
    "knn_probabilities",
    "read_shots",
    "search_tip",
    "train_clip_adapter",
    "train_tip_adapter",
    "write_shots",
]
