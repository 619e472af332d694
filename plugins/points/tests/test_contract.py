"""PointCLIP keeps the contract of plugins."""

from clipzoo.testing import contract

TestContract = contract("pointclip", per_class=1, points=256, mode="v2")
