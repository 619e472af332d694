"""Training of ViLD: Mask R-CNN's losses on base classes, and the distillation of a frozen CLIP."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from clipzoo import Context, Result, Table
from clipzoo.encoders.loading import read_state
from clipzoo.errors import ConfigError, DataError, RunError, WeightsError
from clipzoo_detect.annotations import DetectionData
from clipzoo_detect.network import Description, Example, ViLDNetwork, load_network, save_network
from clipzoo_detect.plugin import ViLDSettings
from clipzoo_detect.precompute import EmbeddingCache, open_embeddings
from clipzoo_detect.prompts import class_sentences, known_templates
from clipzoo_detect.results import decode_mask
from clipzoo_detect.run import base_only
from clipzoo_detect.splits import base_mask
from clipzoo_detect.vild import pixels_of

DECAYS = (0.9, 0.95, 0.975)
"""Shares of the training after which the learning rate falls to a tenth, as published."""

_RECORD_EVERY = 20
_SAVE_EVERY = 500


@dataclass(frozen=True)
class Examples(Dataset):
    """Images of a dataset as training examples, mirrored or not.

    Args:
        data: with annotations of base classes alone.
        cache: of proposal embeddings, or None.
        masks: decode masks.
        dim: width of the embeddings.
    """

    data: DetectionData
    cache: EmbeddingCache | None
    masks: bool
    dim: int

    def __getitem__(self, wanted: tuple[int, bool]) -> Example:  # type: ignore[override]
        """The example of a place, mirrored if the second item says so."""
        place, mirrored = wanted
        image = self.data.images[place]
        pixels = pixels_of(image.read())
        size = pixels.shape[-2], pixels.shape[-1]
        if image.size is not None and size != image.size:
            raise DataError(
                f"{image.key} has {size[0]} x {size[1]} px, its annotations say {image.size[0]} x {image.size[1]}",
                expected="the image that was annotated",
            )
        things = [thing for thing in image.things if not thing.crowd]
        masks = None
        if self.masks:
            decoded = [decode_mask(thing.segmentation, size, thing.box) for thing in things]
            masks = torch.from_numpy(np.stack(decoded)) if decoded else torch.zeros(0, *size, dtype=torch.bool)
        if self.cache is None:
            proposals, embeddings = torch.zeros(0, 4), torch.zeros(0, self.dim)
        else:
            proposals, embeddings = self.cache.read(place)
        example = Example(
            pixels,
            torch.from_numpy(image.boxes),
            torch.tensor(image.labels, dtype=torch.long),
            masks,
            proposals,
            embeddings,
        )
        return example.flipped() if mirrored else example

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class Batches(Sampler):
    """Which images each step learns from, and whether they are mirrored: a function of the seed and the step alone.

    Args:
        count: images.
        size: of a batch, on this process.
        first: step to begin with.
        last: step to end before.
        seed: of the order.
        rank: of this process.
        world: how many there are.
    """

    count: int
    size: int
    first: int
    last: int
    seed: int
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        """One batch a step."""
        order: np.ndarray = np.empty(0, dtype=int)
        known = -1
        for step in range(self.first, self.last):
            batch = []
            for row in range(self.size):
                place = (step * self.world + self.rank) * self.size + row
                epoch = place // self.count
                if epoch != known:
                    order, known = np.random.default_rng([self.seed, 1, epoch]).permutation(self.count), epoch
                mirrored = bool(np.random.default_rng([self.seed, 2, place]).integers(2))
                batch.append((int(order[place % self.count]), mirrored))
            yield batch

    def __len__(self) -> int:
        return self.last - self.first


def train_run(settings: ViLDSettings, context: Context, data: DetectionData) -> Result:
    """Train a detector on the base classes of ``data``; resumes from the state in the run folder."""
    if not data.annotated:
        raise DataError(f"{data.name} has no boxes to learn from", expected="annotations of COCO, LVIS or Pascal VOC")
    hidden, novel = base_only(settings, data)
    if not any(image.things for image in hidden.images):
        raise DataError(f"{data.name} has no thing of a base class")
    rank, world = _world()
    device = context.device
    if world > 1 and device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    network, description, text, cache = _prepared(settings, context, data, novel)
    network, text = network.to(device), text.to(device)
    examples = Examples(hidden, cache, settings.masks, description.dim)
    optimiser = _optimiser(settings, network)
    state = context.folder / "training.pt"
    first = _restore(state, network, optimiser, device) if rank == 0 and state.exists() else 0
    if world > 1:
        first = _shared(optimiser, first)
    loader = DataLoader(
        examples,
        batch_sampler=Batches(len(data), settings.batch_size, first, settings.steps, settings.seed, rank, world),
        num_workers=settings.workers,
        collate_fn=list,
    )
    # On several processes all begin with the weights of the first.
    model: Any = nn.parallel.DistributedDataParallel(network, find_unused_parameters=True) if world > 1 else network
    base = base_mask(len(data.classnames), novel).to(device)
    started = time.perf_counter()
    steps = enumerate(context.progress(loader, total=settings.steps - first, label="train"), start=first)
    sums: dict[str, float] = {}
    for step, batch in steps:
        losses = _step(settings, model, optimiser, [_to(one, device) for one in batch], text, base, step)
        if (step + 1) % _RECORD_EVERY == 0 or step + 1 == settings.steps:
            sums = {name: round(float(value.detach()), 5) for name, value in losses.items()}
            if not np.isfinite(list(sums.values())).all():
                raise RunError(f"the loss is {sums} at step {step}", hint="a smaller learning_rate, a longer warmup")
            context.record(f"step-{step + 1:06d}", **sums)
        if rank == 0 and ((step + 1) % _SAVE_EVERY == 0 or step + 1 == settings.steps):
            _save(state, network, optimiser, step + 1)
    took = time.perf_counter() - started
    path = context.folder / "vild.safetensors"
    if rank == 0:
        save_network(path, network, description)
        context.note(f"The detector is in {path}: stage=detect tier=2 weights={path}")
    metrics = {f"loss_{name}": value for name, value in sums.items()}
    metrics["steps"] = settings.steps
    if settings.steps > first:
        metrics["seconds_a_step"] = round(took / (settings.steps - first), 4)
    rows = [{"step": int(key[5:]), **item} for key, item in context.items().items() if key.startswith("step-")]
    every = max(1, len(rows) // 100)
    return Result(metrics, [Table("losses", rows[::every], "Losses")], _protocol(settings, description, cache))


def _prepared(
    settings: ViLDSettings, context: Context, data: DetectionData, novel: Sequence[int]
) -> tuple[ViLDNetwork, Description, Tensor, EmbeddingCache | None]:
    clip = context.clip
    cache = None
    if settings.variant in ("image", "vild", "ensemble"):
        if settings.embeddings is None:
            raise ConfigError(
                f"variant={settings.variant} distils embeddings, and embeddings names no folder",
                expected="a folder that stage=precompute wrote",
                hint="embeddings=FOLDER, or variant=text",
            )
        cache = open_embeddings(settings.embeddings, clip, [image.key for image in data.images])
    hidden = set(novel)
    description = Description(
        dim=clip.embed_dim,
        backbone=settings.backbone,
        variant=settings.variant,
        masks=settings.masks,
        classes=data.classnames,
        base=tuple(name for label, name in enumerate(data.classnames) if label not in hidden),
        encoder=clip.name,
        fingerprint=clip.fingerprint,
        steps=settings.steps,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=context.generator("weights"))))
        network = ViLDNetwork(
            clip.embed_dim,
            settings.backbone,
            settings.variant,  # type: ignore[arg-type]
            len(data.classnames),
            settings.masks,
        )
    if settings.pretrained is not None:
        _start_from(network, Path(settings.pretrained).expanduser(), context)
    sentences = class_sentences(data.classnames, known_templates(clip), data.synonyms)
    text = clip.classifier(data.classnames, sentences)
    return network.train(), description, text, cache


def _start_from(network: ViLDNetwork, path: Path, context: Context) -> None:
    """Weights of a detector of ours, or of torchvision's backbone, as far as names and shapes agree."""
    if path.suffix == ".safetensors":
        state = load_network(path)[0].state_dict()
    else:
        state = read_state(path)
    own = network.state_dict()
    # A classification ResNet-50 has the names of the backbone's body.
    state = {**state, **{f"backbone.body.{name}": value for name, value in state.items()}}
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise WeightsError(f"{path} has no weights that this network takes", expected="a ResNet-50 or a Mask R-CNN")
    network.load_state_dict(fitting, strict=False)
    context.note(f"{len(fitting)} of {len(own)} tensors begin with the values of {path.name}.")


