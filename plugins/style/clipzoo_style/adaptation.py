"""StyleGAN-NADA (Gal et al. 2022): a whole generator moved to another domain by two sentences."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from clipzoo.errors import ConfigError, WeightsError, closest_matches
from clipzoo.images.pixels import clip_pixels
from clipzoo.losses import directional_loss, global_loss, text_direction
from clipzoo.optim import Moment, optimise
from clipzoo_style.checkpoints import untrained
from clipzoo_style.encoding import Compat, Encoder, known_templates, seen, text_features
from clipzoo_style.latents import Latent
from clipzoo_style.stylegan2 import StyleGAN2

PHASES: dict[str, tuple[int, int | None]] = {
    "all": (0, None),
    "texture": (2, 10),
    "shape": (0, 2),
    "shape-expanded": (0, 3),
    "no-fine": (0, 10),
}
"""Which of ``convs`` a phase trains; the constant and ``conv1`` always, the mapping network and the colours never."""

_RATE = 0.002 * 0.8
_BETAS = (0.0, 0.99**0.8)


class DomainAdapter:
    r"""Trains a difference to a generator's weights; the frozen generator is the other half of the same weights.

    Minimises :math:`1 - \cos(E(G_t(w)) - E(G_f(w)), \Delta t)` (eq. 2 and 3) for codes drawn afresh each step.

    Args:
        generator: stays as it is.
        clips: one encoder or several, whose losses are summed.
        source: what the generator shows, such as "a photo".
        target: what it is to show, such as "a sketch".
        phase: which layers train, see :data:`PHASES`.
        adaptive_layers: if not 0, only so many of them at each step: those that the code would most like to change.
        adaptive_batch: codes that those are chosen by.
        batch_size: images a step.
        rate: of Adam.
        noise: ``"shared"`` gives both generators the same; ``"fresh"`` each its own, as published.
        templates: sentences around the texts; StyleCLIP's 79 if None.
        compat: ``"upstream"`` chooses layers by the published map (one off) and resizes without antialiasing.
        seed: of codes and noise.

    >>> from clipzoo_style import load_stylegan2
    >>> import clipzoo
    >>> adapter = DomainAdapter(load_stylegan2("tiny"), clipzoo.load_clip("tiny"), "a photo", "a drawing")
    >>> _ = adapter.fit(steps=1)
    >>> adapter.generator_at(0.5).size
    64
    """

    def __init__(
        self,
        generator: StyleGAN2,
        clips: Encoder | Sequence[Encoder],
        source: str,
        target: str,
        *,
        phase: str = "all",
        adaptive_layers: int = 0,
        adaptive_batch: int = 8,
        batch_size: int = 2,
        rate: float = _RATE,
        noise: Literal["shared", "fresh", "fixed"] = "shared",
        templates: Sequence[str] | None = None,
        compat: Compat = "fixed",
        seed: int = 2,
    ) -> None:
        """Compute the directions of the texts.

        Raises:
            ConfigError: if a setting is none that exists.
            DataError: if both texts mean the same to an encoder.
        """
        if phase not in PHASES:
            raise ConfigError(f'no phase "{phase}"', closest=closest_matches(phase, PHASES), expected=", ".join(PHASES))
        if noise not in ("shared", "fresh", "fixed") or batch_size < 1 or rate <= 0 or adaptive_layers < 0:
            raise ConfigError(f"noise {noise}, batch_size {batch_size}, rate {rate}, adaptive_layers {adaptive_layers}")
        self.generator, self.phase, self.noise, self.compat = generator, phase, noise, compat
        self.clips = list(clips) if isinstance(clips, Sequence) else [clips]
        self.source, self.target, self.seed = source, target, seed
        self.adaptive_layers, self.adaptive_batch = adaptive_layers, adaptive_batch
        self.batch_size, self.rate = batch_size, rate
        chosen = known_templates(templates)
        with torch.no_grad():
            sides = [(text_features(clip, source, chosen), text_features(clip, target, chosen)) for clip in self.clips]
            self.directions = [text_direction(old, new) for old, new in sides]
            self.targets = [clip.encode_text([target]).float()[0] for clip in self.clips]
        weights = dict(generator.named_parameters())
        self.delta = {name: torch.zeros_like(weights[name]) for name in trainable_names(generator, phase)}

    def fit(
        self,
        steps: int = 300,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_step: Callable[[Moment], None] | None = None,
    ) -> Mapping[str, Float[Tensor, "steps one"]]:
        """Train, and return the losses of each step.

        Args:
            steps: 150 to 600 are usual: more for a farther domain.
            checkpoint: file with the whole state, saved every 50 steps.
            resume: go on from it.
            on_step: called after each step.
        """
        draw = torch.Generator().manual_seed(self.seed)
        parameters = {name: value.detach().requires_grad_() for name, value in self.delta.items()}

        def objective(step: int) -> dict[str, Tensor]:
            moving = self._chosen(parameters, draw) if self.adaptive_layers else set(parameters)
            weights = self._weights({n: d if n in moving else d.detach() for n, d in parameters.items()})
            code = self.generator.sample(self.batch_size, seed=draw, truncation=1.0)
            noise = self._noise(self.batch_size, draw)
            with torch.no_grad():
                before = self.generator.render(code, noise)
            if self.noise == "fresh":
                noise = self._noise(self.batch_size, draw)
            after = _rendered(self.generator, weights, code, noise)
            losses = {}
            for number, (clip, direction) in enumerate(zip(self.clips, self.directions, strict=True)):
                with torch.no_grad():
                    source = self._seen(clip, before)
                losses[f"clip {number}"] = directional_loss(source, self._seen(clip, after), direction)
            return {"loss": torch.stack(list(losses.values())).sum(), **losses}

        found = optimise(
            objective,
            parameters,
            self.rate,
            steps,
            optimiser=lambda groups: torch.optim.Adam(groups, betas=_BETAS),
            evaluate_every=steps,
            checkpoint=checkpoint,
            save_every=0 if checkpoint is None else 50,
            resume=resume,
            generators={"codes": draw},
            config={"source": self.source, "target": self.target, "phase": self.phase, "noise": self.noise},
            callbacks=() if on_step is None else (on_step,),
        )
        self.delta = dict(found.last)
        return found.history

    def _seen(self, clip: Encoder, image: Tensor) -> Tensor:
        if self.compat == "upstream":
            return clip.encode_image(clip_pixels(image, "nada", size=clip.image_size, check=False), normalise=False)
        return seen(clip, image, "fixed")

    def _noise(self, batch: int, draw: torch.Generator) -> Literal["fixed"] | list[Tensor]:
        if self.noise == "fixed":
            return "fixed"
        return [one for one in self.generator._noises("fresh", batch, draw) if one is not None]

    def _weights(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = dict(self.generator.named_parameters())
        return {name: own[name] + change for name, change in delta.items()}

    def _chosen(self, delta: Mapping[str, Tensor], draw: torch.Generator) -> set[str]:
        """The weights of the layers that a step of the code towards the text would change most."""
        code = self.generator.sample(self.adaptive_batch, seed=draw, truncation=1.0)
        rows = self.generator.w_plus(code).clone().requires_grad_()
        weights = self._weights({name: change.detach() for name, change in delta.items()})
        # The runner scores the last step without gradients; this one is about the code, not the weights.
        with torch.enable_grad():
            image = _rendered(self.generator, weights, Latent("w+", rows), "fixed")
            pairs = zip(self.clips, self.targets, strict=True)
            loss = torch.stack([global_loss(self._seen(clip, image), text) for clip, text in pairs]).sum()
        (gradient,) = torch.autograd.grad(loss, rows)
        # One step of plain gradient descent: the movement is the gradient, up to a factor.
        score = gradient.abs().mean((0, 2))
        best = score.argsort(descending=True)[: self.adaptive_layers].tolist()
        layers = {layer_at(row, self.compat) for row in best}
        return {name for name in delta if name.startswith("input.") or _layer_name(name) in layers}

    def generator_at(self, strength: float = 1.0) -> StyleGAN2:
        """A generator of its own, moved by a share of the way; more than 1 goes on beyond."""
        own = self.generator
        made = untrained(
            own.size,
            style_dim=own.style_dim,
            z_dim=own.z_dim,
            mapping_layers=len(own.style) - 1,
            channels=own.channels,
            label_dim=own.label_dim,
            clamp=own.clamp,
        ).to(own.device)
        state = dict(own.state_dict())
        state |= {name: state[name] + strength * change.detach() for name, change in self.delta.items()}
        made.load_state_dict(state)
        made.w_mean.copy_(own.w_mean)
        made.dtype = own.dtype
        return made.eval().requires_grad_(False)

    def save(self, path: str | Path) -> Path:
        """Write the difference alone, with a mark of the generator it belongs to."""
        path = Path(path)
        state = {name: change.detach().cpu().contiguous() for name, change in self.delta.items()}
        told = {"base": fingerprint(self.generator), "source": self.source, "target": self.target, "phase": self.phase}
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(state, path, metadata={"adapter": json.dumps(told)})
        return path

    def load(self, path: str | Path) -> DomainAdapter:
        """Take over a difference that :meth:`save` wrote.

        Raises:
            WeightsError: if it belongs to another generator, or is damaged.
        """
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                told = json.loads((file.metadata() or {})["adapter"])
                state = {key: file.get_tensor(key) for key in file.keys()}
            base, source, target = told["base"], str(told["source"]), str(told["target"])
        except (OSError, KeyError, TypeError, ValueError, RecursionError, safetensors.SafetensorError) as error:
            raise WeightsError(f"{path} is no difference of a generator: {error}") from error
        if base != fingerprint(self.generator):
            raise WeightsError(f"{path} belongs to another generator", expected=f"one made from {self.generator.name}")
        weights = dict(self.generator.named_parameters())
        uneven = [name for name, change in state.items() if name not in weights or weights[name].shape != change.shape]
        if uneven:
            raise WeightsError(f"{path} does not fit: {uneven[0]}")
        self.delta = {name: change.to(self.generator.device) for name, change in state.items()}
        self.source, self.target = source, target
        return self


def _rendered(
    generator: StyleGAN2, weights: Mapping[str, Tensor], code: Latent, noise: Literal["fixed"] | list[Tensor]
) -> Tensor:
    return functional_call(_Rendering(generator), {f"generator.{n}": v for n, v in weights.items()}, (code, noise))


class _Rendering(torch.nn.Module):
    """``render`` as the forward pass that functional_call needs."""

    def __init__(self, generator: StyleGAN2) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, code: Latent, noise: Literal["fixed"] | list[Tensor]) -> Tensor:
        return self.generator.render(code, noise)


def trainable_names(generator: StyleGAN2, phase: str = "all") -> list[str]:
    """Names of the weights that a phase trains: convolutions with their styles, biases and noise strengths."""
    start, end = PHASES[phase]
    convs = {f"convs.{index}" for index in range(len(generator.convs))[start:end]}
    names = [name for name, _ in generator.named_parameters()]
    return [name for name in names if name.startswith(("input.", "conv1.")) or _layer_name(name) in convs]


def _layer_name(name: str) -> str:
    match = re.match(r"(convs\.\d+|to_rgbs\.\d+|conv1|to_rgb1)\.", name)
    return match[1] if match else ""


def layer_at(row: int, compat: Compat = "fixed") -> str:
    """The convolution that a row of W+ feeds; ``"upstream"`` is the published map, which is off by one from row 1 on.

    >>> [layer_at(row) for row in (0, 1, 2)], layer_at(2, "upstream")
    (['conv1', 'convs.0', 'convs.1'], 'convs.0')
    """
    if row == 0:
        return "conv1"
    if compat == "upstream":
        return "to_rgb1" if row == 1 else f"convs.{row - 2}"
    # The last row feeds colours alone; there is no convolution of that number, and nothing is trained for it.
    return f"convs.{row - 1}"


def fingerprint(generator: StyleGAN2) -> str:
    """Sixteen hex digits that depend on every weight of a generator."""
    digest = hashlib.sha256()
    for key, value in sorted(generator.state_dict().items()):
        digest.update(f"{key}:{tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def diversity(features: Float[Tensor, "batch dim"]) -> float:
    """One minus the mean cosine between different images: falls to 0 when a generator collapses."""
    rows = torch.nn.functional.normalize(features.float(), dim=1)
    count = len(rows)
    return float(1 - ((rows @ rows.T).sum() - count) / max(count * (count - 1), 1))
