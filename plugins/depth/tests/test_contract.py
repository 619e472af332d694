"""DepthCLIP keeps the contract of plugins."""

from clipzoo.testing import contract

TestContract = contract("depthclip", rooms=3, learn=[], compare=False, files=1)
