"""The plugin of the core keeps the contract."""

from clipzoo.testing import contract

TestContract = contract("zeroshot", per_class=1, head="zero-shot", compare_templates=False, templates=["photo"])
