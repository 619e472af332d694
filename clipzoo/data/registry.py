"""Datasets by name: known from metadata, opened on use, fetched when absent."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipzoo.data.downloads import Archive, ensure
from clipzoo.errors import DataError, PluginError, UsageError, closest_matches
from clipzoo.paths import data_dir

DATASET_GROUP = "clipzoo.datasets"


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset, or (``paths=True``) the reader of a user's own files of one kind.

    Args:
        name: what people type after ``--data``.
        kind: what its items are, for example ``"points"``; a plugin asks for the kind it understands.
        summary: one line.
        open: ``"package.module:function"``, called with the folder (or the user's path) and options.
        licence: terms of the data.
        homepage: where it comes from.
        archives: what is downloaded when ``probe`` is absent; none if it cannot be had without agreeing to terms.
        layout: what to put where, shown when the files are missing.
        probe: file or folder, relative to the dataset's folder, that is there when the dataset is.
        paths: this opens paths that the user gives.
        generated: made by a program: needs no folder.
    """

    name: str
    kind: str
    summary: str
    open: str
    licence: str = ""
    homepage: str = ""
    archives: tuple[Archive, ...] = ()
    layout: str = ""
    probe: str = ""
    paths: bool = False
    generated: bool = False

    def load_open(self) -> Any:
        """The function behind ``open``."""
        module, _, function = self.open.partition(":")
        return getattr(importlib.import_module(module), function)


@dataclass(frozen=True)
class DatasetRef:
    """A dataset as the metadata of its distribution tells: nothing is imported."""

    name: str
    distribution: str
    entry_point: importlib.metadata.EntryPoint = field(repr=False)

    def load(self) -> DatasetSpec:
        """Import the description.

        Raises:
            PluginError: if that fails, or gives something else than a :class:`DatasetSpec`.
        """
        try:
            spec = self.entry_point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f'the dataset "{self.name}" ({self.distribution}) cannot be imported: {type(error).__name__}: {error}'
            ) from error
        if not isinstance(spec, DatasetSpec):
            raise PluginError(f'the dataset "{self.name}" ({self.distribution}) is a {type(spec).__name__}')
        return spec


def datasets() -> Mapping[str, DatasetRef]:
    """Every dataset that an installed distribution declares, by name. The first of two alike is kept."""
    found: dict[str, DatasetRef] = {}
    for entry in importlib.metadata.entry_points(group=DATASET_GROUP):
        name = entry.dist.metadata["Name"] if entry.dist is not None else "unknown"
        found.setdefault(entry.name, DatasetRef(entry.name, name, entry))
    return MappingProxyType(dict(sorted(found.items())))


def open_dataset(kind: str, name_or_path: str, **options: Any) -> Any:
    """Open a dataset by name, or files by path.

    A name wins over a file of the same name: write ``./shapes`` for the file.

    Args:
        kind: what the items must be, for example ``"points"``.
        name_or_path: a registered name, or a path.
        **options: for the opener of the dataset.

    Raises:
        DataError: if there is neither such a name nor such a path, or the files are not what they should be.
        UsageError: if the named dataset is of another kind.
    """
    known = datasets()
    if name_or_path in known:
        named = known[name_or_path].load()
        if not named.paths:
            if named.kind != kind:
                raise UsageError(
                    f'the dataset "{name_or_path}" holds {named.kind}',
                    expected=f"a dataset of {kind}",
                    closest=_names_of(kind, known.values()),
                )
            return named.load_open()(None if named.generated else located(named), **options)
    path = Path(name_or_path).expanduser()
    broken: list[str] = []
    if path.exists():
        for spec in _specs(known.values(), broken):
            if spec.paths and spec.kind == kind:
                return spec.load_open()(path, **options)
        raise UsageError(f"no installed plugin reads {kind} from a path", details=broken)
    names = _names_of(kind, known.values(), broken)
    raise DataError(
        f'"{name_or_path}" is neither a dataset of {kind} nor a file or folder',
        closest=closest_matches(name_or_path, names),
        expected=f"{', '.join(names)}, or a path",
        details=broken,
        hint="clipzoo datasets",
    )


def _specs(references: Iterable[DatasetRef], broken: list[str]) -> Iterator[DatasetSpec]:
    """Descriptions, imported one by one as they are asked for; clipzoo's own first: others may do anything."""
    for reference in sorted(references, key=lambda known: known.distribution.partition("-")[0] != "clipzoo"):
        try:
            yield reference.load()
        except PluginError as error:
            broken.append(error.what)


def _names_of(kind: str, references: Iterable[DatasetRef], broken: list[str] | None = None) -> list[str]:
    found = _specs(references, [] if broken is None else broken)
    return sorted(spec.name for spec in found if spec.kind == kind and not spec.paths)


def located(spec: DatasetSpec) -> Path:
    """The folder of a named dataset, fetched first if it is absent and may be fetched.

    Raises:
        DataError: if it is absent and cannot be fetched; the text says what to put where.
    """
    folder = data_dir() / spec.name
    probe = folder / spec.probe
    if probe.exists() and (not probe.is_dir() or any(probe.iterdir())):
        return folder
    where = f"put it there: {spec.layout}" if spec.layout else ""
    if not spec.archives:
        raise DataError(
            f"{spec.name} is not in {folder}, and is not downloaded automatically ({spec.licence or spec.homepage})",
            details=[line for line in (where, f"from: {spec.homepage}" if spec.homepage else "") if line],
            hint="--data PATH, if it is somewhere else",
        )
    ensure(spec.archives, folder, instructions=where, name=spec.name)
    if not probe.exists():
        raise DataError(f"{spec.name} was fetched, but {probe} is not in it", details=[where])
    return folder
