"""The methods on a batch of codes: edits, pictures, numbers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from clipzoo import Context, Result, Table, load_clip
from clipzoo.errors import DataError
from clipzoo.images.sheets import captioned_sheet
from clipzoo.optim import Moment
from clipzoo_style.adaptation import DomainAdapter, diversity
from clipzoo_style.checkpoints import load_stylegan2
from clipzoo_style.directions import ChannelDirections, Sweep, build_banks, strongest_channels
from clipzoo_style.encoding import prompt_rows, seen, templates_for
from clipzoo_style.films import gif, mp4, shares
from clipzoo_style.identity import IRSE50, MobileFaceNet, load_identity
from clipzoo_style.inputs import Start, open_codes
from clipzoo_style.latent_optimisation import LatentOptimizer
from clipzoo_style.latents import Latent
from clipzoo_style.mapper import LatentMapper
from clipzoo_style.plugin import StyleCLIPSettings
from clipzoo_style.presets import PUBLISHED, TINY, bank_images, preset
from clipzoo_style.stylegan2 import StyleGAN2

_MOST_CELLS = 160
_FILMED = 6
_FRAMES = 16
_STATE = "state"


@dataclass(frozen=True)
class _Variant:
    """One edit of every code: its prompt, what was done, the codes, and the generator that shows them.

    ``part`` is the generator a share of the way, where it is the generator that was moved.
    """

    prompt: str
    label: str
    latent: Latent
    generator: StyleGAN2
    part: Callable[[float], StyleGAN2] | None = None


def edit(settings: StyleCLIPSettings, context: Context, files: Sequence[Path]) -> Result:
    """Edit the codes of a run by its method, and show and measure what changed."""
    generator = load_stylegan2(settings.generator, device=context.device)
    start = open_codes(settings, context, generator, files)
    recogniser = load_identity(settings.identity, context.device) if settings.identity else None
    if recogniser is not None:
        context.note("The identity is that of FFHQ-aligned faces; on other images its numbers mean nothing.")
    _warn_of_unknown(settings, context)
    begun = time.perf_counter()
    work = {"directions": _directions, "optimise": _optimised, "mapper": _mapped, "nada": _adapted}[settings.method]
    variants, tables = work(settings, context, generator, start, recogniser)
    seconds = time.perf_counter() - begun
    before = _pictures(generator, start.latent, settings.batch_size)
    metrics = _measure(settings, context, start, before, variants, recogniser)
    _save_codes(context, start, variants)
    _show(settings, context, generator, start, before, variants)
    metrics["edit_s"] = seconds
    return Result(metrics, [*_tables(context), *tables], _protocol(settings, context, generator, start))


def _directions(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    start: Start,
    recogniser: IRSE50 | MobileFaceNet | None,
) -> tuple[list[_Variant], list[Table]]:
    bank = _bank(settings, context, generator)
    chosen = templates_for(settings.templates, settings.model)
    variants, tables = [], []
    for number, prompt in enumerate(settings.prompt):
        found = bank.edit(
            generator,
            context.clip,
            start.latent,
            settings.neutral,
            prompt,
            alpha=settings.alpha,
            beta=settings.beta or "auto",
            keep=[(settings.neutral, text) for text in settings.keep],
            templates=chosen,
        )
        cells = [(alpha, beta) for beta in settings.beta or [None] for alpha in settings.alpha]
        for place, (alpha, beta) in enumerate(cells):
            label = f"alpha {alpha:g}" if beta is None or len(settings.beta) == 1 else f"alpha {alpha:g}, beta {beta:g}"
            rows = slice(place, None, len(cells))
            variants.append(_Variant(prompt, label, found.after[rows], generator))
        direction = bank.text_direction(context.clip, settings.neutral, prompt, chosen)
        rows = strongest_channels(bank, generator, direction)
        tables.append(Table(f"channels-{number}", rows, f"Channels that tell most of: {prompt} ({found.labels[0]})"))
    return variants, tables


def _bank(settings: StyleCLIPSettings, context: Context, generator: StyleGAN2) -> ChannelDirections:
    if settings.bank:
        return _stored_bank(settings, context)
    clips = {context.clip.name: context.clip}
    clips |= {name: load_clip(name, device=str(context.device)) for name in settings.bank_models if name not in clips}

    def progress(channels: object, total: int) -> Iterator[int]:
        yield from context.progress(channels, total=total, label="bank")  # type: ignore[arg-type]

    images = settings.bank_images or bank_images(settings.generator)
    banks = build_banks(
        generator,
        clips,
        sweep=Sweep(images=images, compat=settings.compat),  # type: ignore[arg-type]
        batch_size=settings.batch_size,
        checkpoint=_state(context) / "bank.safetensors",
        progress=progress,
    )
    for number, (name, bank) in enumerate(banks.items()):
        file = "directions.safetensors" if number == 0 else f"directions-{number}.safetensors"
        path = bank.save(_state(context) / file)
        context.save_bytes(file, path.read_bytes(), f"the bank of {name}: give it as bank= next time")
    return banks[context.clip.name]


def _stored_bank(settings: StyleCLIPSettings, context: Context) -> ChannelDirections:
    bank, clip = ChannelDirections.load(settings.bank), context.clip
    # The folders of StyleCLIP do not tell their encoder; a width is all there is to compare.
    other = bank.model != clip.name and Path(settings.bank).is_file()
    if other or bank.rows.shape[1] != clip.embed_dim:
        raise DataError(
            f"{settings.bank} was made with {bank.model or 'an encoder'} of width {bank.rows.shape[1]}",
            expected=f"one of {clip.name}, of width {clip.embed_dim}",
            hint=f"model={bank.model}" if other else "",
        )
    return bank


def _optimised(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    start: Start,
    recogniser: IRSE50 | MobileFaceNet | None,
) -> tuple[list[_Variant], list[Table]]:
    usual = preset("optimise", settings.generator)
    search = usual if settings.search == "auto" else {"published": PUBLISHED, "wide": TINY}[settings.search]["optimise"]
    optimizer = LatentOptimizer(
        generator,
        context.clip,
        steps=settings.steps or search.steps,
        rate=settings.rate or search.rate,
        l2=settings.l2 if settings.l2 >= 0 else search.l2,
        identity=recogniser,
        identity_weight=settings.identity_weight,
        space=_space(settings, start, search.space),
        neutral=settings.neutral if search.directional else "",
        templates=templates_for(settings.templates, settings.model),
        jitter=search.jitter,
        compat=settings.compat,  # type: ignore[arg-type]
        batch_size=settings.batch_size,
    )
    with _Bar(context, optimizer.steps, "optimise") as tick:
        found = optimizer.edit(start.latent, settings.prompt, checkpoint=_state(context), resume=True, on_step=tick)
    many = len(settings.prompt)
    variants = [
        _Variant(prompt, f"{optimizer.steps} steps", found.after[slice(number, None, many)], generator)
        for number, prompt in enumerate(settings.prompt)
    ]
    every = max(1, len(found.history["loss"]) // 20)
    rows = [
        {"step": step, **{name: round(float(values[step].mean()), 5) for name, values in found.history.items()}}
        for step in range(0, len(found.history["loss"]), every)
    ]
    return variants, [Table("losses", rows, "Means over all edits")]


def _mapped(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    start: Start,
    recogniser: IRSE50 | MobileFaceNet | None,
) -> tuple[list[_Variant], list[Table]]:
    variants, tables = [], []
    for number, prompt in enumerate(settings.prompt):
        if settings.mapper:
            mapper = LatentMapper.load(settings.mapper).to(generator.device)
        else:
            mapper, history = _trained(settings, context, generator, recogniser, prompt, number)
            every = max(1, len(history["loss"]) // 20)
            rows = [
                {"step": step, **{name: round(float(values[step]), 5) for name, values in history.items()}}
                for step in range(0, len(history["loss"]), every)
            ]
            tables.append(Table(f"losses-{number}", rows, prompt))
        space = "s" if mapper.widths is not None else "w+"
        codes = _in_space(generator, start.latent, space)
        strength = settings.strength or mapper.strength
        moved = torch.cat([mapper.apply(codes[part], strength).codes for part in _parts(len(codes), settings)])
        variants.append(_Variant(prompt, f"strength {strength:g}", Latent(codes.space, moved), generator))
    return variants, tables


def _trained(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    recogniser: IRSE50 | MobileFaceNet | None,
    prompt: str,
    number: int,
) -> tuple[LatentMapper, dict[str, Tensor]]:
    usual = preset("mapper", settings.generator)
    space = "s" if settings.space == "s" else "w+"
    mapper = LatentMapper.for_generator(
        generator,
        space,
        parts=settings.parts,
        compat=settings.compat,
        seed=settings.seed + number,
    )
    codes = generator.sample(settings.train_codes, seed=context.generator("train"), truncation=settings.truncation)
    steps = settings.steps or usual.steps
    file = _state(context) / f"mapper-{number}-{_short(prompt)}.safetensors"
    with _Bar(context, steps, prompt) as tick:
        history = mapper.fit(
            generator,
            context.clip,
            prompt,
            _in_space(generator, codes, space),
            steps=steps,
            batch_size=settings.train_batch or usual.batch,
            rate=settings.rate or usual.rate,
            optimiser=usual.optimiser,
            decay=usual.decay,
            l2=settings.l2 if settings.l2 >= 0 else usual.l2,
            identity=recogniser,
            identity_weight=settings.identity_weight,
            seed=settings.seed,
            checkpoint=file,
            save_every=500,
            resume=file.is_file(),
            on_step=tick,
        )
    path = mapper.save(_state(context) / f"trained-{number}.safetensors")
    context.save_bytes(f"mapper-{number}.safetensors", path.read_bytes(), f"mapper of: {prompt}")
    return mapper, dict(history)


def _adapted(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    start: Start,
    recogniser: IRSE50 | MobileFaceNet | None,
) -> tuple[list[_Variant], list[Table]]:
    variants, tables = [], []
    usual = preset("nada", settings.generator)
    codes = Latent("w+", generator.w_plus(start.latent).contiguous())
    for number, prompt in enumerate(settings.prompt):
        adapter = DomainAdapter(
            generator,
            context.clip,
            settings.neutral,
            prompt,
            phase=settings.phase,
            adaptive_layers=settings.adaptive_layers,
            batch_size=settings.train_batch or usual.batch,
            rate=settings.rate or usual.rate,
            templates=templates_for(settings.templates, settings.model),
            compat=settings.compat,  # type: ignore[arg-type]
            seed=settings.seed + 2,
        )
        steps = settings.steps or usual.steps
        file = _state(context) / f"nada-{number}-{_short(prompt)}.safetensors"
        with _Bar(context, steps, prompt) as tick:
            history = adapter.fit(steps, checkpoint=file, resume=file.is_file(), on_step=tick)
        path = adapter.save(_state(context) / f"delta-{number}.safetensors")
        context.save_bytes(
            f"generator-delta-{number}.safetensors", path.read_bytes(), f"from {settings.neutral} to {prompt}"
        )
        strength = settings.strength or 1.0
        moved = adapter.generator_at(strength)
        variants.append(_Variant(prompt, f"{steps} steps", codes, moved, _partly(adapter, strength)))
        every = max(1, steps // 20)
        rows = [
            {"step": s, "loss": round(float(history["loss"][s].mean()), 5)}
            for s in range(0, len(history["loss"]), every)
        ]
        kept = [
            diversity(_features(context, _pictures(g, codes, settings.batch_size), settings))
            for g in (generator, moved)
        ]
        context.note(f"Variety in CLIP space (1 - mean cosine): {kept[0]:.3f} before, {kept[1]:.3f} after {prompt}.")
        tables.append(Table(f"losses-{number}", rows, prompt))
    return variants, tables


def _partly(adapter: DomainAdapter, strength: float) -> Callable[[float], StyleGAN2]:
    return lambda share: adapter.generator_at(share * strength)


def _space(settings: StyleCLIPSettings, start: Start, usual: str) -> str:
    if settings.space != "auto":
        return settings.space
    return "s" if start.latent.space == "s" else usual


class _Bar:
    """A progress bar that a callback moves."""

    def __init__(self, context: Context, steps: int, label: str) -> None:
        self._steps = iter(context.progress(range(steps), total=steps, label=label))

    def __enter__(self) -> Callable[[Moment], None]:
        return lambda moment: next(self._steps, None) and None

    def __exit__(self, *_: object) -> None:
        for _ in self._steps:
            pass


def _in_space(generator: StyleGAN2, latent: Latent, space: str) -> Latent:
    if space == latent.space:
        return latent
    if space == "s":
        return generator.styles(latent)
    return Latent("w+", generator.w_plus(latent).contiguous())


def _parts(count: int, settings: StyleCLIPSettings) -> list[slice]:
    return [slice(place, place + settings.batch_size) for place in range(0, count, settings.batch_size)]


@torch.no_grad()
def _pictures(generator: StyleGAN2, latent: Latent, batch_size: int) -> Tensor:
    parts = [latent[slice(place, place + batch_size)] for place in range(0, len(latent), batch_size)]
    return torch.cat([generator.synthesize(part).float().cpu() for part in parts])


@torch.no_grad()
def _features(context: Context, images: Tensor, settings: StyleCLIPSettings) -> Tensor:
    parts = images.split(settings.batch_size)
    return torch.cat([seen(context.clip, part.to(context.device) * 2 - 1, "fixed").float().cpu() for part in parts])


@torch.no_grad()
def _measure(
    settings: StyleCLIPSettings,
    context: Context,
    start: Start,
    before: Tensor,
    variants: Sequence[_Variant],
    recogniser: IRSE50 | MobileFaceNet | None,
) -> dict[str, float]:
    old = _features(context, before, settings)
    texts = prompt_rows(context.clip, settings.prompt).cpu()
    gains, moved, persons = [], [], []
    for variant in variants:
        after = _pictures(variant.generator, variant.latent, settings.batch_size)
        text = texts[settings.prompt.index(variant.prompt)]
        was, now = old @ text, _features(context, after, settings) @ text
        change = (after - before).square().mean((1, 2, 3)).sqrt()
        same = None
        if recogniser is not None:
            pairs = [recogniser.embed(one.to(context.device) * 2 - 1) for one in (before, after)]
            same = (pairs[0] * pairs[1]).sum(1).cpu()
            persons.append(same)
        for row, name in enumerate(start.names):
            fields = {"prompt": variant.prompt, "edit": variant.label}
            fields |= {"clip_before": round(float(was[row]), 5), "clip_after": round(float(now[row]), 5)}
            fields |= {"pixel_change": round(float(change[row]), 5)}
            if same is not None:
                fields["identity"] = round(float(same[row]), 4)
            context.record(f"{name} | {variant.prompt} | {variant.label}", **fields)
        if not variant.label.startswith("alpha -"):
            gains.append(now - was)
            moved.append(change)
    if not gains:
        return {"edits": float(len(variants) * len(start.names))}
    gain = torch.cat(gains)
    metrics = {
        "clip_gain": float(gain.mean()),
        "share_raised": float((gain > 0).float().mean()),
        "pixel_change": float(torch.cat(moved).mean()),
        "edits": float(len(variants) * len(start.names)),
    }
    if persons:
        metrics["identity"] = float(torch.cat(persons).mean())
    return metrics


def _show(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    start: Start,
    before: Tensor,
    variants: Sequence[_Variant],
) -> None:
    rows = min(len(start.names), max(1, _MOST_CELLS // (len(variants) + 1)))
    after = [_pictures(one.generator, one.latent[slice(0, rows)], settings.batch_size) for one in variants]
    cells = []
    for row in range(rows):
        cells.append((_picture(before[row]), start.names[row]))
        cells += [
            (_picture(images[row]), f"{one.prompt}, {one.label}") for one, images in zip(variants, after, strict=True)
        ]
    cell = 150 if before.shape[-1] <= 256 else 220
    context.save_image("sheet", captioned_sheet(cells, len(variants) + 1, cell), "each row: as it was, then each edit")
    if settings.video != "none":
        frames = _film(settings, context, generator, start, variants)
        write = {"gif": gif, "mp4": mp4}[settings.video]
        context.save_bytes(f"edits.{settings.video}", write(frames), "every edit as it grows, one after another")


def _film(
    settings: StyleCLIPSettings,
    context: Context,
    generator: StyleGAN2,
    start: Start,
    variants: Sequence[_Variant],
) -> list[Image.Image]:
    """Each edit of the first faces on the way there and back."""
    few = slice(0, _FILMED)
    frames = []
    for one in variants:
        goal = one.latent[few]
        begin = _in_space(generator, start.latent[few], goal.space)
        for share in shares(_FRAMES):
            made = generator if one.part is None else one.part(share)
            code = begin.moved(goal.codes - begin.codes, share)
            frames.append(_strip(_pictures(made, code, settings.batch_size)))
    return frames


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray((image.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy())


def _strip(images: Tensor) -> Image.Image:
    return _picture(torch.cat(list(images), 2))


def _save_codes(context: Context, start: Start, variants: Sequence[_Variant]) -> None:
    for number, variant in enumerate(variants):
        codes = variant.latent.codes.detach().cpu().contiguous()
        content = safetensors.torch.save({variant.latent.space: codes})
        context.save_bytes(f"codes-{number:02d}.safetensors", content, f"{variant.prompt}, {variant.label}")
    content = safetensors.torch.save({start.latent.space: start.latent.codes.detach().cpu().contiguous()})
    context.save_bytes("codes-before.safetensors", content, "as it was")


def _tables(context: Context) -> list[Table]:
    rows = [{"item": key, **item} for key, item in context.items().items() if "error" not in item]
    return [Table("edits", rows, "cosine with the prompt before and after")] if rows else []


def _state(context: Context) -> Path:
    folder = context.folder / _STATE
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _warn_of_unknown(settings: StyleCLIPSettings, context: Context) -> None:
    unknown = [text for text in settings.prompt if context.clip.unknown_words(text)]
    if unknown:
        context.note(f"{context.clip.name} has never met words of: {', '.join(unknown)}.")


def _protocol(settings: StyleCLIPSettings, context: Context, generator: StyleGAN2, start: Start) -> dict[str, str]:
    return {
        "method": f"{settings.method}, compat {settings.compat}",
        "generator": f"{generator.name}, {generator.size} px",
        "encoder": context.clip.name,
        "codes": start.origin,
        "templates": settings.templates,
        "clip_gain": "cosine with the prompt after the edit, minus before; measured by the encoder that made the edit",
    }
