"""ViLD keeps the contract of plugins."""

from clipzoo.testing import contract

TestContract = contract("vild", scenes=3, proposals=8, pictures=1)
