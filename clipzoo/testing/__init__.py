"""For the tests of plugins: the contract suite. Needs pytest (``pip install "clipzoo[testing]"``)."""

from clipzoo.testing.contract import PluginContract, contract

__all__ = ["PluginContract", "contract"]
