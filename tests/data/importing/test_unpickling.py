"""Pickles are code: what is no data is refused by name, and nothing of it runs."""

import collections
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from datg.data.importing.untrusted import unpickling
from datg.data.importing.untrusted.unpickling import read_pickle
from datg.errors import DataError


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def dump(value, path, protocol=4):
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=protocol)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_come_back_as_they_were_in_every_protocol(protocol, tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, size=(5, 4, 4, 3)).astype(np.uint8)
    value = {
        "pictures": pictures,
        "turned": np.asfortranarray(pictures[0]),
        "channels last": pictures.transpose(0, 2, 3, 1),
        "big endian": np.arange(4, dtype=">i4"),
        "numbers": np.linspace(0, 1, 5),
        "texts": np.array(["a", "bcd"]),
        "lists": [1, "two", [3, np.int64(4)]],
        7: {"umlaut": "größe"},
        np.str_("numpy"): np.str_("text"),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }
    found = read_pickle(dump(value, tmp_path / "x.pkl", protocol), tmp_path / "out")
    assert list(found) == list(value)
    for name in ("pictures", "turned", "channels last", "big endian", "numbers", "texts", "empty"):
        assert found[name].dtype == value[name].dtype and np.array_equal(found[name], value[name])
    assert found["numpy"] == "text" and type(found["numpy"]) is str
    assert found["lists"] == [1, "two", [3, 4]] and found[7] == {"umlaut": "größe"}


def test_a_pickle_of_python_2_is_read(tmp_path):
    # dict of a str and an array as Python 2 and an old numpy wrote it, protocol 0.
    path = tmp_path / "old.pkl"
    path.write_bytes(
        b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
        b"(I1\n(I3\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        b"S'\\x01\\xfe\\x03'\np15\ntp16\nbs."
    )
    assert read_pickle(path, tmp_path / "out")["x"].tolist() == [1, 254, 3]


def mark(path):
    """What a malicious pickle would run: leaves a file."""
    return f"open({str(path)!r}, 'w').write('ran')"


MALICIOUS = {
    "os.system": lambda trace: Calls(os.system, f"touch {trace}"),
    "eval": lambda trace: Calls(eval, mark(trace)),
    "exec": lambda trace: Calls(exec, mark(trace)),
    "subprocess": lambda trace: Calls(subprocess.Popen, ["touch", str(trace)]),
    "import": lambda trace: Calls(__import__, "antigravity"),
    "getattr": lambda trace: Calls(getattr, os, "system"),
    "np.load": lambda trace: Calls(np.load, str(trace)),
    "np.fromfile": lambda trace: Calls(np.fromfile, "/etc/passwd"),
    "in an array": lambda trace: np.array([Calls(os.system, f"touch {trace}")], dtype=object),
    "in a list": lambda trace: {"a": [1, [Calls(os.system, f"touch {trace}")]]},
    "codec": lambda trace: Calls(__import__("_codecs").encode, "x", "rot13"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("case", MALICIOUS)
def test_a_malicious_pickle_is_refused_by_the_name_of_what_it_wanted_and_nothing_runs(case, protocol, tmp_path):
    if case == "getattr":
        pytest.importorskip("posix")  # modules cannot be pickled, so the bytes are written by hand
        trace, path = tmp_path / "trace", tmp_path / "x.pkl"
        path.write_bytes(b"c__builtin__\ngetattr\n(cos\nsystem\nS'__call__'\ntR.")
    else:
        trace = tmp_path / "trace"
        path = dump(MALICIOUS[case](trace), tmp_path / "x.pkl", protocol)
    with pytest.raises(DataError) as caught:
        read_pickle(path, tmp_path / "out")
    assert re.search(r"wants to call \S+, which is refused|Python objects|wants to encode text", str(caught.value))
    assert not trace.exists() and not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"a": 1.5}, "a float"),
        ({"a": (1, 2)}, "a tuple"),
        ({"a": None}, "a NoneType"),
        ({"a": b"bytes"}, "a bytes"),
        ({(1, 2): "a"}, "a tuple as the key"),
        ({"a": {1, 2}}, "a set|builtins.set|__builtin__.set"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]), "dtype 'V8'"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dtype 'M8'"),
    ],
)
def test_only_arrays_dicts_lists_texts_and_whole_numbers_are_taken(value, what, tmp_path):
    with pytest.raises(DataError, match=what):
        read_pickle(dump(value, tmp_path / "x.pkl"), tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is a web page, not a pickle; download it again"),
        (pickle.dumps({"a": np.zeros(100)})[:400], "is no pickle, or is truncated or damaged"),
        (b"PK\x03\x04 a zip file", "is no pickle, or is truncated or damaged"),
        (b"\x80\x04N.", "holds a NoneType"),
    ],
)
def test_broken_files_are_told(content, message, tmp_path):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_pickle(tmp_path / "x.pkl", tmp_path / "out")


