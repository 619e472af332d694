"""The plugin contract, and the discovery of plugins from package metadata alone."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from clipzoo.catalogue import SUMMARIES
from clipzoo.errors import MissingExtra, PluginError, UsageError, closest_matches

if TYPE_CHECKING:
    import torch

    from clipzoo.encoders import FrozenCLIP

PLUGIN_GROUP = "clipzoo.plugins"


def option(
    default: Any,
    *,
    help: str,
    choices: Sequence[Any] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """One field of a plugin's settings: its default, its help text and what it may hold.

    Args:
        default: the value when nothing is given; a list or dict is copied for each instance.
        help: one line for ``clipzoo info``.
        choices: the only values allowed, if not empty.
        minimum: smallest number allowed.
        maximum: largest number allowed.

    >>> @dataclass(frozen=True)
    ... class Example(Settings):
    ...     mode: str = option("v2", help="projection", choices=("v1", "v2"))
    >>> Example().mode
    'v2'
    """
    metadata = {"help": help, "choices": tuple(choices), "minimum": minimum, "maximum": maximum}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The settings that every plugin shares; a plugin's own settings inherit from it."""

    model: str = option("tiny", help="encoder: tiny, tiny-rn, ARCHITECTURE/TAG, hf-hub:..., or a checkpoint path")
    data: str | None = option(None, help="dataset name, or a path to files of your own")
    seed: int = option(0, help="seed of every random choice of the run", minimum=0)
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, mps")
    precision: str = option("fp32", help="arithmetic of the encoder", choices=("fp32", "bf16", "fp16"))
    compile: bool = option(False, help="pass the image tower through torch.compile")
    batch_size: int = option(32, help="items a batch", minimum=1)
    out: str = option("runs", help="folder that receives the run folder")


@dataclass(frozen=True)
class Paper:
    """What a plugin implements, and under which terms it may be used.

    Args:
        title: title of the paper.
        authors: as the field cites it, for example ``"Zhang et al."``.
        year: year of publication.
        url: where to read it.
        published: numbers of the paper, name to value with its protocol in the name.
        code_licence: licence of the plugin's code.
        weights_licence: licence of the weights that the method needs, or ``"none needed"``.
        data_licence: licence of the data it is evaluated on.
    """

    title: str
    authors: str
    year: int
    url: str
    published: Mapping[str, float | str] = field(default_factory=dict)
    measured: Mapping[str, float | str] = field(default_factory=dict)
    code_licence: str = "Apache-2.0"
    weights_licence: str = "none needed"
    data_licence: str = "see the dataset"


@dataclass(frozen=True)
class Table:
    """A named table of a result: ``rows`` are dicts that share their keys, in column order."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    caption: str = ""
    kind: str = "table"
    """``"table"`` or ``"confusion"`` (first column the true class, the others counts)."""


@dataclass(frozen=True)
class Artifact:
    """A file that a run made: ``path`` relative to the run folder."""

    path: str
    caption: str = ""


@dataclass(frozen=True)
class Result:
    """What a plugin returns.

    Args:
        metrics: name to number, the headline first.
        tables: shown in the report, and written as CSV.
        protocol: how the numbers were made (prompts, split, selection, preprocessing), name to text.
        notes: sentences for the reader of the report.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Context(Protocol):
    """What a plugin may ask of its run; it never opens, prints, seeds or chooses a device itself."""

    folder: Path

    @property
    def clip(self) -> FrozenCLIP:
        """The encoder named by ``settings.model``, loaded at the first use."""
        ...

    @property
    def device(self) -> torch.device:
        """The device named by ``settings.device``."""
        ...

    def dataset(self, kind: str, name: str | None = None, **options: Any) -> Any:
        """The dataset ``name`` (default ``settings.data``) of this ``kind``, for example ``"points"``."""
        ...

    def generator(self, *names: object) -> torch.Generator:
        """A CPU generator that depends on the seed of the run and on ``names`` alone."""
        ...

    def progress(self, items: Iterable[Any], *, total: int | None = None, label: str = "") -> Iterator[Any]:
        """``items``, with a progress bar where there is a terminal."""
        ...

    def items(self) -> Mapping[str, Mapping[str, Any]]:
        """The items already recorded (by this run, or by the run that it resumes), key to fields."""
        ...

    def record(self, key: str, **fields: Any) -> None:
        """Append one finished item to ``items.jsonl``; the same key later replaces it."""
        ...

    def failed(self, key: str, error: Exception) -> None:
        """Note an item that could not be read or processed; the run goes on."""
        ...

    def save_image(self, name: str, image: Any, caption: str = "") -> Artifact:
        """Write ``artifacts/<name>.png`` from a float tensor or array [3,H,W] or [H,W] in [0,1], or a PIL image."""
        ...

    def save_bytes(self, name: str, content: bytes, caption: str = "") -> Artifact:
        """Write ``artifacts/<name>`` as it is."""
        ...

    def note(self, text: str) -> None:
        """A sentence for the terminal and for the report."""
        ...


