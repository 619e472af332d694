"""DepthCLIP: the depth of every place of an image, from the sentence that says how far it is.

Zhang et al., "Can Language Understand Depth?", ACM Multimedia 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from clipzoo import FrozenCLIP
from clipzoo.encoders.dense import MODES, check_mode
from clipzoo.encoders.pixels import check_pixels, check_range, normalise_pixels
from clipzoo.encoders.towers import cell_size, tower_kind
from clipzoo.errors import ConfigError, DataError
from clipzoo.prompts import Templates
from clipzoo_depth.bins import TEMPLATE, check_bins, check_prompts, check_scene_bins

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING = ("imagenet", "encoder")
SCALE = 100.0
"""The factor on cosines, that of all CLIPs of OpenAI; divided by the temperature."""


class DepthCLIP:
    r"""Monocular depth without training: each place is classified into semantic distance bins.

    With unit features :math:`f_i` of the places, unit text features :math:`t_k` of the words and the depths :math:`d_k`
    that these stand for (Zhang et al. 2022, section 3):

    .. math:: s_{ik} = 100 \, f_i \cdot t_k / \tau, \qquad D_i = \sum_k \mathrm{softmax}_k(s_i) \, d_k

    Args:
        clip: the frozen encoder.
        bins: depths in m, ascending, or a key of :data:`clipzoo_depth.BINS`.
        prompts: one word or phrase a bin, or a key of :data:`clipzoo_depth.PROMPTS`.
        projection: how places come into the space of the sentences. ``"attnpool"``: attention pooling with every place
            as a query (the paper; the default of a ResNet). ``"even_channels"``: every second channel of ``layer4``,
            which is what the released code does; it is not the space of the sentences. A ViT takes its dense modes
            (``"sclip"``, its default, ``"naclip"``, ``"maskclip"``, ...) instead.
        templates: sentences with ``{}`` for the word; default the published one.
        temperature: of the softmax, 0.1 as published.
        flip: average the depths of an image and of its mirror image, before they are enlarged.
        preprocessing: ``"imagenet"`` (mean and deviation of ImageNet, as published) or ``"encoder"`` (its own).
        scene_bins: depths for single kinds of scene, for example :data:`clipzoo_depth.SCENE_BINS`.
        windows: see :meth:`clipzoo.FrozenCLIP.dense`; by default for ViTs, whose positions were trained for squares of
            one size (the paper has ResNets only, and sees images whole).

    Raises:
        ConfigError: if bins do not ascend, are fewer than two or not as many as the prompts, or if the encoder has no
            such projection.

    >>> import clipzoo
    >>> method = DepthCLIP(clipzoo.load_clip("tiny-rn"))
    >>> method.predict(torch.rand(1, 3, 64, 96)).shape, method.logits(torch.rand(1, 3, 64, 96)).shape
    (torch.Size([1, 1, 64, 96]), torch.Size([1, 7, 2, 3]))
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        bins: str | Sequence[float] = "paper",
        prompts: str | Sequence[str] = "paper",
        projection: str | None = None,
        *,
        templates: Templates | None = None,
        temperature: float = 0.1,
        flip: bool = True,
        preprocessing: str = "imagenet",
        scene_bins: Mapping[str, str | Sequence[float]] | None = None,
        windows: bool | None = None,
    ) -> None:
        """Encode the words."""
        if not temperature > 0:
            raise ConfigError(f"temperature={temperature}", expected="a number above 0")
        if preprocessing not in PREPROCESSING:
            raise ConfigError(f'no preprocessing called "{preprocessing}"', expected=" or ".join(PREPROCESSING))
        depths = check_bins(bins)
        self.clip = clip
        self.words = check_prompts(prompts, depths)
        self.projection = check_projection(clip, projection)
        self.templates = templates or [TEMPLATE]
        self.temperature = float(temperature)
        self.flip = flip
        self.preprocessing = preprocessing
        kind = tower_kind(clip.model.visual, clip.name)  # type: ignore[arg-type]
        self.windows = kind == "vit" if windows is None else windows
        if self.windows and self.projection == "even_channels":
            raise ConfigError(
                "windows with projection=even_channels", expected="a projection that pools, or no windows"
            )
        self.bins = torch.tensor(depths, device=clip.device)
        known = check_scene_bins(scene_bins or {}, len(depths))
        self.scene_bins = {scene: torch.tensor(own, device=clip.device) for scene, own in known.items()}
        self.text = clip.classifier(self.words, self.templates)

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of the pixels behind one place."""
        return cell_of(self.clip)

    def predict(
        self, pixels: Float[Tensor, "batch 3 height width"], scenes: Sequence[str | None] | None = None
    ) -> Float[Tensor, "batch 1 height width"]:
        """Depth of every pixel, m.

        Args:
            pixels: RGB in [0, 1], of any size of at least one cell of the encoder.
            scenes: the kind of scene of each image, for ``scene_bins``; others have the common bins.

        Raises:
            DataError: if the pixels are no such images.
        """
        return enlarge(self.coarse(pixels, scenes), (pixels.shape[-2], pixels.shape[-1]))

    def coarse(
        self, pixels: Float[Tensor, "batch 3 height width"], scenes: Sequence[str | None] | None = None
    ) -> Float[Tensor, "batch 1 rows columns"]:
        """Depth of every place, m: :meth:`predict` before it is enlarged."""
        return self.depth_of(self.logits_both(pixels), scenes)

    def logits(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch bins rows columns"]:
        """Scores of the bins at every place, the temperature included; of the images as they are, not mirrored."""
        return self.logits_of(self.features(pixels))

    def logits_both(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "ways batch bins rows cols"]:
        """Scores of the images and, where ``flip``, of their mirror images, turned back: one pass of the encoder."""
        return torch.stack([self.logits_of(features) for features in self.features_both(pixels)])

    def depth_of(
        self, logits: Float[Tensor, "ways batch bins rows columns"], scenes: Sequence[str | None] | None = None
    ) -> Float[Tensor, "batch 1 rows columns"]:
        """Depth of every place, m: the mean over ``ways`` of expected depths."""
        bins = self.bins
        if scenes is not None:
            bins = self._bins_of(scenes, logits.shape[1])
        return depth_from_logits(logits, bins).mean(0)[:, None]

    def features_both(
        self, pixels: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "ways batch rows columns dim"]:
        """Features of the images and, where ``flip``, of their mirror images, turned back."""
        if not self.flip:
            return self.features(pixels)[None]
        straight, mirrored = self.features(torch.cat([pixels, pixels.flip(-1)])).chunk(2)
        return torch.stack([straight, mirrored.flip(2)])

    def features(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch rows columns dim"]:
        """One row a place, comparable with :attr:`text`; unit rows except for ``even_channels``.

        Images whose sides are no multiples of the cell are resized to the nearest size whose sides are.
        """
        check_pixels(pixels)
        check_range(pixels)
        pixels = fit_cells(pixels.to(self.clip.device), self.clip)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD)
        if self.preprocessing == "encoder":
            mean, std = self.clip.mean, self.clip.std
        pixels = normalise_pixels(pixels, mean, std)
        if self.projection == "even_channels":
            maps = self.clip.layers(pixels, ["layer4"], normalise=False)["layer4"]
            return even_channels(maps, self.text.shape[1])
        return self.clip.dense(pixels, self.projection, normalise=False, windows=self.windows)

    def logits_of(self, features: Float[Tensor, "batch rows columns dim"]) -> Float[Tensor, "batch bins rows columns"]:
        """Scores of features: ``100 cos / temperature``."""
        return (SCALE / self.temperature * features @ self.text.T).movedim(-1, 1)

    def changed(
        self, *, bins: Tensor | None = None, text: Tensor | None = None, temperature: float | None = None
    ) -> DepthCLIP:
        """The same method with other depths, rows of words or temperature, for example learned ones."""
        other = copy.copy(self)
        other.bins = self.bins if bins is None else bins.detach().to(self.bins)
        other.text = self.text if text is None else text.detach().to(self.text)
        other.temperature = self.temperature if temperature is None else float(temperature)
        if bins is not None:
            other.scene_bins = {}
        return other

    def _bins_of(self, scenes: Sequence[str | None], count: int) -> Float[Tensor, "batch bins"]:
        if len(scenes) != count:
            raise DataError(f"{len(scenes)} scenes for {count} images", expected="one an image")
        return torch.stack([self.scene_bins.get(scene or "", self.bins) for scene in scenes])


def depth_from_logits(
    logits: Float[Tensor, "*ways batch bins rows columns"], bins: Float[Tensor, "#batch bins"]
) -> Float[Tensor, "*ways batch rows columns"]:
    """Expected depth under the softmax of the scores (Zhang et al. 2022, section 3.2).

    Args:
        logits: scores of the bins.
        bins: their depths in m, one set for all images (``[bins]``) or one an image.

    >>> depth_from_logits(torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 3.0])).item()
    2.0
    """
    weights = logits.softmax(-3)
    return (weights * bins[..., None, None].to(weights)).sum(-3)


def even_channels(maps: Float[Tensor, "batch channels rows columns"], dim: int) -> Float[Tensor, "batch rows cols dim"]:
    """Places as the released code has them: unit columns of ``layer4``, thinned to ``dim`` channels.

    Of the 2048 channels of an RN50 the even ones stay (a nearest-neighbour resize of the channel axis to one half). The
    rows are not normalised again. For other widths every ``channels / dim``-th stays.

    Raises:
        ConfigError: if ``dim`` does not divide the channels.
    """
    channels = maps.shape[1]
    if channels % dim:
        raise ConfigError(
            f"even_channels of {channels} channels for sentences of {dim} dimensions",
            expected="an encoder whose layer4 is a multiple as wide, such as RN50",
            hint="projection=attnpool",
        )
    return normalize(maps.movedim(1, -1), dim=-1)[..., :: channels // dim]


def enlarge(depth: Float[Tensor, "batch 1 rows columns"], size: tuple[int, int]) -> Float[Tensor, "batch 1 h w"]:
    """Depth of places as depth of pixels: bilinear, the corner places on the corner pixels, as published."""
    return interpolate(depth, size=size, mode="bilinear", align_corners=True)


def check_projection(clip: FrozenCLIP, projection: str | None) -> str:
    """The projection, or the default of this encoder.

    Raises:
        ConfigError: if it has no such projection.
    """
    kind = tower_kind(clip.model.visual, clip.name)  # type: ignore[arg-type]
    if projection == "even_channels":
        if kind != "resnet":
            raise ConfigError(
                f"{clip.name} has no layer4 for projection=even_channels: it is no ResNet",
                expected=", ".join(MODES[kind]),
                hint="model=RN50/openai",
            )
        return projection
    # With windows, as DepthCLIP sees a ViT's images, SCLIP tells toy rooms of the training split best.
    return check_mode(projection or ("sclip" if kind == "vit" else None), kind, clip.name)


def cell_of(clip: FrozenCLIP) -> tuple[int, int]:
    """Height and width of the pixels behind one place of the dense features."""
    return cell_size(clip.model.visual, tower_kind(clip.model.visual, clip.name))  # type: ignore[arg-type]


def fit_cells(
    pixels: Float[Tensor, "batch 3 height width"], clip: FrozenCLIP
) -> Float[Tensor, "batch 3 new_height new_width"]:
    """Images of the nearest size that the cells of the encoder tile; unchanged if they do already.

    Raises:
        DataError: if an image is smaller than one cell.
    """
    height, width = pixels.shape[-2:]
    tall, wide = cell_of(clip)
    if height < tall or width < wide:
        raise DataError(
            f"images of {height} x {width} px are smaller than one cell of {clip.name}",
            expected=f"at least {tall} x {wide} px",
        )
    size = (max(1, round(height / tall)) * tall, max(1, round(width / wide)) * wide)
    if tower_kind(clip.model.visual, clip.name) == "map":  # type: ignore[arg-type]
        size = (clip.image_size, clip.image_size)  # its positions are for one size only
    if size == (height, width):
        return pixels
    return interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