def _optimiser(settings: ViLDSettings, network: nn.Module) -> torch.optim.Optimizer:
    """As published: weight decay on the kernels alone."""
    kernels = [weights for weights in network.parameters() if weights.requires_grad and weights.ndim > 1]
    others = [weights for weights in network.parameters() if weights.requires_grad and weights.ndim <= 1]
    groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.01)
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, weight_decay=4e-5)


def learning_rate_at(step: int, settings: ViLDSettings) -> float:
    """Linear warm-up, then tenths at the published shares of the training.

    >>> from clipzoo_detect.plugin import ViLDSettings
    >>> some = ViLDSettings(steps=1000, warmup=10, learning_rate=1.0)
    >>> [round(learning_rate_at(step, some), 4) for step in (0, 9, 500, 900, 960)]
    [0.1, 1.0, 1.0, 0.1, 0.01]
    """
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    return settings.learning_rate * warm * 0.1 ** sum(step >= share * settings.steps for share in DECAYS)


def _step(
    settings: ViLDSettings,
    model: Any,
    optimiser: torch.optim.Optimizer,
    batch: Sequence[Example],
    text: Tensor,
    base: Tensor,
    step: int,
) -> dict[str, Tensor]:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate_at(step, settings)
    devices = [text.device] if text.device.type == "cuda" else []
    # Regions are sampled by torchvision's global generator: of each step its own, so that a resumed run is the same.
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed * 1_000_003 + step)
        losses = model(batch, text, base, distillation=settings.distillation, novel=settings.novel_logits)
    total = torch.stack(list(losses.values())).sum()
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimiser.step()
    return {"total": total, **losses}


