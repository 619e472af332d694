"""The catalogue, the extras and the entry points tell the same story."""

import tomllib
from pathlib import Path

from clipzoo.catalogue import EXTRAS

ROOT = Path(__file__).parents[1]


def _toml(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_extras_name_the_plugin_distributions() -> None:
    extras = dict(_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"])
    everything = extras.pop("all")
    assert extras.pop("testing")  # for authors of plugins; no plugin of its own
    assert extras.keys() == EXTRAS.keys()
    assert sorted(everything) == sorted(line for lines in extras.values() for line in lines)
    for extra, lines in extras.items():
        project = _toml(ROOT / "plugins" / extra / "pyproject.toml")["project"]
        assert lines == [f"{project['name']}=={project['version']}"]


def test_every_entry_point_is_in_the_catalogue() -> None:
    for extra, names in EXTRAS.items():
        project = _toml(ROOT / "plugins" / extra / "pyproject.toml")["project"]
        assert set(project["entry-points"]["clipzoo.plugins"]) == set(names)


def test_versions_agree() -> None:
    version = _toml(ROOT / "pyproject.toml")["project"]["version"]
    for path in (ROOT / "plugins").glob("*/pyproject.toml"):
        project = _toml(path)["project"]
        assert project["version"] == version
        assert f"clipzoo=={version}" in project["dependencies"]


def test_no_lock_file_is_tracked() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
