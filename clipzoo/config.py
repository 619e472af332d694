"""From what people type to checked settings. The only file that touches Hydra."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import math
import re
import threading
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clipzoo.errors import ConfigError, PluginError, closest_matches
from clipzoo.plugin import Plugin, Settings

RECIPE_KEY = "recipe"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_HYDRA = threading.Lock()  # its store and its initialisation belong to the process


@dataclass(frozen=True)
class Composed:
    """Settings that are complete and checked.

    Args:
        settings: an instance of the plugin's settings class.
        sources: field to ``"default"``, ``"recipe NAME"`` or ``"command line"``.
        recipe: the recipe that was named, or None.
    """

    settings: Settings
    sources: Mapping[str, str]
    recipe: str | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """The settings as a dict of plain values, fit for YAML."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self.settings).items()}


def compose(plugin: Plugin, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Composed:
    """Settings of ``plugin`` from its defaults, then a recipe, then what the user gave.

    Args:
        plugin: whose settings.
        overrides: ``"key=value"`` texts in Hydra's grammar (a field of type str takes any text as it is), or a
            mapping of Python values; the key ``recipe`` selects a recipe of the plugin.

    Raises:
        ConfigError: if a key is unknown, a value has the wrong type or is out of its range, or a recipe does not
            exist; the text says what was expected.
    """
    fields = {field.name: field for field in dataclasses.fields(plugin.settings)}
    hints = typing.get_type_hints(plugin.settings)
    if isinstance(overrides, Mapping):
        given = dict(overrides)
    else:
        given = dict(_parse(plugin, text, fields, hints) for text in overrides)
    recipe = given.pop(RECIPE_KEY, None)
    values: dict[str, Any] = {}
    sources = dict.fromkeys(fields, "default")
    if recipe is not None:
        for key, value in _recipe(plugin, str(recipe)).items():
            _known(plugin, key, fields, where=f"recipe {recipe}: ")
            values[key], sources[key] = value, f"recipe {recipe}"
    for key, value in given.items():
        _known(plugin, key, fields)
        values[key], sources[key] = value, "command line"
    for key, value in values.items():
        _check_plain(key, value)
    settings = _merge(plugin, values)
    for name, field in fields.items():
        _check_range(plugin, name, getattr(settings, name), field.metadata)
    return Composed(settings, sources, None if recipe is None else str(recipe))


def recipes(plugin: Plugin) -> dict[str, str]:
    """Names of the plugin's recipes and the comment that each begins with."""
    found = {}
    for name, text in _recipe_files(plugin).items():
        lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
        found[name] = " ".join(lines)
    return found


def fields_of(plugin: Plugin) -> list[tuple[str, str, Any, Mapping[str, Any]]]:
    """(name, type, default, metadata) of every setting, the plugin's own first."""
    hints = typing.get_type_hints(plugin.settings)
    shared = {field.name for field in dataclasses.fields(Settings)}
    rows = []
    for field in dataclasses.fields(plugin.settings):
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
        rows.append((field.name, _type_name(hints[field.name]), default, field.metadata))
    return sorted(rows, key=lambda row: row[0] in shared)


def _parse(plugin: Plugin, text: str, fields: Mapping[str, Any], hints: Mapping[str, Any]) -> tuple[str, Any]:
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not _NAME.match(key):
        raise ConfigError(
            f'"{text}" is no setting',
            expected="key=value, or --key value",
            hint=f"clipzoo config {plugin.name}",
        )
    if key == RECIPE_KEY:
        return key, raw
    _known(plugin, key, fields)
    kind = hints[key]
    if _is_text(kind) and not (type(None) in typing.get_args(kind) and raw in ("null", "none", "None")):
        return key, raw  # any text: paths hold what a grammar would trip over
    if _is_list(kind) and not raw.lstrip().startswith("["):
        raw = _as_list(raw, kind)
    try:
        override = OverridesParser.create().parse_override(f"{key}={raw}")
        if override.is_sweep_override():
            raise ConfigError(f"{key}={raw} names several values", expected=_type_name(kind))
        return key, override.value()
    except HydraException as error:
        raise ConfigError(
            f"{key}={raw}: the value cannot be read", expected=_type_name(kind), hint=f"clipzoo config {plugin.name}"
        ) from error


def _as_list(raw: str, kind: Any) -> str:
    parts = [part.strip() for part in raw.split(",") if part.strip()]
    if typing.get_args(kind)[0] is str:
        return json.dumps(parts, ensure_ascii=False)
    return f"[{','.join(parts)}]"


def _known(plugin: Plugin, key: str, fields: Mapping[str, Any], where: str = "") -> None:
    if key not in fields:
        raise ConfigError(
            f'{where}{plugin.name} has no setting "{key}"',
            closest=closest_matches(key, [*fields, RECIPE_KEY]),
            hint=f"clipzoo config {plugin.name}",
        )


def _check_plain(key: str, value: Any) -> None:
    """Refuse what would make a configuration run code or read the environment."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if str(name) == "_target_":
                raise ConfigError(f"{key} has a _target_", expected="plain values: clipzoo makes no objects from them")
            _check_plain(key, part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_plain(key, part)


def _merge(plugin: Plugin, values: Mapping[str, Any]) -> Settings:
    """The settings class with ``values``, checked by Hydra's typed schema, one value at a time for a clear error."""
    hints = typing.get_type_hints(plugin.settings)
    node = _defaults(plugin)
    for key, value in values.items():
        try:
            if not _holds_text(hints[key]) and _stands_for_another(value):
                raise OmegaConfBaseException(f"{value} is no value")
            # A text with ${...} stays what it is: interpolation would read other settings or the environment.
            node[key] = _escaped(value)
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"{key}={_shown(value)} has the wrong type",
                expected=_type_name(hints[key]),
                hint=f"clipzoo config {plugin.name}",
            ) from error
    try:
        plain = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"a setting cannot be read: {text}", hint=f"clipzoo config {plugin.name}") from error
    assert isinstance(plain, dict)
    return plugin.settings(**{str(key): _typed(value, hints[str(key)]) for key, value in plain.items()})


