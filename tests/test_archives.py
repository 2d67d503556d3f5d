"""Archives as their makers meant them, and as an enemy would make them: nothing may appear outside the new folder."""

import gzip
import io
import lzma
import random
import shutil
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labkit.data.archives import below, gunzip, unpack
from labkit.errors import DataError

FILES = {"set/a.txt": b"one", "set/deep/b.bin": bytes(range(256)) * 300, "set/empty": b"", "other/c.txt": b"unwanted"}
BOUNDS = (20, 1_000_000)


def tar_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive, uncompressed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for info, content in members:
            info.size = len(content) if info.isreg() else info.size
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **facts: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def zip_of(members: dict[str, bytes], mode: int = 0o100644) -> bytes:
    """A zip archive whose members have the Unix ``mode``."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return made.getvalue()


def plain_tar() -> bytes:
    folders = [(entry("set", tarfile.DIRTYPE), b""), (entry("./set/deep/", tarfile.DIRTYPE), b"")]
    return tar_of(*folders, *((entry(name), content) for name, content in FILES.items()))


PACKED: dict[str, Callable[[], bytes]] = {
    "a.tar": plain_tar,
    "a.tar.gz": lambda: gzip.compress(plain_tar()),
    "a.tar.xz": lambda: lzma.compress(plain_tar()),
    "a.zip": lambda: zip_of({"set/": b"", **FILES}),
}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", PACKED)
def test_the_wanted_part_of_an_archive_is_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[name]())
    unpack(tmp_path / name, tmp_path / "new" / "set", *BOUNDS, below("set"))
    assert tree(tmp_path / "new") == {key: content for key, content in FILES.items() if key.startswith("set")}
    unpack(tmp_path / name, tmp_path / "all", *BOUNDS, lambda path: path)
    assert tree(tmp_path / "all") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {name, "new", "all"}


def test_archives_of_the_systems_own_programs_are_read(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(content)
    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "root")
    subprocess.run(["tar", "-czf", tmp_path / "tarred.tar.gz", "-C", tmp_path / "root", "."], check=True)
    for archive in (tmp_path / "zipped.zip", tmp_path / "tarred.tar.gz"):
        unpack(archive, tmp_path / archive.stem, *BOUNDS, lambda path: path)
        assert tree(tmp_path / archive.stem) == FILES


def test_what_macos_puts_beside_every_file_is_left_out(tmp_path: Path) -> None:
    names = ["set/a.png", "set/._a.png", "set/deep/._b.png"]
    (tmp_path / "a.tar").write_bytes(tar_of(*((entry(name), b"x") for name in names)))
    unpack(tmp_path / "a.tar", tmp_path / "set", *BOUNDS, below("set"))
    assert tree(tmp_path / "set") == {"a.png": b"x"}


def lying_zip(field: int, value: int) -> bytes:
    """A zip archive of 5,000 bytes with another size in its table of contents: 20 packed, 24 unpacked, 16 checksum."""
    packed = bytearray(zip_of({"set/a": random.Random(0).randbytes(5000)}))
    struct.pack_into("<I", packed, packed.index(b"PK\1\2") + field, value)
    return bytes(packed)


def encrypted_zip() -> bytes:
    packed = bytearray(zip_of({"set/a": b"secret"}))
    packed[packed.index(b"PK\1\2") + 8] |= 1
    packed[6] |= 1
    return bytes(packed)


def renamed_zip(name: str) -> bytes:
    """A zip archive with a name that Python's writer would change."""
    return zip_of({"set/" + "?" * (len(name) - 4): b"x"}).replace(b"set/" + b"?" * (len(name) - 4), name.encode())


def lying_tar(size: int) -> bytes:
    packed = bytearray(tar_of((entry("set/a"), b"x" * 600)))
    packed[124:136] = b"%011o\0" % size
    packed[148:156] = b"%06o\0 " % (sum(packed[:148]) + 8 * 32 + sum(packed[156:512]))
    return bytes(packed)


def bomb_in_a_header() -> bytes:
    """A tar archive whose first extended header announces, and has, 20 MB."""
    return gzip.compress(tar_of((entry("set/a", pax_headers={"comment": "0" * 20_000_000}), b"x")))


