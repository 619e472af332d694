"""Training on images with captions, from files to a report."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipzoo import Context, Result, Table
from clipzoo.errors import DataError
from clipzoo.losses.gather import world_size
from clipzoo_train.accumulation import backward
from clipzoo_train.augmentation import PRESETS
from clipzoo_train.captions import CaptionData, CaptionedImage, repeated_captions
from clipzoo_train.checkpoints import save_pair
from clipzoo_train.curves import draw_curves
from clipzoo_train.evaluation import encode_gallery, retrieval_row, zeroshot_accuracy
from clipzoo_train.feeding import Feeder, Holes
from clipzoo_train.loop import Loop, LoopSettings, parameter_groups
from clipzoo_train.objectives import Batch, Extra, Objective, make_objective
from clipzoo_train.pair import Pair, build_pair, load_weights
from clipzoo_train.pixel_bank import PixelBank
from clipzoo_train.plugin import TrainSettings
from clipzoo_train.processes import is_first, share_weights, told_by_first
from clipzoo_train.splitting import Split, split_images
from clipzoo_train.token_dropping import install_token_dropping

_GALLERY = 5000
_PANELS = {
    "loss": ("loss", "chance"),
    "validation loss minus that of guessing": ("loss_minus_chance",),
    "retrieval, text to image": ("t2i_R@1", "t2i_R@5", "t2i_R@10"),
    "retrieval, image to text": ("i2t_R@1", "i2t_R@5", "i2t_R@10"),
    "zero-shot accuracy": ("zeroshot",),
}


@dataclass(frozen=True)
class _Parts:
    """The images of a run, checked and ready to be read."""

    split: Split
    train: PixelBank
    gallery: PixelBank
    test: PixelBank


def train_on_captions(settings: TrainSettings, context: Context) -> Result:
    """Train, choose the best epoch, measure on images that were held out, write the towers."""
    data = _data(settings, context)
    device = context.device
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        pair = _pair(settings)
        parts = _parts(settings, context, data, pair)
        return _Training(settings, context, data, pair.to(device), parts).run()


def _data(settings: TrainSettings, context: Context) -> CaptionData:
    options: dict[str, Any] = {"images": settings.images}
    if settings.limit and settings.data == "toy-captions":
        options["count"] = settings.limit
    data = context.dataset("captions", **options).first(settings.limit)
    for kind, keys in data.problems.items():
        context.note(f"{len(keys)} x {kind}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}")
    if len(data) < 2:
        raise DataError(
            f"{data.name} holds one image with captions ({data.images[0].key})",
            expected="two images at least: an image is learned by what is not said of it",
        )
    shared = repeated_captions(data)
    if shared:
        context.note(
            f"{shared} captions are said of several images; as negatives they are wrong"
            + ("" if settings.loss == "multi-positive" else " (the loss takes them as such)")
        )
    return data


def _pair(settings: TrainSettings) -> Pair:
    pair = build_pair(
        settings.model,
        image_tower=settings.image_tower,
        text_tower=settings.text_tower,
        pretrained=settings.pretrained,
        head=settings.head,
        image_dropout=settings.image_dropout,
        text_dropout=settings.text_dropout,
        embed_dim=settings.embed_dim,
        image_size=settings.image_size,
        max_words=settings.max_words,
        freeze=settings.freeze,
        sigmoid=settings.loss == "siglip",
    )
    if settings.augment == "blog":
        pair.fit_images("squash")
    if settings.checkpointing:
        pair.model.set_grad_checkpointing()  # type: ignore[operator]
    return pair


def _parts(settings: TrainSettings, context: Context, data: CaptionData, pair: Pair) -> _Parts:
    size = pair.preprocessing.size
    side = round(size * PRESETS[settings.augment].margin)
    left = int(settings.cache_gb * 2**30)

    def bank(images: tuple[CaptionedImage, ...], square: int, exact: bool) -> PixelBank:
        nonlocal left
        made = PixelBank(images, square, pair.preprocessing if exact else None, left, settings.workers)
        left -= len(images) * square * square * 3 if made.kept else 0
        return made

    split = split_images(data, settings.split, settings.val_share, settings.test_share, settings.seed)
    if settings.split != "none" and not split.test:
        raise DataError(
            f"nothing of {data.name}'s {len(data)} images is held out", hint="a larger test_share, or split=none"
        )
    used = {image.key: image for part in (split.train, split.val, split.test) for image in part}
    # Without crops an image is trained on exactly as it will be measured.
    whole = bank(tuple(used.values()), side, PRESETS[settings.augment].area is None)
    broken = {whole.images[row].key: error for row, error in whole.check().items()}
    for key, error in broken.items():
        context.failed(key, error)
    if len(broken) > settings.max_failed * len(used):
        raise DataError(
            f"{len(broken)} of {len(used)} images cannot be read",
            expected=f"at most {settings.max_failed:.0%}",
            details=[error.what for error in list(broken.values())[:2]],
            hint="mend them, or max_failed=0.5",
        )
    if broken:
        context.note(f"{len(broken)} images cannot be read and are left out: {', '.join(list(broken)[:3])}")
    sound = [tuple(i for i in part if i.key not in broken) for part in (split.train, split.val, split.test)]
    split = replace(split, train=sound[0], val=sound[1], test=sound[2])
    if len(split.train) < 2:
        raise DataError(f"{len(split.train)} images are left to train on", expected="two at least")
    place = {image.key: row for row, image in enumerate(whole.images)}
    train = whole.view([place[image.key] for image in split.train])
    measured = split.test or split.train[:_GALLERY]
    test = bank(measured, size, True)
    gallery = test if not split.val or split.val == split.test else bank(split.val[:_GALLERY], size, True)
    return _Parts(split, train, gallery, test)


class _Training:
    """One training run over captions."""

    def __init__(self, settings: TrainSettings, context: Context, data: CaptionData, pair: Pair, parts: _Parts) -> None:
        self.settings, self.context, self.data, self.pair, self.parts = settings, context, data, pair, parts
        self.device = context.device
        # Every process reads the saved state of the first; its folder is told here, once, to all.
        self.folder = Path(told_by_first(str(context.folder)) if is_first() else context.folder)
        self.prompt = settings.prompt or "{}"
        self._say_prompt()
        images = self.parts.split.train
        sentences = list(dict.fromkeys(caption for image in images for caption in image.captions))
        every = [
            caption for part in (self.parts.gallery, self.parts.test) for i in part.images for caption in i.captions
        ]
        pair.cut_vocabulary([*sentences, *every])
        self.dropping = None
        if settings.mask == "tokens":
            self.dropping = install_token_dropping(pair.model.visual, settings.mask_share)
        if settings.compile:
            pair.model.visual.compile()  # type: ignore[union-attr, operator]
        share_weights(pair)
        numbers = {caption: row for row, caption in enumerate(sentences)}
        self.feeder = self._feeder(images, sentences, numbers)
        dim = int(pair.config["model_cfg"]["embed_dim"])
        teacher = None
        if settings.teacher:
            from clipzoo.encoders import load_clip

            teacher = load_clip(settings.teacher, device=self.device)
        self.objective: Objective = make_objective(
            settings.loss,
            pair,
            dim=dim,
            temperature=settings.temperature,
            queue_size=settings.queue_size,
            momentum=settings.momentum,
            teacher=teacher,
            distil_weight=settings.distil_weight,
            sentences=sentences,
        ).to(self.device)
        self.extra = Extra()
        self.steps = settings.steps or settings.epochs * self.feeder.epoch_steps
        self.unmasked_from = round(self.steps * (1 - settings.unmasked_share))
        self.feeder.unmasked_from = self.unmasked_from
        self.zeroshot = context.dataset("images", settings.zeroshot) if settings.zeroshot else None

    def _say_prompt(self) -> None:
        """Put the prompt around every caption."""
        if self.prompt == "{}":
            return
        told: dict[str, CaptionedImage] = {}

        def said(images: Any) -> tuple[CaptionedImage, ...]:
            for image in images:
                if image.key not in told:
                    words = tuple(self.prompt.replace("{}", caption) for caption in image.captions)
                    told[image.key] = replace(image, captions=words)
            return tuple(told[image.key] for image in images)

        split = self.parts.split
        split = replace(split, train=said(split.train), val=said(split.val), test=said(split.test))
        for bank in (self.parts.train, self.parts.gallery, self.parts.test):
            bank.images = said(bank.images)
        self.parts = replace(self.parts, split=split)

    def _feeder(self, images: tuple[CaptionedImage, ...], sentences: list[str], numbers: dict[str, int]) -> Feeder:
        settings, pair = self.settings, self.pair
        tokens = torch.cat([pair.tokens(sentences[at : at + 4096]) for at in range(0, len(sentences), 4096)])
        if settings.freeze == "text":
            tokens = self._kept_text(tokens)
        kept = None
        if settings.freeze == "image" and settings.augment in ("none", "blog"):
            kept = self._kept_images()
            self.context.note("the image tower is frozen, and its features were computed once")
        elif settings.freeze == "image":
            self.context.note("the image tower is frozen; with augment=none its features would be computed once")
        holes = Holes(settings.mask_share, settings.mask_holes, settings.mask_size)
        feeder = Feeder(
            images,
            self.parts.train,
            tokens,
            numbers,
            batch_size=settings.train_batch,
            size=pair.preprocessing.size,
            preset=PRESETS[settings.augment],
            holes=holes if settings.mask == "pixels" else None,
            rows=settings.rows,
            seed=settings.seed,
            device=self.device,
            kept=kept,
            workers=settings.workers,
        )
        if feeder.batch_size < settings.train_batch:
            self.context.note(
                f"train_batch is {settings.train_batch}, and the data gives {feeder.batch_size} rows a batch at most"
            )
        return feeder

    @torch.no_grad()
    def _kept_text(self, tokens: Tensor) -> Tensor:
        self.pair.eval()
        found = [self.pair.text_body(part.to(self.device)) for part in tokens.split(256)]
        self.context.note("the text tower is frozen, and its features were computed once")
        return torch.cat(found)

    @torch.no_grad()
    def _kept_images(self) -> Tensor:
        self.pair.eval()
        bank, found = self.parts.train, []
        for start in range(0, len(bank), 64):
            squares = bank.read(range(start, min(start + 64, len(bank))))[0]
            found.append(self.pair.image_body(squares.to(self.device).float() / 255))
        return torch.cat(found)

    def _arithmetic(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def _attention(self) -> contextlib.AbstractContextManager:
        # The fused attention's backward pass is several times slower on a CPU at small sizes. What checkpointing
        # computes again must be computed alike: this holds for the backward pass too.
        return sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else contextlib.nullcontext()

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.pair.image_features(batch.pixels), self.pair.text_features(batch.tokens)

    def _backward(self, batch: Batch) -> Tensor:
        with self._attention():
            loss, self.extra = backward(self.objective, batch, self._encode, self.settings.accumulate, self._arithmetic)
        return loss

    def _after_step(self, batch: Batch) -> None:
        self.objective.after_step(batch, self.extra)
        self.pair.clamp_scale()

    def _before_step(self, step: int) -> None:
        if self.dropping is not None:
            self.dropping.share = self.settings.mask_share if step < self.unmasked_from else 0.0

    def _loop(self) -> Loop:
        chosen = self.settings
        rates = {"head": chosen.lr, "image": chosen.image_lr or chosen.lr, "text": chosen.text_lr or chosen.lr}
        groups = parameter_groups(
            ((name.removeprefix("model."), value) for name, value in self.pair.named_parameters()),
            Pair.side,
            rates,
            chosen.weight_decay,
            heads_only=chosen.decay_heads_only,
        )
        limits = LoopSettings(
            steps=self.steps,
            epoch_steps=self.feeder.epoch_steps,
            warmup_steps=round(chosen.warmup * self.steps),
            schedule=chosen.schedule,
            plateau_patience=chosen.plateau_patience,
            plateau_factor=chosen.plateau_factor,
            clip_norm=chosen.clip_norm,
            ema=chosen.ema,
            patience=chosen.patience,
            save_every=chosen.save_every,
        )
        identity = {
            "model": chosen.model,
            "towers": f"{chosen.image_tower} {chosen.text_tower} {chosen.head}",
            "images": len(self.parts.split.train),
            "train_batch": self.feeder.batch_size,
            "processes": world_size(),
            "loss": chosen.loss,
            "seed": chosen.seed,
        }
        return Loop(
            self.pair,
            groups,
            limits,
            self._backward,
            after_step=self._after_step,
            carried=self.objective,
            identity=identity,
        )

    def run(self) -> Result:
        """Train and measure."""
        loop = self._loop()
        best = self.folder / "training" / "best.pt"

        def after_epoch(row: dict[str, Any]) -> float | None:
            result: Any = loop.result
            return self._after_epoch(result, row)

        def better() -> None:
            result: Any = loop.result
            best.parent.mkdir(parents=True, exist_ok=True)
            torch.save(result.model.state_dict(), best.with_suffix(".part"))
            best.with_suffix(".part").replace(best)

        state = self.folder / "training" / "state.pt"
        progress = loop.run(
            self.feeder.batches,
            after_epoch,
            state=state,
            tell=self.feeder.told,
            better=better,
            before_step=self._before_step,
        )
        if not is_first():
            return Result({"steps": progress.step})
        for row in progress.rows:
            self._record(row)
        load_weights(self.pair, torch.load(best, map_location="cpu", weights_only=True), str(best))
        return self._measured(progress.rows, progress.best_epoch, progress.stopped)

    def _record(self, row: dict[str, Any]) -> None:
        key = f"epoch {row['epoch']}"
        if key not in self.context.items():
            self.context.record(key, **row)

    def _after_epoch(self, pair: Pair, row: dict[str, Any]) -> float | None:
        pair.eval()
        row["chance"] = self.objective.chance(self.feeder.batch_size)
        row["scale"] = float(self.pair.logit_scale.detach())
        row |= self._retrieval(pair, self.parts.gallery)
        if self.zeroshot is not None:
            row["zeroshot"] = zeroshot_accuracy(pair, self.zeroshot, self.settings.batch_size)
        self._tensorboard(row)
        self._record(row)
        if not self.parts.split.val:
            return None
        return float(np.mean([value for name, value in row.items() if "_R@" in name]))

    def _retrieval(self, pair: Pair, bank: PixelBank) -> dict[str, float]:
        features = encode_gallery(pair, bank.images, bank, self.settings.batch_size)
        return retrieval_row(*features, float(pair.logit_scale.detach()))

    def _tensorboard(self, row: dict[str, Any]) -> None:
        if not self.settings.tensorboard:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            from clipzoo.errors import MissingExtra

            raise MissingExtra(
                "tensorboard=true needs tensorboard", hint='pip install "clipzoo-train[tensorboard]"'
            ) from error
        with SummaryWriter(str(self.folder / "training" / "events")) as writer:
            for name, value in row.items():
                if name not in ("epoch", "step"):
                    writer.add_scalar(name, value, row["step"])

    def _measured(self, rows: list[dict[str, Any]], best_epoch: int, stopped: bool) -> Result:
        pair, settings, split = self.pair.eval(), self.settings, self.parts.split
        found = self._retrieval(pair, self.parts.test)
        where = "test" if split.test else "train"
        metrics = {f"{where}_{name}": value for name, value in found.items()}
        if self.zeroshot is not None:
            metrics["zeroshot"] = zeroshot_accuracy(pair, self.zeroshot, settings.batch_size)
        metrics |= {
            "train_loss": rows[-1]["loss"],
            "chance_loss": rows[-1]["chance"],
            "best_epoch": best_epoch,
            "train_images": len(split.train),
            "gallery_images": len(self.parts.test),
            "gallery_captions": sum(len(image.captions) for image in self.parts.test.images),
            "pairs_per_second": float(np.median([row["steps_per_second"] for row in rows])) * self.feeder.batch_size,
        }
        card = {"data": self.data.name, "loss": settings.loss, "epochs": len(rows), "seed": settings.seed}
        save_pair(pair, self.folder / "checkpoint", card)
        loader = "clipzoo_train.load_trained" if "clipzoo_train" in pair.config else "clipzoo.load_clip"
        self.context.note(f'the towers are in {self.folder / "checkpoint"}: {loader}("{self.folder / "checkpoint"}")')
        if where == "train":
            self.context.note("nothing was held out: these are numbers of memory, not of understanding")
        if stopped:
            self.context.note(f"stopped early: no better validation for {settings.patience} epochs")
        self.context.save_bytes("curves.svg", draw_curves(rows, _PANELS), "Curves")
        kinds = {kind: len(keys) for kind, keys in self.data.problems.items()}
        tables = [
            Table("epochs", _even(rows), "Epochs, measured on the validation images"),
            Table("loss", self._reading(rows, found), "The loss, and what to read it against"),
        ]
        if kinds:
            listed = [
                {"what": kind, "count": len(keys), "first": "; ".join(keys[:20])}
                for kind, keys in self.data.problems.items()
            ]
            tables.append(Table("left_out", listed, "Rows that could not be used"))
        return Result(metrics, tables, self._protocol(), ())

    def _reading(self, rows: list[dict[str, Any]], found: dict[str, float]) -> list[dict[str, Any]]:
        size = self.feeder.batch_size
        gallery = len(self.parts.test)
        return [
            {
                "what": f"training loss of the last epoch ({self.settings.loss})",
                "value": rows[-1]["loss"],
                "read against": f"{rows[-1]['chance']:.3f}, the loss of guessing in batches of {size}",
            },
            {
                "what": "CLIP's loss on the measured images, batches of 64, minus ln 64",
                "value": found["loss_minus_chance"],
                "read against": "0 for guessing; does not depend on the training batch",
            },
            {
                "what": "text to image R@1",
                "value": found["t2i_R@1"],
                "read against": f"{1 / gallery:.4f} for guessing among {gallery} images",
            },
        ]

    def _protocol(self) -> dict[str, Any]:
        chosen = self.settings
        named = (
            "on the validation images" if self.parts.split.val else "nothing held out for it: the last epoch is kept"
        )
        return {
            "split": self.parts.split.how,
            "epoch chosen by": f"mean of R@1, 5, 10 of both directions, {named}",
            "retrieval": "every caption is a query; an image finds the best of its captions; ties as guessing",
            "prompt": chosen.prompt or "captions as they are",
            "augmentation": chosen.augment,
            "mask": "none"
            if chosen.mask == "none"
            else f"{chosen.mask}, share {chosen.mask_share}; without masks from step {self.unmasked_from}",
            "rows": f"an epoch has one row for each of the {chosen.rows}",
            "processes": world_size(),
        }


def _even(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table share their columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]