def test_a_small_pickle_cannot_take_much_memory(tmp_path):
    # A few bytes that multiply one text: a list of references to it, joined by no call at all, stays small; a huge
    # length of its own does not, and is refused by the limit.
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04\x8d" + (8 << 30).to_bytes(8, "little") + b"abc")
    with pytest.raises(DataError, match="needs more than|truncated"):
        read_pickle(path, tmp_path / "out")


def test_a_pickle_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickling, "SECONDS", 0.01)
    with pytest.raises(DataError, match="was not read within 0 s"):
        read_pickle(dump({"a": 1}, tmp_path / "x.pkl"), tmp_path / "out")


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    path = dump({"a": np.zeros(10)}, tmp_path / "x.pkl")
    real = subprocess.run

    def full(command, **options):
        code = "import sys; sys.exit('OSError: 10 requested and 0 written')"
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", full)
    with pytest.raises(DataError, match="has no room for the arrays of x.pkl; free space"):
        read_pickle(path, tmp_path / "out")


def test_one_array_many_times_is_written_once_and_many_views_of_one_buffer_are_refused(tmp_path):
    big = np.zeros(1 << 20, dtype=np.uint8)
    found = read_pickle(dump([big] * 50, tmp_path / "x.pkl"), tmp_path / "out")
    assert len(found) == 50 and len(list((tmp_path / "out").glob("*.npy"))) == 1
    raw = pickle.dumps(big, protocol=5)  # ... and here the bytes alone are shared
    body = raw[: raw.rindex(b".")]
    start = body.index(b"\x96")  # BYTEARRAY8
    shared = b"\x80\x05" + body[start : start + 9 + len(big)] + b"\x94]\x94("
    one = b"cnumpy._core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\n(\x8c\x02u1\x89\x88tRJ" + len(big).to_bytes(
        4, "little"
    )
    many = b"".join(one + b"\x85\x8c\x01CtR" for _ in range(8))
    (tmp_path / "y.pkl").write_bytes(shared + many + b"e.")
    with pytest.raises(DataError, match="holds more bytes in arrays than in the file"):
        read_pickle(tmp_path / "y.pkl", tmp_path / "other")


@pytest.mark.parametrize(
    "code",
    [
        b"]\x94"
        + b"".join(b"]\x94(h%ch%ce" % (i, i) for i in range(60))
        + b".",  # each list holds the one before twice
        b"]" * 200 + b"a" * 199 + b".",  # a list in a list in a list ...
        b"]\x94h\x00a.",  # a list that holds itself
    ],
)
def test_lists_that_explode_are_refused(code, tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + code)
    with pytest.raises(DataError, match="holds more than 5,000,000 things, or lists in lists more than 20 deep"):
        read_pickle(tmp_path / "x.pkl", tmp_path / "out")


@pytest.mark.parametrize(
    "code",
    [
        b"cnumpy\nndarray\n)\x81N}\x8c\x05plain\x8c\x02c8s\x86b.",  # state for an instance of what stands for ndarray
        b"cnumpy\ndtype\n}\x8c\x09_functionNsb.",  # ... and for the functions themselves
        b"cnumpy\ndtype\nN}\x8c\x09_functionNs\x86b.",
        b"cnumpy._core.multiarray\n_reconstruct\nN}\x8c\x08__code__Ns\x86b.",
    ],
)
def test_what_rebuilds_arrays_cannot_be_changed(code, tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + code)
    with pytest.raises(DataError, match="truncated or damaged|wants to change what rebuilds"):
        read_pickle(tmp_path / "x.pkl", tmp_path / "out")
