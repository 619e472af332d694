"""Is it still the same person: face recognisers that an edit is held to, with weights that the user brings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.errors import WeightsError
from clipzoo_style.checkpoints import _torch_content

_SIDE = 256
_ROWS, _COLUMNS = slice(35, 223), slice(32, 220)
_FACE = 112
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Identity(Protocol):
    """Something that embeds the person on an image."""

    def embed(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit rows of images in [-1, 1] that are aligned as FFHQ is."""
        ...


class _Squeeze(nn.Module):
    """Channels weighed by a gate of their means."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(width // reduction, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class _Unit(nn.Module):
    """One bottleneck of IR-SE."""

    def __init__(self, width_in: int, width: int, stride: int, reduction: int = 16) -> None:
        super().__init__()
        if width_in == width:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            _Squeeze(width, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


def ir_se_trunk(widths: Sequence[int], units: Sequence[int]) -> tuple[nn.Sequential, nn.Sequential]:
    """The stem and the body of IR-SE: the first unit of each stage halves the image."""
    stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0]))
    body, before = [], widths[0]
    for width, count in zip(widths, units, strict=True):
        body += [_Unit(before if index == 0 else width, width, 2 if index == 0 else 1) for index in range(count)]
        before = width
    return stem, nn.Sequential(*body)


class IRSE50(nn.Module):
    """ArcFace's IR-SE50 (Deng et al. 2019), with the names of ``model_ir_se50.pth``.

    Args:
        widths: of the four stages.
        units: in each stage.
        dim: of the embedding.

    >>> IRSE50((16, 16, 16, 16), (1, 1, 1, 1), 8).eval().embed(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 8])
    """

    def __init__(
        self, widths: Sequence[int] = (64, 128, 256, 512), units: Sequence[int] = (3, 4, 14, 3), dim: int = 512
    ) -> None:
        """Random weights."""
        super().__init__()
        self.input_layer, self.body = ir_se_trunk(widths, units)
        last = widths[-1]
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last), nn.Dropout(0.6), nn.Flatten(), nn.Linear(last * 49, dim), nn.BatchNorm1d(dim)
        )

    def forward(self, faces: Float[Tensor, "batch 3 112 112"]) -> Float[Tensor, "batch dim"]:
        """Unit rows of faces in [-1, 1]."""
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)

    def embed(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit rows of FFHQ-aligned images in [-1, 1]."""
        return self(face_crops(images))


class MobileFaceNet(nn.Module):
    """MobileFaceNet (Chen et al. 2018), one million weights, with the names of foamliu's checkpoint.

    >>> MobileFaceNet().eval().embed(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 128])
    """

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.conv1 = _convolution(3, 64, 3, stride=2)
        self.dw_conv = _Separable(64, 64)
        blocks, before = [], 64
        for expansion, width, count, stride in (
            (2, 64, 5, 2),
            (4, 128, 1, 2),
            (2, 128, 6, 1),
            (4, 128, 1, 2),
            (2, 128, 2, 1),
        ):
            for index in range(count):
                blocks.append(_Inverted(before, width, stride if index == 0 else 1, expansion))
                before = width
        self.features = nn.Sequential(*blocks)
        self.conv2 = _convolution(128, 512, 1)
        self.gdconv = nn.Sequential(
            OrderedDict(depthwise=nn.Conv2d(512, 512, 7, groups=512, bias=False), bn=nn.BatchNorm2d(512))
        )
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, faces: Float[Tensor, "batch 3 112 112"]) -> Float[Tensor, "batch 128"]:
        """Unit rows of faces that are normalised with the mean and deviation of ImageNet."""
        x = self.conv2(self.features(self.dw_conv(self.conv1(faces))))
        return F.normalize(self.bn(self.conv3(self.gdconv(x))).flatten(1), dim=1)

    def embed(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 128"]:
        """Unit rows of FFHQ-aligned images in [-1, 1]."""
        mean, std = (images.new_tensor(part)[:, None, None] for part in (_IMAGENET_MEAN, _IMAGENET_STD))
        return self((face_crops(images) / 2 + 0.5 - mean) / std)


def _convolution(width_in: int, width: int, side: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, side, stride, side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    )


class _Separable(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width_in, width_in, 3, padding=1, groups=width_in, bias=False)
        self.pointwise = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width_in), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x))))))


class _Inverted(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width_in * expansion
        self.adds = stride == 1 and width_in == width
        self.conv = nn.Sequential(
            _convolution(width_in, hidden, 1),
            _convolution(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


def face_crops(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 112 112"]:
    """The face of an FFHQ-aligned image: 256 px, rows 35 to 223, columns 32 to 220, averaged to 112 px."""
    if images.shape[-2] != _SIDE:
        images = F.adaptive_avg_pool2d(images, (_SIDE, _SIDE))
    return F.adaptive_avg_pool2d(images[..., _ROWS, _COLUMNS], (_FACE, _FACE))


def identity_loss(
    recogniser: Identity,
    edited: Float[Tensor, "batch 3 height width"],
    original: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, ""]:
    r"""One minus the cosine of the two persons, averaged (StyleCLIP, eq. 2); no gradient reaches the original.

    It means something for FFHQ-aligned faces alone: see :mod:`clipzoo_style.alignment`.
    """
    with torch.no_grad():
        person = recogniser.embed(original)
    return 1 - (recogniser.embed(edited) * person).sum(1).mean()


def load_identity(path: str | Path, device: str | torch.device = "cpu") -> IRSE50 | MobileFaceNet:
    """A face recogniser from ``model_ir_se50.pth`` or ``mobilefacenet.pt``, whichever its keys are of.

    Raises:
        WeightsError: if it is neither.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no file {path}", expected="model_ir_se50.pth or mobilefacenet.pt")
    state = _torch_content(path)
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} holds a {type(state).__name__}", expected="a state dict")
    network: IRSE50 | MobileFaceNet = IRSE50() if "input_layer.0.weight" in state else MobileFaceNet()
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is no IR-SE50 and no MobileFaceNet: {text}") from error
    return network.to(device).eval().requires_grad_(False)
