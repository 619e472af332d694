import subprocess
import sys

import pytest

from clipzoo.data.registry import datasets, open_dataset
from clipzoo.errors import DataError, UsageError

SPEC = """
from clipzoo.data.registry import DatasetSpec
PLUGIN = None
SPEC = DatasetSpec(name="{name}", kind="sounds", summary="noise", open="{module}:open_it", layout="waves/*.wav", probe="waves")
PATHS = DatasetSpec(name="paths", kind="sounds", summary="your own", open="{module}:open_it", paths=True)

def open_it(root, **options):
    return root, options
"""


@pytest.fixture
def sounds(install, tmp_path, monkeypatch):
    site = install("noise", SPEC)
    points = (
        "[clipzoo.datasets]\nnoise = fake_noise:SPEC\nnoise-path = fake_noise:PATHS\nbroken = surely_not_there:SPEC\n"
    )
    (site / "fake_noise-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.setenv("CLIPZOO_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "noise"


def test_names_come_from_metadata(sounds) -> None:
    assert {"noise", "noise-path", "broken", "modelnet40"} <= set(datasets())


def test_a_named_set_is_opened_where_it_lies(sounds) -> None:
    (sounds / "waves").mkdir(parents=True)
    (sounds / "waves" / "a.wav").touch()
    assert open_dataset("sounds", "noise", split="test") == (sounds, {"split": "test"})


def test_an_absent_set_says_what_to_put_where(sounds) -> None:
    with pytest.raises(DataError, match=r"waves/\*\.wav") as caught:
        open_dataset("sounds", "noise")
    assert str(sounds) in caught.value.message()


def test_an_absent_set_that_is_downloaded_says_so_offline(sounds) -> None:
    with pytest.raises(DataError, match="CLIPZOO_OFFLINE") as caught:
        open_dataset("points", "modelnet40")
    assert "shape_names" in caught.value.message() and "https://" in caught.value.message()


def test_a_path_is_opened_by_its_kind(sounds, tmp_path) -> None:
    assert open_dataset("sounds", str(tmp_path))[0] == tmp_path


def test_an_unknown_name_gives_the_closest(sounds) -> None:
    with pytest.raises(DataError, match="did you mean: noise"):
        open_dataset("sounds", "nois")


def test_another_kind_is_refused(sounds) -> None:
    with pytest.raises(UsageError, match="holds points"):
        open_dataset("sounds", "modelnet40")


def test_a_dataset_that_ends_the_process_harms_no_other(install) -> None:
    """What is named, or read by clipzoo itself, is opened before any other description is imported."""
    site = install("bad", SPEC + "\nimport os\nos._exit(66)\n")
    (site / "fake_bad-1.0.dist-info" / "entry_points.txt").write_text("[clipzoo.datasets]\naaa = fake_bad:SPEC\n")
    code = "from clipzoo.data.registry import open_dataset; print(len(open_dataset('images', 'scenes', per_class=1)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and int(done.stdout) > 0, done.stderr