def _defaults(plugin: Plugin) -> Any:
    """The plugin's schema, composed by Hydra; of Hydra's global state nothing is left changed."""
    name = f"clipzoo_{plugin.name}.yaml"
    with _HYDRA:
        store, before = ConfigStore.instance(), GlobalHydra.instance().hydra
        try:
            store.store(name=name, node=_schema(plugin))
            GlobalHydra.instance().clear()
            with (
                importlib.resources.as_file(importlib.resources.files("clipzoo") / "assets") as folder,
                initialize_config_dir(str(folder.resolve()), version_base="1.3"),
            ):
                return hydra_compose(name.removesuffix(".yaml"))
        except (OmegaConfBaseException, HydraException) as error:
            raise PluginError(
                f'the settings of plugin "{plugin.name}" cannot be read: {str(error).splitlines()[0]}',
                expected="fields of text, number, bool, lists or dicts of them; option(choices=...) for a closed set",
            ) from error
        finally:
            GlobalHydra.instance().clear()
            if before is not None:
                GlobalHydra.instance().hydra = before
            store.repo.pop(name, None)


def _schema(plugin: Plugin) -> type:
    """The settings class without its frozenness, which Hydra would take for a read-only configuration."""
    hints = typing.get_type_hints(plugin.settings)
    rows = []
    for field in dataclasses.fields(plugin.settings):
        if field.default is not dataclasses.MISSING:
            default = dataclasses.field(default=field.default)
        else:
            default = dataclasses.field(default_factory=field.default_factory)  # type: ignore[arg-type]
        rows.append((field.name, hints[field.name], default))
    return dataclasses.make_dataclass(plugin.settings.__name__, rows)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # backslashes before it would escape the escape
    if isinstance(value, Mapping):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(part) for part in value]
    if hasattr(value, "__fspath__"):
        return _escaped(str(value))
    # Numbers and vectors of numpy and torch: from Python code they come as often as plain ones.
    return value.tolist() if hasattr(value, "tolist") else value


def _stands_for_another(value: Any) -> bool:
    """Whether OmegaConf would take the text for a value that comes later: it would skip the check of the type."""
    if isinstance(value, list | tuple):
        return any(_stands_for_another(part) for part in value)
    return isinstance(value, str) and (value == "???" or "${" in value)


def _typed(value: Any, kind: Any) -> Any:
    return tuple(value) if typing.get_origin(kind) is tuple and value is not None else value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value


def _check_range(plugin: Plugin, name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    choices = metadata.get("choices") or ()
    hint = f"clipzoo config {plugin.name}"
    for part in value if isinstance(value, list) else [value]:
        if part is None:
            continue
        if choices and part not in choices:
            raise ConfigError(
                f"{name}={_shown(part)} is no choice",
                closest=closest_matches(str(part), [str(choice) for choice in choices]),
                expected=" or ".join(str(choice) for choice in choices),
                hint=hint,
            )
        if isinstance(part, float) and not math.isfinite(part):
            raise ConfigError(f"{name}={part} is no finite number", expected="a finite number", hint=hint)
        low, high = metadata.get("minimum"), metadata.get("maximum")
        if (low is not None and part < low) or (high is not None and part > high):
            span = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
            raise ConfigError(f"{name}={part} is out of range", expected=span, hint=hint)


def _recipe_files(plugin: Plugin) -> dict[str, str]:
    if plugin.recipes is None:
        return {}
    folder = importlib.resources.files(plugin.recipes)
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def _recipe(plugin: Plugin, name: str) -> dict[str, Any]:
    files = _recipe_files(plugin)
    if name not in files:
        raise ConfigError(
            f'{plugin.name} has no recipe "{name}"',
            closest=closest_matches(name, files),
            expected=f"one of {', '.join(files)}" if files else "no recipe: this plugin has none",
            hint=f"clipzoo info {plugin.name}",
        )
    try:
        values = OmegaConf.to_container(OmegaConf.create(files[name]), resolve=False)
    except Exception as error:  # the errors of the YAML reader and of OmegaConf share no base
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"the recipe {name} of {plugin.name} cannot be read: {text}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {name} of {plugin.name} is no mapping", expected="key: value lines")
    return {str(key): value for key, value in values.items()}


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is list


def _is_text(kind: Any) -> bool:
    """Whether a field holds one text or path, or none."""
    parts = set(typing.get_args(kind)) - {type(None)} if _is_union(kind) else {kind}
    return bool(parts) and parts <= {str, Path}


def _holds_text(kind: Any) -> bool:
    """Whether a text may stand anywhere in a value of this type."""
    return kind in (str, Path, Any) or any(_holds_text(part) for part in typing.get_args(kind))


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


_TYPE_NAMES = {
    str: "text",
    Path: "a path",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list[str]: "a list of texts",
    list[float]: "a list of numbers",
    list[int]: "a list of whole numbers",
}


def _type_name(kind: Any) -> str:
    if _is_union(kind):
        return " or ".join(_type_name(part) for part in typing.get_args(kind))
    return _TYPE_NAMES.get(kind, str(kind))


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
