"""Hostile and broken archives: refused, nothing written outside."""

import gzip
import io
import random
import stat
import tarfile
import zipfile

import pytest

from datg.data.importing.untrusted import archives
from datg.data.importing.untrusted.archives import is_archive, unpack
from datg.errors import DataError


def zip_of(path, entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def symlink_in_zip(path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, "/etc/passwd")
    return path


def long_name_in_tar(path):
    """A header that announces a name of 600 MB, which compresses to almost nothing."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 600 << 20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    return path


def sparse_file_in_tar(path):
    """A hole of 300 GiB, which takes no room here and much where it is read."""
    info = tarfile.TarInfo("hole")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole"}
    info.pax_headers["GNU.sparse.realsize"] = str(300 << 30)
    content = b"0\n".ljust(512, b"\0")
    info.size = len(content)
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(content))
    return path


HOSTILE = {
    "zip with ../": (lambda p: zip_of(p, [("ok.txt", "x"), ("../out.txt", "x")]), "out.txt would be written outside"),
    "zip with ..\\": (lambda p: zip_of(p, [("..\\out.txt", "x")]), "would be written outside"),
    "tar with a sparse file": (sparse_file_in_tar, "is a sparse file"),
    "zip with a symlink": (symlink_in_zip, "link is a link"),
    "zip with a file and a folder": (lambda p: zip_of(p, [("a", "1"), ("a/b", "2")]), "a file and a folder"),
    "zip with a folder and a file": (lambda p: zip_of(p, [("a/b", "1"), ("a", "2")]), "a file and a folder"),
    "zip with nothing for a name": (lambda p: zip_of(p, [(".", "1")]), "a file and a folder"),
    "tar with a file and a folder": (
        lambda p: tar_of(p, [(member("a"), b"1"), (member("a/b"), b"2")]),
        "a file and a folder",
    ),
    "zip with a long name": (lambda p: zip_of(p, [("x" * 300, "1")]), "is too deep or too long"),
    "zip with a deep path": (lambda p: zip_of(p, [("/".join("a" * 400), "1")]), "is too deep or too long"),
    "tar with a long header": (long_name_in_tar, "holds more than a name"),
    "tar with ../": (lambda p: tar_of(p, [(member("a/../../out.txt"), b"x")]), "would be written outside"),
    "tar with a symlink": (lambda p: tar_of(p, [(member("link", tarfile.SYMTYPE, "/etc"), b"")]), "link is a link"),
    "tar with a hard link": (lambda p: tar_of(p, [(member("link", tarfile.LNKTYPE, "/etc/passwd"), b"")]), "is a link"),
    "tar with a pipe": (lambda p: tar_of(p, [(member("pipe", tarfile.FIFOTYPE), b"")]), "is a device or pipe"),
}


@pytest.mark.parametrize("name", ["/out.txt", "//out.txt", "C:/out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_a_name_means_elsewhere_stays_inside(name, kind, tmp_path):
    path = tmp_path / "archive"
    zip_of(path, [(name, "x")]) if kind == "zip" else tar_of(path, [(member(name), b"x")])
    unpack(path, tmp_path / "inside")
    (found,) = (path for path in (tmp_path / "inside").rglob("*") if path.is_file())
    assert found.read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "inside"]


def test_backslashes_in_a_zip_of_windows_are_folders(tmp_path):
    unpack(zip_of(tmp_path / "x.zip", [("data\\a\\1.txt", "1"), ("data\\b\\2.txt", "2")]), tmp_path / "inside")
    assert (tmp_path / "inside" / "data" / "a" / "1.txt").read_text() == "1"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_a_name_that_stands_in_it_twice_the_last_is_taken(tmp_path):
    unpack(zip_of(tmp_path / "x.zip", [("a/x.txt", "1"), ("a/x.txt", "2")]), tmp_path / "inside")
    assert (tmp_path / "inside" / "a" / "x.txt").read_text() == "2"


@pytest.mark.parametrize("case", HOSTILE)
def test_what_would_leave_the_folder_is_refused_and_leaves_nothing(case, tmp_path):
    write, message = HOSTILE[case]
    archive = write(tmp_path / "archive")
    with pytest.raises(DataError, match=message):
        unpack(archive, tmp_path / "inside" / "unpacked")
    assert not (tmp_path / "inside" / "unpacked").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "inside"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_is_refused_while_it_unpacks(kind, tmp_path):
    zeros = bytes(110 << 20)
    path = tmp_path / "bomb"
    if kind == "zip":
        zip_of(path, [("zeros", zeros)])
    else:
        tar_of(path, [(member("zeros"), zeros)])
    assert len(zeros) / path.stat().st_size > 900
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        unpack(path, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_a_flipped_byte_is_found_by_the_checksum_at_the_end(mode, tmp_path):
    noise = random.Random(0).randbytes(300_000)
    path = tmp_path / "x"
    with tarfile.open(path, f"w:{mode}") as file:
        info = member("a")
        info.size = len(noise)
        file.addfile(info, io.BytesIO(noise))
    whole = path.read_bytes()
    unpack(path, tmp_path / "good")
    assert (tmp_path / "good" / "a").read_bytes() == noise
    path.write_bytes(whole[:150_000] + bytes([whole[150_000] ^ 1]) + whole[150_001:])
    with pytest.raises(DataError, match="is damaged|neither a zip nor a tar file"):  # bzip2 has one block here
        unpack(path, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_there_are_limits_of_entries_and_bytes(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "many.zip", [(f"{index}.txt", "x" * 100) for index in range(5)])
    monkeypatch.setattr(archives, "MOST_ENTRIES", 4)
    with pytest.raises(DataError, match="more than 4 entries"):
        unpack(path, tmp_path / "a")
    monkeypatch.setattr(archives, "MOST_ENTRIES", 9)
    monkeypatch.setattr(archives, "MOST_BYTES", 450)
    with pytest.raises(DataError, match="it unpacks to more than"):
        unpack(path, tmp_path / "b")


def test_a_header_that_lies_about_its_size_is_found_out(tmp_path):
    path = zip_of(tmp_path / "lie.zip", [("a.txt", "x" * 1000)])
    raw = path.read_bytes()
    path.write_bytes(raw.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="is damaged, truncated or encrypted"):
        unpack(path, tmp_path / "unpacked")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.zip", b"<!DOCTYPE html><html>Sign in</html>", "a web page, not an archive; download it again"),
        ("noise.tar.gz", b"\x00\x01\x02" * 50, "neither a zip nor a tar file"),
        ("empty.zip", b"", "is empty"),
    ],
)
def test_what_only_calls_itself_an_archive_is_told(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert is_archive(tmp_path / name)
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / name, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_truncated_archive_is_told(kind, tmp_path):
    noise = random.Random(0).randbytes(200_000)
    path = tmp_path / "x"
    if kind == "zip":
        zip_of(path, [("a", noise)])
        raw = path.read_bytes()
        path.write_bytes(raw[:1000] + raw[2000:])  # the middle is missing, the directory at the end is there
    else:
        tar_of(path, [(member("a"), noise)])
        path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged, truncated or encrypted"):
        unpack(path, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
