"""CLIP4Clip keeps the contract of plugins."""

from clipzoo.testing import contract

TestContract = contract("clip4clip", heads=["meanP"], train="none", pairs=6, train_pairs=6, frames=4)
