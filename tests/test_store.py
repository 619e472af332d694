import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipzoo.errors import DataError, UsageError
from clipzoo.store import EmbeddingStore, StoreInfo, export_clip_retrieval, import_clip_retrieval
from clipzoo.store.shards import COLUMNS, ShardPath, write_shard
from clipzoo.store.whole_files import sole_writer, whole_file

ORACLE = Path(__file__).parent / "oracle"
WHOLE, IMAGES = ORACLE / "clip_retrieval_layout_seed0", ORACLE / "clip_retrieval_imageonly_seed0"
EXPECTED = json.loads((ORACLE / "clip_retrieval_expected_seed0.json").read_text())


def features(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def store(tmp_path) -> EmbeddingStore:
    """Three shards of 4, 0 and 3 rows."""
    folder, values = tmp_path / "store", features(7)
    for index, (start, stop) in enumerate([(0, 4), (4, 4), (4, 7)]):
        rows = [{"key": f"k{row}", "path": f"/k{row}", "width": row, "caption": None} for row in range(start, stop)]
        table = pa.Table.from_pylist(rows, COLUMNS)
        write_shard(ShardPath(folder / "shards", index), values[start:stop], table, {"failures": [], "repeats": 0})
    StoreInfo(8, "tiny", "f", "p", "fp32", "pil", "1", "here", 4, count=7, rows=(4, 0, 3), complete=True).write(folder)
    return EmbeddingStore.open(folder)


@pytest.mark.parametrize("rows", [(0, 7), (0, 0), (7, 7), (1, 3), (3, 5), (4, 7), (0, 4)])
def test_rows_across_shards(store, rows) -> None:
    found = store.features(*rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features(7)[slice(*rows)].astype(np.float32))


def test_length_keys_columns_and_chunks(store) -> None:
    assert (len(store), store.dim, store.keys) == (7, 8, [f"k{row}" for row in range(7)])
    assert store.table(["width"]).column("width").to_pylist() == list(range(7))
    assert store.table().column_names == COLUMNS.names
    chunks = list(store.chunks(3))
    assert [start for start, _ in chunks] == [0, 3, 6]
    np.testing.assert_array_equal(np.concatenate([part for _, part in chunks]), store.features())


def test_inside_a_shard_nothing_is_copied(store) -> None:
    assert not store.stored(1, 3).flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        store.stored(1, 3)[0, 0] = 0


@pytest.mark.parametrize("rows", [(-1, 2), (3, 2), (0, 8)])
def test_rows_that_do_not_exist(store, rows) -> None:
    with pytest.raises(UsageError, match="rows"):
        store.features(*rows)


def test_unknown_column_and_no_text(store) -> None:
    with pytest.raises(DataError, match="no column colour"):
        store.table(["colour"])
    with pytest.raises(UsageError, match="no features of text"):
        store.features(of="text")


def test_a_whole_store_verifies(store) -> None:
    assert store.verify() == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["000000.npy", "000002.npy"])
def test_features_cut_in_half_are_not_opened(store, name) -> None:
    cut(store.folder / "shards" / name)
    with pytest.raises(DataError, match=f"{name} is damaged"):
        EmbeddingStore.open(store.folder)


@pytest.mark.parametrize("name", ["000000.npy", "000001.npy", "000002.parquet"])
def test_a_missing_file_is_named(store, name) -> None:
    (store.folder / "shards" / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        EmbeddingStore.open(store.folder)


@pytest.mark.parametrize("name", ["000000.npy", "000000.parquet", "000002.npy", "000002.parquet"])
def test_one_flipped_byte_is_found(store, name) -> None:
    path = store.folder / "shards" / name
    content = bytearray(path.read_bytes())
    content[-1 if name.endswith(".npy") else len(content) // 4] ^= 1
    path.write_bytes(content)
    found = store.verify()
    assert len(found) == 1 and name.split(".")[0] in found[0]


def test_a_sidecar_of_another_shard_is_found(store) -> None:
    shards = store.folder / "shards"
    shutil.copy(shards / "000002.parquet", shards / "000000.parquet")
    assert len(store.verify()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 99}', None],
    ids=["empty", "half", "list", "little", "later", "numbers"],
)
def test_a_damaged_description(store, content) -> None:
    path = store.folder / "store.json"
    if content is None:
        content = json.dumps({**json.loads(path.read_text()), "count": 9}).encode()
    path.write_bytes(content)
    with pytest.raises(DataError):
        EmbeddingStore.open(store.folder)


def test_what_is_no_store(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no store\.json"):
        EmbeddingStore.open(tmp_path)


def test_an_incomplete_store_is_opened_only_on_request(store) -> None:
    path = store.folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "complete": False, "rows": [], "count": 0}))
    with pytest.raises(DataError, match="not complete"):
        EmbeddingStore.open(store.folder)
    cut(store.folder / "shards" / "000002.parquet")
    assert EmbeddingStore.open(store.folder, incomplete=True).keys == ["k0", "k1", "k2", "k3"]


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_two_writers(tmp_path) -> None:
    with sole_writer(tmp_path):
        with pytest.raises(UsageError, match="another process"), sole_writer(tmp_path):
            pass
    with sole_writer(tmp_path):
        pass