class Run(Protocol):
    """The function that does the work of a plugin."""

    def __call__(self, settings: Any, context: Context) -> Result:
        """Run the method with ``settings`` (an instance of the plugin's settings class)."""
        ...


@dataclass(frozen=True)
class Plugin:
    """One method: light enough that importing it loads neither torch nor numpy.

    Args:
        name: what people type after ``clipzoo run``; lower case, digits and hyphens.
        summary: one line.
        settings: frozen dataclass that inherits from :class:`Settings`, every field with a default and help.
        run: ``"package.module:function"``, imported only when the plugin runs.
        paper: what it implements.
        extra: the extra that installs it (``pip install "clipzoo[extra]"``).
        demo: settings of ``clipzoo demo``: small, offline, under a minute on two cores.
        recipes: ``"package.folder"`` that holds ``<recipe>.yaml`` files, or None.
    """

    name: str
    summary: str
    settings: type[Settings]
    run: str
    paper: Paper
    extra: str | None = None
    demo: Mapping[str, Any] = field(default_factory=dict)
    recipes: str | None = None

    def load_run(self) -> Callable[[Any, Context], Result]:
        """The function behind ``run``.

        Raises:
            MissingExtra: if a distribution that it imports is not installed.
            PluginError: if its module cannot be imported, or has no such function.
        """
        module_name, _, function = self.run.partition(":")
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            if _lacks_a_distribution(error, module_name):
                raise MissingExtra(
                    f'plugin "{self.name}" needs the module "{_module(error)}", which is not installed',
                    hint=f'pip install "clipzoo[{self.extra}]"' if self.extra else f"pip install {_module(error)}",
                ) from error
            raise PluginError(f'plugin "{self.name}" cannot be imported: {_one_line(error)}') from error
        work = getattr(module, function, None)
        if not callable(work):
            raise PluginError(f'plugin "{self.name}": {module_name} has no function "{function}"')
        return cast("Callable[[Any, Context], Result]", work)


@dataclass(frozen=True)
class PluginRef:
    """An installed plugin as its metadata tells, not yet imported."""

    name: str
    distribution: str
    version: str
    summary: str
    entry_point: importlib.metadata.EntryPoint = field(repr=False)
    missing: tuple[str, ...] = ()
    """Distributions that it requires and that are not installed."""
    broken: str = ""
    """Why its metadata cannot be used; empty where it can."""

    def load(self) -> Plugin:
        """Import the plugin's description.

        Raises:
            MissingExtra: if a module that it imports is not installed.
            PluginError: if the import fails, exits, or gives something else than a :class:`Plugin`.
        """
        if self.broken:
            raise PluginError(
                f'plugin "{self.name}" ({self.distribution}) cannot be imported: {self.broken}',
                hint=f"pip install --force-reinstall {self.distribution}",
            )
        try:
            plugin = self.entry_point.load()
        # SystemExit: a script used as a module must not end the program. KeyboardInterrupt passes.
        except (Exception, SystemExit) as error:
            if _lacks_a_distribution(error, self.entry_point.value):
                raise MissingExtra(
                    f'plugin "{self.name}" ({self.distribution} {self.version}) needs the module "{_module(error)}", '
                    "which is not installed",
                    hint=f"pip install --upgrade {self.distribution}",
                ) from error
            raise PluginError(
                f'plugin "{self.name}" ({self.distribution} {self.version}) cannot be imported: {_one_line(error)}',
                hint=f"pip install --upgrade {self.distribution}, or uninstall it",
            ) from error
        if not isinstance(plugin, Plugin):
            raise PluginError(
                f'plugin "{self.name}" ({self.distribution}) is a {type(plugin).__name__}',
                expected="an instance of clipzoo.Plugin",
            )
        if not (dataclasses.is_dataclass(plugin.settings) and issubclass(plugin.settings, Settings)):
            raise PluginError(
                f'plugin "{self.name}" ({self.distribution}) has no usable settings class',
                expected="a frozen dataclass that inherits from clipzoo.Settings",
            )
        if plugin.name != self.name:
            raise PluginError(
                f'plugin "{self.name}" ({self.distribution}) calls itself "{plugin.name}"',
                expected="the name of its entry point: run folders and messages carry it",
            )
        try:
            plugin.settings()
            typing.get_type_hints(plugin.settings)
        except Exception as error:
            raise PluginError(
                f'plugin "{self.name}" ({self.distribution}) has no usable settings class: {_one_line(error)}',
                expected="a default for every field, and types that can be imported",
            ) from error
        return plugin


