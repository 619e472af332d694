"""The trainer keeps the contract of plugins."""

from clipzoo.testing import contract

TestContract = contract(
    "train", data="toy-captions", limit=16, epochs=2, train_batch=4, zeroshot="", val_share=0.2, test_share=0.2
)
