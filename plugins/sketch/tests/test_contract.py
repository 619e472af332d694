"""CLIPasso and CLIPDraw keep the contract of plugins."""

from clipzoo.testing import contract

TestCLIPasso = contract("clipasso", strokes=[4], steps=3, restarts=1, views=1, frames=2, model="tiny-rn")
TestCLIPDraw = contract("clipdraw", paths=4, steps=3, views=1, frames=2, size=64)
