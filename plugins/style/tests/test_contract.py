"""The plugin keeps the contract, with its quickest method and a generator of its own."""

from clipzoo.testing import contract

TestContract = contract("styleclip", prompt=["a smiling face"], samples=2, steps=3)