# clip-retrieval's layout: folders that its own writer made.


def test_import_of_two_partitions_with_text(tmp_path) -> None:
    store = import_clip_retrieval(WHOLE, tmp_path / "store", encoder="ViT-B-32/openai")
    for of, folder in (("image", "img_emb"), ("text", "text_emb")):
        parts = [np.load(WHOLE / folder / f"{folder}_{number}.npy") for number in (0, 1)]
        np.testing.assert_array_equal(store.stored(of=of), np.concatenate(parts))
    assert store.info.rows == (120, 80) and store.info.encoder == "ViT-B-32/openai" and store.info.fingerprint is None
    rows = store.table().to_pylist()
    for start, name in ((0, "metadata_0"), (120, "metadata_1")):
        for row, told in enumerate(EXPECTED[f"clip_retrieval_layout_seed0/metadata/{name}.parquet"]["first"]):
            found = rows[start + row]
            assert found["key"] == found["path"] == told.pop("image_path")
            assert {key: found[key] for key in told} == told
    assert store.verify() == []


def test_import_of_images_alone_and_a_query(tmp_path) -> None:
    store = import_clip_retrieval(IMAGES, tmp_path / "store")
    assert len(store) == 200 and not store.info.has_text
    scores = store.features() @ store.features(7, 8)[0]
    assert np.argsort(-scores)[:5].tolist() == EXPECTED["query_check"]["top5"]


def test_partitions_come_in_the_order_of_their_numbers(tmp_path) -> None:
    (tmp_path / "in" / "img_emb").mkdir(parents=True)
    for number in (10, 9, 2):
        np.save(tmp_path / "in" / "img_emb" / f"img_emb_{number:02d}.npy", np.full((2, 4), number, np.float32))
    store = import_clip_retrieval(tmp_path / "in", tmp_path / "store")
    assert store.features()[:, 0].tolist() == [2, 2, 9, 9, 10, 10]
    assert store.keys == ["0", "1", "2", "3", "4", "5"]


def test_export_and_import_again(tmp_path) -> None:
    store = import_clip_retrieval(WHOLE, tmp_path / "store")
    out = export_clip_retrieval(store, tmp_path / "out")
    for path in sorted(WHOLE.rglob("*.npy")):
        np.testing.assert_array_equal(np.load(out / path.relative_to(WHOLE)), np.load(path))
    for path in sorted(WHOLE.rglob("*.parquet")):
        written = pq.read_table(out / path.relative_to(WHOLE))
        original = pq.read_table(path)
        for name in original.column_names:
            assert written.column(name).to_pylist() == original.column(name).to_pylist()
    again = import_clip_retrieval(out, tmp_path / "again")
    assert again.table().to_pylist() == store.table().to_pylist()
    with pytest.raises(UsageError, match="not empty"):
        export_clip_retrieval(store, tmp_path / "out")


def damage(folder: Path, how: str) -> None:
    array = folder / "img_emb" / "img_emb_1.npy"
    rows = np.load(array)
    if how == "cut off":
        cut(array)
    elif how == "pickle":
        np.save(array, np.array([{"a": 1}], object), allow_pickle=True)
    elif how == "integers":
        np.save(array, np.zeros((80, 64), np.int64))
    elif how == "nan":
        rows[3, 3] = np.nan
        np.save(array, rows)
    elif how == "other width":
        np.save(array, rows[:, :32])
        np.save(folder / "text_emb" / "text_emb_1.npy", rows[:, :32])
    elif how == "fewer rows":
        np.save(array, rows[:79])
    elif how == "no text":
        (folder / "text_emb" / "text_emb_1.npy").unlink()
    else:
        cut(folder / "metadata" / "metadata_1.parquet")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("cut off", "img_emb_1.npy cannot be read"),
        ("pickle", "img_emb_1.npy cannot be read"),
        ("integers", "int64"),
        ("nan", "not finite"),
        ("other width", "differ in width"),
        ("fewer rows", "80 rows"),
        ("no text", "only some have text_emb"),
        ("metadata", "metadata_1.parquet is no Parquet file"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, how, text) -> None:
    shutil.copytree(WHOLE, tmp_path / "in")
    damage(tmp_path / "in", how)
    with pytest.raises(DataError, match=text):
        import_clip_retrieval(tmp_path / "in", tmp_path / "store")


def test_import_needs_the_layout_and_a_new_folder(tmp_path) -> None:
    with pytest.raises(DataError, match="img_emb"):
        import_clip_retrieval(tmp_path, tmp_path / "store")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match="not empty"):
        import_clip_retrieval(WHOLE, tmp_path)


@pytest.mark.parametrize("name", ["dim", "count"])
def test_numbers_beyond_any_store_are_refused(store, name) -> None:
    path = store.folder / "store.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, name: 10**30, "complete": False}), encoding="utf-8")
    with pytest.raises(DataError, match="is damaged"):
        EmbeddingStore.open(store.folder, incomplete=True)
