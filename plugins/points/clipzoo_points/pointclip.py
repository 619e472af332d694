"""PointCLIP: a point cloud classified by a CLIP that looks at its depth images.

Zhang et al., "PointCLIP: Point Cloud Understanding by CLIP", CVPR 2022; Zhu et al., "PointCLIP V2", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from clipzoo import FrozenCLIP
from clipzoo.errors import ConfigError, DataError
from clipzoo.images.projection import VIEW_NAMES, project_depth, view_rotations
from clipzoo.prompts import Templates

MODES = ("v1", "v2", "both")
TEMPLATES = {"v1": "pointclip-zero-shot", "v2": "pointclip-zero-shot"}


class PointCLIP:
    """Zero-shot classification of point clouds from several views of their depth.

    ``logits = s / sqrt(V) * sum_v w_v cos(f_v, t_k)`` (PointCLIP, section 3.2): the encoder's scale ``s``, views
    ``v`` with weights ``w_v``, image features ``f_v`` and the text feature ``t_k`` of each class.

    Args:
        clip: the frozen encoder.
        classnames: K names; underscores are read as spaces.
        mode: ``"v1"``, ``"v2"``, or ``"both"``, which averages the class probabilities of the two.
        templates: prompts, see :meth:`clipzoo.FrozenCLIP.classifier`; default the published sentence.
        view_weights: one factor a view, in the order of :attr:`view_names`; default all one.
        views: of ``mode``; a name or rotations, see :func:`clipzoo_points.project_depth`.
        size: raster of the v1 projection in pixels; default 128 as published, or the encoder's input if smaller.
        distance: camera distance of the v1 projection.
        renderer: of the v1 images: ``"builtin"``, or ``"pytorch3d"`` where that is installed.
        view_batch: images that pass the encoder at once.

    Raises:
        ConfigError: if the mode, the views or the number of weights is wrong.
        DataError: if class names are empty or repeated.

    >>> import clipzoo
    >>> clip = clipzoo.load_clip("tiny")
    >>> PointCLIP(clip, ["chair", "table"]).logits(torch.rand(2, 128, 3)).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        classnames: Sequence[str],
        mode: str = "v2",
        *,
        templates: Templates | None = None,
        view_weights: Sequence[float] | Tensor | None = None,
        views: str | Tensor | None = None,
        size: int | None = None,
        distance: float | None = None,
        renderer: str = "builtin",
        view_batch: int = 256,
    ) -> None:
        """Encode the class names."""
        if mode not in MODES:
            raise ConfigError(f'no mode called "{mode}"', expected=", ".join(MODES))
        if renderer not in ("builtin", "pytorch3d"):
            raise ConfigError(f'no renderer called "{renderer}"', expected="builtin or pytorch3d")
        if mode == "both" and views is not None:
            raise ConfigError("views were given with mode=both", expected="mode=v1 or mode=v2 with views of your own")
        self.clip = clip
        self.classnames = tuple(classnames)
        self.mode = mode
        self.views = views
        self.distance = distance
        self.size = size or min(128, clip.image_size)
        self.renderer = renderer
        self.view_batch = view_batch
        self.text = clip.classifier(classnames, templates or TEMPLATES["v2" if mode == "both" else mode])
        count = len(self.view_names)
        weights = torch.ones(count) if view_weights is None else torch.as_tensor(view_weights, dtype=torch.float32)
        if weights.shape != (count,) or not bool(torch.isfinite(weights).all()):
            raise ConfigError(
                f"view_weights has {weights.numel()} values", expected=f"{count} finite numbers, one a view"
            )
        self.view_weights = weights.to(clip.device)

    @property
    def modes(self) -> tuple[str, ...]:
        """The projections in use."""
        return ("v1", "v2") if self.mode == "both" else (self.mode,)

    @property
    def view_names(self) -> tuple[str, ...]:
        """What each view is called, V1 before V2."""
        names: list[str] = []
        for mode in self.modes:
            views = self.views if self.views is not None else {"v1": "zero-shot", "v2": "v2"}[mode]
            own = VIEW_NAMES.get(views) if isinstance(views, str) else None
            own = own or tuple(
                f"view {k}" for k in range(len(view_rotations(views) if isinstance(views, str) else views))
            )
            names.extend(f"{mode} {name}" if self.mode == "both" else name for name in own)
        return tuple(names)

    def depth_images(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch views s s"]:
        """What the encoder will see: every view at the encoder's input size, before it becomes three channels."""
        size = self.clip.image_size
        parts = []
        for mode in self.modes:
            if mode == "v1":
                images = self._perspective_depth(points)
                if self.size != size:
                    images = interpolate(images, size=(size, size), mode="bilinear", align_corners=True)
            else:
                images = project_depth(points, "v2", self.views, size=size)
            parts.append(images)
        return torch.cat(parts, 1)

    def _perspective_depth(self, points: Tensor) -> Tensor:
        if self.renderer == "builtin":
            return project_depth(points, "v1", self.views, size=self.size, distance=self.distance)
        from clipzoo_points.pytorch3d_backend import rasterise_depth

        return rasterise_depth(
            points, "zero-shot" if self.views is None else self.views, self.size, self.distance or 1.6
        )

    def features(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch views dim"]:
        """One unit row a cloud and view. Depth is not normalised with CLIP's mean and deviation, as published."""
        images = self.depth_images(points.to(self.clip.device))
        flat = images.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        rows = [self.clip.encode_image(part, resize="none", normalise=False) for part in flat.split(self.view_batch)]
        return torch.cat(rows).unflatten(0, images.shape[:2])

    def logits(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch classes"]:
        """Class scores of clouds, y up, centred in the unit sphere (see :func:`clipzoo_points.normalise_clouds`).

        With ``mode="both"`` the scores are the logarithms of averaged probabilities.

        Raises:
            DataError: if ``points`` is not ``[batch, points, 3]`` or is not finite.
        """
        return self.logits_from_features(self.features(points))

    def logits_from_features(self, features: Float[Tensor, "batch views dim"]) -> Float[Tensor, "batch classes"]:
        """Class scores from :meth:`features`, so that weights and prompts can be changed without encoding again."""
        if features.shape[1] != len(self.view_weights):
            raise DataError(
                f"features has {features.shape[1]} views", expected=f"{len(self.view_weights)} as in this PointCLIP"
            )
        if self.mode != "both":
            return view_logits(features, self.text, self.view_weights, self.clip.logit_scale)
        cut = 6
        probabilities = [
            view_logits(features[:, part], self.text, self.view_weights[part], self.clip.logit_scale).softmax(-1)
            for part in (slice(None, cut), slice(cut, None))
        ]
        return torch.stack(probabilities).mean(0).clamp(min=1e-12).log()


def view_logits(
    features: Float[Tensor, "batch views dim"],
    text: Float[Tensor, "classes dim"],
    weights: Float[Tensor, " views"],
    scale: float,
) -> Float[Tensor, "batch classes"]:
    """``scale / sqrt(V) * sum_v w_v <f_v, t_k>``: the text, repeated for each view, has norm sqrt(V).

    Args:
        features: unit rows a view.
        text: unit rows a class.
        weights: one a view.
        scale: CLIP's logit scale.
    """
    pooled = (features * weights[:, None]).sum(1)
    return scale / features.shape[1] ** 0.5 * pooled @ text.T


def adapted_logits(
    features: Float[Tensor, "batch views dim"], text: Float[Tensor, "classes dim"], scale: float
) -> Float[Tensor, "batch classes"]:
    """Scores of features that the adapter has made: one norm over all views of a cloud, not one a view."""
    batch, views, _ = features.shape
    whole = normalize(features.reshape(batch, -1), dim=-1)
    tiled = normalize(text.repeat(1, views), dim=-1)
    return scale * whole @ tiled.T