def plugins() -> Mapping[str, PluginRef]:
    """Every installed plugin by name, read from metadata: no plugin is imported.

    Where two distributions offer one name, neither replaces the other: both are listed under
    ``"name (distribution)"`` and :func:`find_plugin` refuses the bare name.
    """
    found: dict[str, list[PluginRef]] = {}
    for entry in entry_points(PLUGIN_GROUP):
        reference = _reference(entry)
        # An editable and an ordinary install of one distribution may both be on the path: the first wins there.
        if not any(known.distribution == reference.distribution for known in found.get(entry.name, ())):
            found.setdefault(entry.name, []).append(reference)
    listed: dict[str, PluginRef] = {}
    for name, references in sorted(found.items()):
        for reference in references:
            listed[name if len(references) == 1 else f"{name} ({reference.distribution})"] = reference
    return MappingProxyType(listed)


def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
    """The entry points of ``group`` in every distribution whose metadata can be read.

    A distribution that declares the group in a file that cannot be parsed gives one entry point with its own name and
    no value, so that it is seen and not silently absent; one that has nothing to do with the group is passed over.
    """
    try:
        return list(importlib.metadata.entry_points(group=group))
    except Exception:  # one damaged file, of any distribution at all, makes the standard function raise
        pass
    found: list[importlib.metadata.EntryPoint] = []
    for distribution in importlib.metadata.distributions():
        try:
            found.extend(distribution.entry_points.select(group=group))
        except Exception as error:
            if group in _declared(distribution, error):
                found.append(importlib.metadata.EntryPoint(_name_of(distribution), "", group))
    return found


def find_plugin(name: str) -> PluginRef:
    """The plugin called ``name``.

    Raises:
        UsageError: if none is called so, or two distributions claim the name.
        MissingExtra: if it belongs to an extra of clipzoo that is not installed.
    """
    installed = plugins()
    if name in installed:
        return installed[name]
    claims = [reference.distribution for key, reference in installed.items() if key.startswith(f"{name} (")]
    if claims:
        raise UsageError(
            f'two distributions offer a plugin called "{name}": {", ".join(claims)}',
            hint=f"pip uninstall {claims[-1]}",
        )
    from clipzoo.catalogue import KNOWN

    if name in KNOWN:
        extra = KNOWN[name]
        raise MissingExtra(f'plugin "{name}" is not installed', hint=f'pip install "clipzoo[{extra}]"')
    available = sorted(extra for plugin, extra in KNOWN.items() if plugin not in installed)
    text = f"installed: {', '.join(installed) or 'none'}"
    if available:
        text += f' · available: {", ".join(dict.fromkeys(available))} (pip install "clipzoo[{available[0]}]")'
    raise UsageError(
        f'no plugin called "{name}"',
        closest=closest_matches(name, [*installed, *KNOWN]),
        details=[text],
        hint="clipzoo list",
    )


def _reference(entry: importlib.metadata.EntryPoint) -> PluginRef:
    distribution = entry.dist
    if not entry.value:
        return PluginRef(entry.name, entry.name, "?", "", entry, broken="its entry_points.txt cannot be read")
    name = _name_of(distribution)
    try:
        meta: Any = distribution.metadata if distribution is not None else {}
        version, summary = meta.get("Version") or "?", meta.get("Summary") or ""
        if name.startswith("clipzoo"):
            summary = SUMMARIES.get(entry.name, summary)
        return PluginRef(entry.name, name, version, summary, entry, _missing_requirements(distribution))
    except Exception as error:
        return PluginRef(entry.name, name, "?", "", entry, broken=f"its METADATA cannot be read ({_one_line(error)})")


def _name_of(distribution: importlib.metadata.Distribution | None) -> str:
    """The name in the metadata, or in the name of its folder where the metadata cannot be read."""
    try:
        name = distribution.metadata["Name"] if distribution is not None else None
    except Exception:
        name = None
    folder = getattr(distribution, "_path", None)
    return name or (Path(str(folder)).name.partition("-")[0] if folder is not None else "unknown")


def _declared(distribution: importlib.metadata.Distribution, error: Exception) -> str:
    """The text of an entry_points.txt that could not be parsed, as far as it can be read."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("ascii", "replace")
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeError):
        return ""


def _lacks_a_distribution(error: BaseException, target: str) -> bool:
    """Whether an import failed for want of somebody else's module, not for a wrong name of its own or of clipzoo's."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return False
    return error.name.partition(".")[0] not in ("clipzoo", target.partition(":")[0].partition(".")[0])


def _module(error: BaseException) -> str:
    return str(getattr(error, "name", ""))


def _missing_requirements(distribution: importlib.metadata.Distribution | None) -> tuple[str, ...]:
    """Names in the metadata's unconditional requirements that no installed distribution has."""
    missing = []
    for line in (distribution.requires if distribution is not None else None) or ():
        requirement, _, marker = line.partition(";")
        if marker.strip():
            continue
        name = requirement.strip()
        for position, character in enumerate(name):
            if not (character.isalnum() or character in "-_."):
                name = name[:position]
                break
        if name and not _is_installed(name):
            missing.append(name)
    return tuple(missing)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
