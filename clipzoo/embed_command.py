"""The command ``clipzoo embed``: parsing and printing, no logic."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipzoo.errors import UsageError, closest_matches

if TYPE_CHECKING:
    from clipzoo.store import Extraction

_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.*)", re.DOTALL)


class _WithSettings(click.Command):
    """A command whose options may also be written as ``key=value``, as those of ``clipzoo run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Turn ``key=value`` into ``--key value``."""
        options = {name.lstrip("-"): name for param in self.params for name in param.opts if name.startswith("--")}
        return super().parse_args(ctx, [part for word in args for part in _as_option(word, options)])


def _as_option(word: str, options: dict[str, str]) -> list[str]:
    match = _SETTING.fullmatch(word)
    if match is None or Path(word).exists():
        return [word]
    name = match.group(1).replace("_", "-")
    if name not in options:
        raise UsageError(
            f'no setting called "{match.group(1)}"',
            closest=closest_matches(name, options),
            expected=", ".join(options),
            hint="clipzoo embed --help",
        )
    return [options[name], match.group(2)]


@click.command(cls=_WithSettings)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the store.")
@click.option("--model", default="tiny", show_default=True, help="Encoder: ARCHITECTURE/TAG, hf-hub:..., a checkpoint.")
@click.option("--batch-size", type=click.IntRange(1), help="Images a batch.  [default: 256 on a GPU, 64 on the CPU]")
@click.option("--workers", type=click.IntRange(1), help="Threads that decode.  [default: one a processor, at most 16]")
@click.option("--precision", type=click.Choice(("fp32", "bf16", "fp16")), default="fp32", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many images.")
@click.option("--shard-size", type=click.IntRange(1), default=4096, show_default=True, help="Images a shard.")
@click.option(
    "--decoder",
    type=click.Choice(("pil", "pil-draft")),
    default="pil",
    show_default=True,
    help="pil-draft shrinks large JPEGs while decoding: faster, other pixels.",
)
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger images.  [default: 89 megapixels]")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def embed(
    source: Path,
    out: Path,
    model: str,
    batch_size: int | None,
    workers: int | None,
    precision: str,
    device: str,
    limit: int | None,
    shard_size: int,
    decoder: str,
    max_pixels: int | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Embed the images of SOURCE into a store; the same command goes on after an interruption.

    SOURCE is a folder, a webdataset .tar or a folder of them, a list of paths (.txt, .csv, .tsv, .parquet), or a
    folder that clip-retrieval wrote, which is converted.

    \b
    clipzoo embed photos/ --out photos.store model=ViT-B-32/openai
    clipzoo embed shards/ --out web.store model=ViT-L-14/openai precision=bf16
    """  # noqa: D301
    if debug:
        os.environ["CLIPZOO_DEBUG"] = "1"
    from clipzoo.store.clip_retrieval import import_clip_retrieval, is_clip_retrieval

    if is_clip_retrieval(source):
        store = import_clip_retrieval(source, out)
        if not quiet:
            click.echo(f"imported {len(store):,} rows of width {store.dim} from {source}")
            click.echo(f"store: {store.folder}")
        return
    from clipzoo.encoders import load_clip
    from clipzoo.images.reading import MAX_PIXELS
    from clipzoo.store.extraction import embed as extract
    from clipzoo.store.sources import source_items

    source_items(source)  # what is no source at all is found before weights are loaded
    try:
        done = extract(
            load_clip(model, device=device, precision=precision),
            source,
            out,
            batch_size=batch_size,
            workers=workers,
            shard_size=shard_size,
            limit=limit,
            decoder=decoder,
            max_pixels=max_pixels or MAX_PIXELS,
            progress=not quiet,
        )
    except KeyboardInterrupt:
        click.echo("finished shards are kept: the same command goes on from there", err=True)
        raise
    if not quiet:
        _print(done, model)


def _print(done: Extraction, model: str) -> None:
    info = done.store.info
    rate = f", {done.encoded / done.seconds:,.1f} images/s" if done.encoded else ""
    click.echo(f"{info.count:,} rows of width {info.dim}: {done.encoded:,} encoded in {done.seconds:,.1f} s{rate}")
    if done.kept:
        click.echo(f"kept: {done.kept:,} rows of an earlier call")
    for reason in done.redone:
        click.echo(f"made again: {reason}")
    if info.repeats:
        click.echo(f"repeated: {info.repeats:,} rows of images that occur more than once")
    if info.failures:
        click.echo(f"left out: {info.failures:,}, see {done.store.folder / 'failures.jsonl'}")
    if model in ("tiny", "tiny-rn"):
        click.echo(f"note: {model} never saw a photograph; for photographs name a real encoder (model=ViT-B-32/openai)")
    click.echo(f"store: {done.store.folder}")