def two_lists(comment: bytes = b"") -> bytes:
    """A zip archive whose end tells of a short list of files and, before that, of another end."""
    packed = zip_of(FILES)
    end = packed[-22:-2] + struct.pack("<H", len(comment)) + comment
    return packed[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + end


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "tar: absolute": (lambda: tar_of((entry("/labkit-was-here"), b"x")), "'/labkit-was-here', which may lead"),
    "tar: up": (lambda: tar_of((entry("set/../../up"), b"x")), "'set/../../up', which may lead elsewhere"),
    "tar: up, unwanted": (lambda: tar_of((entry("set/a"), b"x"), (entry("../up"), b"x")), "may lead elsewhere"),
    "tar: folder up": (lambda: tar_of((entry("../up", tarfile.DIRTYPE), b"")), "may lead elsewhere"),
    "tar: through a link": (
        lambda: tar_of((entry("set/link", LINK, "../.."), b""), (entry("set/link/up"), b"x")),
        "'set/link', which is neither a plain file nor a folder",
    ),
    "tar: link to a file": (lambda: tar_of((entry("set/a", LINK, "/etc/passwd"), b"")), "neither a plain file"),
    "tar: hard link": (lambda: tar_of((entry("set/a", HARD, "../secret"), b"")), "neither a plain file"),
    "tar: hard link inside": (lambda: tar_of((entry("set/a"), b"x"), (entry("set/b", HARD, "set/a"), b"")), "neither"),
    "tar: device": (lambda: tar_of((entry("set/a", tarfile.CHRTYPE, devmajor=1, devminor=3), b"")), "neither a plain"),
    "tar: block device": (lambda: tar_of((entry("set/a", tarfile.BLKTYPE), b"")), "neither a plain file"),
    "tar: pipe": (lambda: tar_of((entry("set/a", tarfile.FIFOTYPE), b"")), "neither a plain file"),
    "tar: unknown kind": (lambda: tar_of((entry("set/a", b"Z"), b"")), "neither a plain file"),
    "tar: twice": (lambda: tar_of((entry("set/a"), b"x"), (entry("./set//A"), b"y")), "'./set//A' twice"),
    "tar: file and folder": (lambda: tar_of((entry("set/a"), b"x"), (entry("set/a/b"), b"y")), "both as a file and as"),
    "tar: folder and file": (lambda: tar_of((entry("set/a/b"), b"x"), (entry("set/a"), b"y")), "both as a file and as"),
    "tar: backslash": (lambda: tar_of((entry("set/..\\..\\up"), b"x")), "may lead elsewhere"),
    "tar: drive": (lambda: tar_of((entry("C:/up"), b"x")), "may lead elsewhere"),
    "tar: NUL": (lambda: tar_of((entry("set/a", pax_headers={"path": "set/a\0b"}), b"x")), "may lead elsewhere"),
    "tar: line break": (lambda: tar_of((entry("set/a\nb"), b"x")), "may lead elsewhere"),
    "tar: many files": (lambda: tar_of(*((entry(f"set/{i}"), b"") for i in range(21))), "more files than"),
    "tar: many folders": (lambda: tar_of(*[(entry("set", tarfile.DIRTYPE), b"")] * 21), "more files than"),
    "tar: bomb": (lambda: gzip.compress(tar_of((entry("set/a"), bytes(2_000_000)))), "more bytes than"),
    "tar: bomb, unwanted": (lambda: gzip.compress(tar_of((entry("other"), bytes(2_000_000)))), "more bytes than"),
    "tar: bomb in xz": (lambda: lzma.compress(tar_of((entry("set/a"), bytes(2_000_000)))), "more bytes than"),
    "tar: bomb in a header": (bomb_in_a_header, "more bytes than"),
    "tar: announces too much": (lambda: lying_tar(8**11 - 1), "unexpected end of data"),
    "tar: cut": (lambda: plain_tar()[:2000], "unexpected end of data"),
    "tar.gz: cut": (lambda: gzip.compress(plain_tar())[:90], "ended before the end-of-stream"),
    "tar.xz: damaged": (lambda: lzma.compress(plain_tar())[:50] + bytes(99), "damaged or not the published file"),
    "zip: absolute": (lambda: zip_of({"/labkit-was-here": b"x"}), "may lead elsewhere"),
    "zip: up": (lambda: zip_of({"set/../../up": b"x"}), "may lead elsewhere"),
    "zip: backslash": (lambda: renamed_zip("set/..\\..\\up"), "may lead elsewhere"),
    "zip: drive": (lambda: zip_of({"C:up": b"x"}), "may lead elsewhere"),
    "zip: NUL": (lambda: renamed_zip("set/a\0b"), "may lead elsewhere"),
    "zip: link": (lambda: zip_of({"set/a": b"../.."}, 0o120777), "encrypted or neither a plain file nor a folder"),
    "zip: pipe": (lambda: zip_of({"set/a": b""}, 0o010644), "neither a plain file nor a folder"),
    "zip: encrypted": (encrypted_zip, "'set/a', which is encrypted"),
    "zip: twice": (lambda: zip_of({"set/a": b"x", "set/A": b"y"}), "'set/A' twice"),
    "zip: many files": (lambda: zip_of({f"set/{i}": b"" for i in range(21)}), "more files than"),
    "zip: a list too long to read": (lambda: zip_of({f"set/{i}": b"" for i in range(400)}), "list of files is longer"),
    "zip: a second list behind a short one": (two_lists, "the form for very many files"),
    "zip: one behind a long comment": (lambda: two_lists(b"!" * 65_535), "the form for very many files"),
    "zip: bomb": (lambda: zip_of({"set/a": bytes(50_000_000)}), "more bytes than"),
    "zip: bomb in parts": (lambda: zip_of({f"set/{i}": bytes(100_000) for i in range(11)}), "more bytes than"),
    "zip: announces too little": (lambda: lying_zip(24, 10), "Bad CRC-32"),
    "zip: wrong checksum": (lambda: lying_zip(16, 7), "Bad CRC-32"),
    "zip: cut": (lambda: zip_of(FILES)[:-30], "it has no list of files at its end"),
    "a page": (lambda: b"<html>Please accept our conditions</html>" * 50, "damaged or not the published file"),
    "nothing": (lambda: b"", "damaged or not the published file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path, what: str) -> None:
    make, sentence = HOSTILE[what]
    archive = tmp_path / "in" / "deep" / "archive"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(make())
    (tmp_path / "in" / "secret").write_text("untouched")
    with pytest.raises(DataError) as caught:
        unpack(archive, tmp_path / "in" / "deep" / "set", *BOUNDS, below("set"))
    assert str(archive) in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"in", "in/deep", "in/deep/archive", "in/secret"}
    assert not Path("/labkit-was-here").exists()


@pytest.mark.parametrize("field", [20, 24])
def test_a_zip_that_announces_too_much_is_measured_by_what_it_has(tmp_path: Path, field: int) -> None:
    (tmp_path / "a.zip").write_bytes(lying_zip(field, 2**31))
    unpack(tmp_path / "a.zip", tmp_path / "set", 1, 5000, below("set"))
    assert len((tmp_path / "set" / "a").read_bytes()) == 5000
    with pytest.raises(DataError, match="more bytes than the data set has"):
        unpack(tmp_path / "a.zip", tmp_path / "again", 1, 4999, below("set"))


def test_rights_and_owners_of_an_archive_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of((entry("set/a", mode=0o6777, uid=12345), b"x")))
    unpack(tmp_path / "a.tar", tmp_path / "set", *BOUNDS, below("set"))
    (tmp_path / "plain").write_text("")
    mine, plain = (tmp_path / "set" / "a").stat(), (tmp_path / "plain").stat()
    assert (mine.st_mode, mine.st_uid) == (plain.st_mode, plain.st_uid)


