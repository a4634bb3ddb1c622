import json

import numpy as np
import pyarrow as pa
import pytest

from datg.data.class_table import TableWriter, open_table
from datg.errors import DataError


def write(folder, classes=(("a", 3), ("b", 5), ("c", 2)), shape=(3, 4, 4), dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    with TableWriter(folder, shape=shape, dtype=dtype) as writer:
        for name, count in classes:
            for index in range(count):
                example = rng.integers(0, 256, size=shape).astype(dtype)
                writer.add(example, class_name=name, source=f"{name}/{index}.png", sha256=bytes(32))
        return writer.finish({"importer": "test", "options": {"x": 1}})


@pytest.mark.parametrize(("shape", "dtype"), [((3, 4, 4), "uint8"), ((17,), "float32")])
def test_what_is_written_is_read(tmp_path, shape, dtype):
    table = write(tmp_path, shape=shape, dtype=dtype)
    rng = np.random.default_rng(0)
    expected = np.stack([rng.integers(0, 256, size=shape).astype(dtype) for _ in range(10)])
    assert (table.examples == expected).all() and table.examples.dtype == dtype
    assert table.names == ("a", "b", "c") and table.shape == shape and len(table) == 3
    assert table.starts.tolist() == [0, 3, 8] and table.counts.tolist() == [3, 5, 2]
    assert table.description["importer"] == "test"


def test_the_file_holds_the_promised_columns_uncompressed(tmp_path):
    table = write(tmp_path)
    (path,) = tmp_path.glob("*.arrow")
    with pa.memory_map(str(path)) as source:
        batches = pa.ipc.open_file(source)
        assert batches.num_record_batches == 1
        batch = batches.get_batch(0)
        assert batch.schema.names == ["example", "class", "source", "sha256"]
        assert batch.column("class").to_pylist() == ["a"] * 3 + ["b"] * 5 + ["c"] * 2
        assert batch.column("source")[4].as_py() == "b/1.png"
    assert table.examples.tobytes() in path.read_bytes()


def test_opening_maps_and_does_not_copy(tmp_path):
    before = pa.total_allocated_bytes()
    table = write(tmp_path, classes=(("a", 4000),), shape=(3, 32, 32))
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert not table.examples.flags.writeable and not table.examples.flags.owndata
    address = table.examples.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        ranges = [line.split() for line in maps if ".arrow" in line]
    inside = [r for r in ranges if int(r[0].split("-")[0], 16) <= address < int(r[0].split("-")[1], 16)]
    assert inside, "the examples do not lie in the mapped file"


def test_the_same_examples_give_the_same_fingerprint_and_others_another(tmp_path):
    first, again = (write(tmp_path / name).fingerprint for name in ("x", "y"))
    assert first == again
    others = [
        write(tmp_path / "p", seed=1),
        write(tmp_path / "q", classes=(("a", 3), ("b", 5), ("d", 2))),
        write(tmp_path / "r", classes=(("a", 4), ("b", 4), ("c", 2))),
    ]
    assert len({first, *(table.fingerprint for table in others)}) == 4


def test_writing_again_replaces_the_old_table(tmp_path):
    write(tmp_path)
    new = write(tmp_path, seed=1)
    assert open_table(tmp_path).fingerprint == new.fingerprint
    assert len(list(tmp_path.iterdir())) == 2


def test_a_class_can_be_taken_out_again(tmp_path):
    picture = np.zeros((3, 4, 4), dtype=np.uint8)
    with TableWriter(tmp_path, shape=(3, 4, 4), dtype="uint8") as writer:
        for name in ("a", "a", "b", "b", "b"):
            writer.add(picture + ord(name), class_name=name, source="x", sha256=bytes(32))
        writer.discard_last_class()
        writer.add(picture + 9, class_name="c", source="y", sha256=bytes(32))
        table = writer.finish({})
    assert table.names == ("a", "c") and table.examples[:, 0, 0, 0].tolist() == [97, 97, 9]


def test_an_abandoned_table_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), TableWriter(tmp_path / "new", shape=(2,), dtype="uint8") as writer:
        writer.add(np.zeros(2, dtype=np.uint8), class_name="a", source="x", sha256=bytes(32))
        raise RuntimeError
    assert not (tmp_path / "new").exists()


def test_a_selection_shares_the_examples(tmp_path):
    table = write(tmp_path)
    selected = table.select(["c", "a"])
    assert selected.names == ("c", "a") and selected.starts.tolist() == [8, 0]
    assert selected.examples is table.examples
    with pytest.raises(DataError, match="lacks 2 classes of the split: x, y"):
        table.select(["x", "a", "y"])


@pytest.mark.parametrize("damage", ["truncate", "empty", "remove", "json", "counts", "keys"])
def test_a_damaged_table_says_to_import_it_again(tmp_path, damage):
    write(tmp_path)
    (arrow,) = tmp_path.glob("*.arrow")
    description = tmp_path / "table.json"
    content = json.loads(description.read_text())
    if damage == "truncate":
        arrow.write_bytes(arrow.read_bytes()[:300])
    elif damage == "empty":
        arrow.write_bytes(b"")
    elif damage == "remove":
        arrow.unlink()
    elif damage == "json":
        description.write_text("{")
    elif damage == "counts":
        description.write_text(json.dumps({**content, "classes": {"a": 3}}))
    else:
        description.write_text("{}")
    with pytest.raises(DataError, match="import it again"):
        open_table(tmp_path)


def test_class_sizes_are_summed_up_in_doubling_bins(tmp_path):
    table = write(tmp_path, classes=(("a", 1), ("b", 2), ("c", 3), ("d", 9)), shape=(1,))
    assert table.size_histogram() == [(1, 1, 1), (2, 3, 2), (8, 15, 1)]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".examples.0123abcd").write_bytes(b"half")
    (tmp_path / ".0123.arrow.4567").write_bytes(b"half")
    write(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_sixty_thousand_pictures_open_at_once_and_cost_no_memory_until_touched(tmp_path):
    import time

    picture = np.zeros((3, 84, 84), dtype=np.uint8)
    with TableWriter(tmp_path, shape=picture.shape, dtype="uint8") as writer:
        for class_ in range(100):
            for index in range(600):
                writer.add(
                    picture + class_, class_name=f"class {class_:02d}", source=f"{class_}/{index}", sha256=bytes(32)
                )
        writer.finish({})
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        table = open_table(tmp_path)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
    before = resident()
    table = open_table(tmp_path)
    assert table.examples.nbytes == 60_000 * 3 * 84 * 84 and table.examples[-1, 0, 0, 0] == 99
    assert resident() - before < 20 << 20


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096
