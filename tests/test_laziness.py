"""Listing and importing stay light: the heavy modules are those that a command really needs."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "hydra", "omegaconf", "PIL", "open_clip", "timm", "kornia", "trimesh", "h5py")


def loaded(code: str) -> set[str]:
    program = f"import sys, json\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import clipzoo",
        "import clipzoo; clipzoo.plugins(); clipzoo.Plugin; clipzoo.errors; dir(clipzoo)",
        "from clipzoo.cli import main\ntry: main(['list'])\nexcept SystemExit: pass",
        "from clipzoo.cli import main\ntry: main(['list', '--check'])\nexcept SystemExit: pass",
        "from clipzoo.data.registry import datasets\nfor r in datasets().values(): r.load()",
        "import clipzoo_points, clipzoo_points.plugin",
    ],
    ids=["import", "names", "list", "list --check", "datasets", "plugin"],
)
def test_stays_light(code: str) -> None:
    assert loaded(code) == set()


def test_bad_data_is_found_without_torch(tmp_path) -> None:
    (tmp_path / "a.off").write_text("OFF\n1000000000000 0 0\n")
    code = (
        "from clipzoo.cli import main\n"
        f"try: main(['run', 'pointclip', '--data', {str(tmp_path / 'a.off')!r}, 'names=a,b', 'out={tmp_path}'])\n"
        "except SystemExit as stop: assert stop.code == 4, stop.code\n"
    )
    assert not loaded(code) & {"torch", "open_clip"}


def test_public_names_exist() -> None:
    import clipzoo

    for name in clipzoo.__all__:
        assert getattr(clipzoo, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = clipzoo.nonsense