def _to(example: Example, device: torch.device) -> Example:
    masks = None if example.masks is None else example.masks.to(device)
    return Example(
        example.pixels.to(device),
        example.boxes.to(device),
        example.labels.to(device),
        masks,
        example.proposals.to(device),
        example.embeddings.to(device),
    )


def _world() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "several processes were started, and each would make a run of its own",
            expected="the module that joins them",
            hint="torchrun --nproc-per-node N -m clipzoo_detect recipe=lvis",
        )
    return 0, 1


def _shared(optimiser: torch.optim.Optimizer, first: int) -> int:
    """The state of the first process's optimiser and the step that it goes on with, on all processes."""
    import torch.distributed as distributed

    told: list[Any] = [optimiser.state_dict() if first else None, first]
    distributed.broadcast_object_list(told)
    if told[0] is not None:
        optimiser.load_state_dict(told[0])
    return int(told[1])


def _save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    part = path.with_name(f".{path.name}.part")
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, part)
    part.replace(path)


def _restore(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device) -> int:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise RunError(f"{path} cannot be read: {text}", hint="delete it to begin again") from error


def _protocol(settings: ViLDSettings, description: Description, cache: EmbeddingCache | None) -> dict[str, Any]:
    protocol = {
        "encoder": f"{description.encoder} ({description.fingerprint})",
        "variant": f"ViLD-{description.variant}, backbone {description.backbone}",
        "classes": f"{len(description.base)} base of {len(description.classes)}; the others are hidden",
        "optimiser": f"{settings.optimiser}, learning rate {settings.learning_rate:g}, warm-up {settings.warmup} steps",
        "length": f"{settings.steps} steps, batch {settings.batch_size}",
        "novel logits": settings.novel_logits,
        "selection": "the last step",
    }
    if cache is not None:
        protocol["distillation"] = (
            f"weight {settings.distillation:g}, up to {cache.meta['proposals']} proposals an image from "
            f"{cache.meta['source']}"
        )
    return protocol