@pytest.mark.parametrize("name", PACKED)
def test_any_damaged_byte_gives_whole_files_or_one_sentence(tmp_path: Path, name: str) -> None:
    good, chance = PACKED[name](), random.Random(name)
    for _ in range(80):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(min(len(bad), 3000))] = chance.randrange(256)
        (tmp_path / name).write_bytes(bad)
        try:
            unpack(tmp_path / name, tmp_path / "set", *BOUNDS, below("set"))
            shutil.rmtree(tmp_path / "set")
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_there_is_not_replaced_and_what_a_killed_process_left_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of(FILES))
    (tmp_path / ".set.unpacking").mkdir()
    (tmp_path / ".set.unpacking" / "a.txt").write_text("half of it")
    unpack(tmp_path / "a.zip", tmp_path / "set", *BOUNDS, below("set"))
    (tmp_path / "set" / "a.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        unpack(tmp_path / "a.zip", tmp_path / "set", *BOUNDS, below("set"))
    assert (tmp_path / "set" / "a.txt").read_text() == "mine"


def test_one_packed_file_is_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(200_000)
    packed = gzip.compress(content)
    cases = {"bomb": gzip.compress(bytes(10**7)), "cut": packed[:-100], "crc": packed[:-8] + bytes(8), "text": b"hello"}
    cases["rubbish behind"] = packed + b"rubbish"
    (tmp_path / "a.gz").write_bytes(packed)
    gunzip(tmp_path / "a.gz", tmp_path / "a", len(content))
    assert (tmp_path / "a").read_bytes() == content
    (tmp_path / "a").unlink()
    for bad in cases.values():
        (tmp_path / "a.gz").write_bytes(bad)
        with pytest.raises(DataError, match="damaged or not the published file"):
            gunzip(tmp_path / "a.gz", tmp_path / "a", len(content))
        assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]
