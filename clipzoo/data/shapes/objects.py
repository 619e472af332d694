"""Procedural objects of the ModelNet40 categories that are not furniture.

Every generator takes a `numpy.random.Generator` and returns triangles, float32 ``[T, 3, 3]``, y up. The front
faces +z unless the docstring says otherwise, and the scale is free: the caller normalises. All draws come
from the generator, so a seed names one shape.

Example:
    >>> from clipzoo.data.shapes.objects import GENERATORS
    >>> GENERATORS["vase"](np.random.default_rng(0)).shape[1:]
    (3, 3)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clipzoo.data.shapes.aeroplanes import airplane
from clipzoo.data.shapes.appliances import glass_box, keyboard, laptop, radio, range_hood, sink, xbox
from clipzoo.data.shapes.cars import car
from clipzoo.data.shapes.instruments import guitar, piano
from clipzoo.data.shapes.lamps import lamp
from clipzoo.data.shapes.people import person
from clipzoo.data.shapes.plants import flower_pot, plant
from clipzoo.data.shapes.stairs import stairs
from clipzoo.data.shapes.tents import tent
from clipzoo.data.shapes.vessels import bottle, bowl, cone, cup, vase

Maker = Callable[[np.random.Generator], np.ndarray]

GENERATORS: dict[str, Maker] = {
    "airplane": airplane,
    "bottle": bottle,
    "bowl": bowl,
    "car": car,
    "cone": cone,
    "cup": cup,
    "flower_pot": flower_pot,
    "glass_box": glass_box,
    "guitar": guitar,
    "keyboard": keyboard,
    "lamp": lamp,
    "laptop": laptop,
    "person": person,
    "piano": piano,
    "plant": plant,
    "radio": radio,
    "range_hood": range_hood,
    "sink": sink,
    "stairs": stairs,
    "tent": tent,
    "vase": vase,
    "xbox": xbox,
}
"""Category name to generator: `numpy.random.Generator` in, float32 triangles ``[T, 3, 3]`` out."""
