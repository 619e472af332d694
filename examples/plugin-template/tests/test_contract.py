"""my-method keeps the contract of plugins."""

from clipzoo.testing import contract

TestContract = contract("my-method", per_class=1)
