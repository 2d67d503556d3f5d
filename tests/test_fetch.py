"""Downloads over a network that fails in every way we could think of, from servers that are really there."""

import gzip
import hashlib
import http.server
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.data import fetch as module
from labkit.data.downloads import download_files, download_folders
from labkit.data.fetch import Remote, fetch
from labkit.errors import DataError

CONTENT = random.Random(1).randbytes(24 * 2**16)  # 1.5 MiB that do not get smaller when they are packed
HALF = len(CONTENT) // 2


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``content`` at every address, ranges included; the first requests meet one fault of ``faults`` each."""

    content: bytes
    faults: list[str]
    etag: str
    asked: list[tuple[str, str]]  # address and range of each request
    served: list[int]  # bytes of each answer
    gone = False

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range", "")))
        self.served.append(0)
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
        else:
            getattr(self, fault.replace(" ", "_") or "well")()

    def well(self, body: bytes | None = None, announced: int | None = None, **headers: str) -> None:
        body, first = self.content if body is None else body, 0
        if (span := self.headers.get("Range")) and self.headers.get("If-Range", self.etag) == self.etag:
            first = int(span.removeprefix("bytes=").removesuffix("-"))
        body = body[first:]
        self.send_response(206 if first else 200)
        if first:
            headers = {"Content-Range": f"bytes {first}-{len(self.content) - 1}/{len(self.content)}"} | headers
        if announced != -1:
            headers["Content-Length"] = str(announced or len(body))
        for name, value in (headers | ({"ETag": self.etag} if self.etag else {})).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.send(body)

    def send(self, block: bytes) -> None:
        try:
            self.wfile.write(block)
            self.served[-1] += len(block)
        except OSError:  # the other side has enough
            self.gone = True

    def cut(self) -> None:
        rest = len(self.content) - int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.well(self.content[: len(self.content) - rest // 2], announced=rest)

    def hang(self) -> None:
        self.well(self.content[:HALF], announced=len(self.content))
        self.server.over.wait()

    def ignore_ranges(self) -> None:
        del self.headers["Range"]
        self.well()

    def wrong_range(self) -> None:
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 0-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        self.send(self.content)

    def other_total(self) -> None:
        self.well(Content_Range=f"bytes {HALF}-{len(self.content)}/{len(self.content) + 1}")

    def wrong_bytes(self) -> None:
        self.well(bytes(len(self.content)))

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.gone:
            self.send(bytes(2**16))

    def too_little(self) -> None:
        self.well(self.content[:1000], announced=-1)

    def page(self) -> None:
        self.well(b"<html>Please accept our conditions</html>")

    def redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/elsewhere" + self.path)
        self.end_headers()

    def called_gzip(self) -> None:
        self.well(Content_Encoding="x-gzip")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


Serve = Callable[..., type[Site]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server on this machine: ``serve(content, *faults, etag="")``; its ``address`` ends in a slash."""
    monkeypatch.setattr(module, "PAUSE", 0.01)
    servers = []

    def start(content: bytes = CONTENT, *faults: str, etag: str = "") -> type[Site]:
        facts = {"content": content, "faults": list(faults), "etag": etag, "asked": [], "served": []}
        site = type("Site", (Site,), facts)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), site))
        servers[-1].over = threading.Event()
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        site.address = f"http://127.0.0.1:{servers[-1].server_address[1]}/"
        return site

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


def remote(*sites: type[Site], **facts: Any) -> Remote:
    """The file that the first of the sites means to serve, at all of them."""
    content = sites[0].content
    known = {"at_most": len(content), "size": len(content), "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return Remote(tuple(site.address + "file.bin" for site in sites), **(known | facts))


def ranges(site: type[Site]) -> list[str]:
    return [span for _, span in site.asked]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


@pytest.fixture(autouse=True)
def _folder(target: Path) -> None:
    target.parent.mkdir()


def arrived(target: Path) -> bool:
    """Whether the published bytes are there, and nothing beside them."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def test_a_connection_cut_again_and_again_is_taken_up_where_it_ended(serve: Serve, target: Path) -> None:
    site = serve(CONTENT, "cut", "cut", "cut")
    fetch(remote(site), target)
    assert arrived(target)
    assert ranges(site) == ["", f"bytes={HALF}-", f"bytes={HALF * 3 // 2}-", f"bytes={HALF * 7 // 4}-"]
    assert sum(site.served) == len(CONTENT)  # no byte was sent twice


def test_another_mirror_goes_on_from_what_the_first_has_sent(serve: Serve, target: Path) -> None:
    one, other = serve(CONTENT, "cut", "503"), serve(CONTENT)
    fetch(remote(one, other), target)
    assert arrived(target)
    assert ranges(other) == [f"bytes={HALF}-"]


@pytest.mark.parametrize("fault", ["ignore ranges", "wrong range", "other total", "416"])
def test_where_a_rest_cannot_be_had_the_whole_is_fetched_anew(serve: Serve, target: Path, fault: str) -> None:
    site = serve(CONTENT, "cut", fault)
    fetch(remote(site), target)
    assert arrived(target)
    assert site.served[-1] == len(CONTENT)


def test_a_server_that_stops_sending_is_given_up_in_time_and_taken_up(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUTS", (1, 0.3))
    site = serve(CONTENT, "hang")
    fetch(remote(site), target)
    assert arrived(target)
    assert re.fullmatch(r"bytes=\d+-", ranges(site)[1])


REFUSED = {
    "403": "answers 403 Forbidden",
    "404": "answers 404 Not Found",
    "503": "answers 503 Service Unavailable",
    "wrong bytes": "sends other bytes than the published ones",
    "endless": "sends more than 1,572,864 bytes",
    "too little": "sends only 1,000 of 1,572,864 bytes",
    "page": "has 41 bytes, published are 1,572,864",
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_one_mirror_does_wrong_the_next_mends(serve: Serve, target: Path, fault: str) -> None:
    bad, good = serve(CONTENT, *[fault] * 3), serve(CONTENT)
    fetch(remote(bad, good), target)
    assert arrived(target)
    assert sum(bad.served) < 40e6  # an endless answer ends: what is beyond the file waits in the network's buffers


@pytest.mark.parametrize("fault", REFUSED)
def test_a_failure_is_one_sentence_that_names_every_mirror(serve: Serve, target: Path, fault: str) -> None:
    bad, worse = serve(CONTENT, *[fault] * 3), serve(CONTENT, *["404"] * 3)
    with pytest.raises(DataError) as caught:
        fetch(remote(bad, worse), target)
    assert f"{bad.address}file.bin {REFUSED[fault]}; {worse.address}file.bin answers 404 Not Found" in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = {path.name for path in target.parent.iterdir()}
    assert kept == ({".file.bin.part", ".file.bin.etag"} if fault == "too little" else set())  # wrong bytes are deleted


def test_no_server_at_all_is_named(target: Path) -> None:
    nowhere = Remote(("http://127.0.0.1:9/file.bin", "nonsense"), at_most=9)
    with pytest.raises(DataError, match=r":9/file\.bin is out of reach \(ConnectionError\); nonsense Invalid URL"):
        fetch(nowhere, target)


def test_redirects_are_followed_but_not_for_ever(serve: Serve, target: Path) -> None:
    site = serve(CONTENT, "redirect", "cut", "redirect")
    fetch(remote(site), target)
    assert arrived(target)
    assert site.asked[-1] == ("/elsewhere/file.bin", f"bytes={HALF}-")
    with pytest.raises(DataError, match="Exceeded 30 redirects"):
        fetch(remote(serve(CONTENT, *["redirect"] * 99)), target.with_name("other.bin"))


def test_a_file_that_a_server_calls_gzip_is_not_unpacked_on_the_way(serve: Serve, target: Path) -> None:
    site = serve(gzip.compress(CONTENT), "called gzip")
    fetch(remote(site), target)
    assert target.read_bytes() == site.content


def test_a_wrong_beginning_from_an_earlier_day_is_thrown_away(serve: Serve, target: Path) -> None:
    target.with_name(".file.bin.part").write_bytes(bytes(HALF))
    site = serve(CONTENT)
    fetch(remote(site), target)
    assert arrived(target)
    assert ranges(site) == [f"bytes={HALF}-", ""]


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_as_long_as_the_file_or_longer_is_dealt_with(serve: Serve, target: Path, length: int) -> None:
    target.with_name(".file.bin.part").write_bytes((CONTENT + b"extra")[:length])
    site = serve(CONTENT, *["416"] * (length > len(CONTENT)))
    fetch(remote(site), target)
    assert arrived(target)
    assert len(site.asked) == (0 if length == len(CONTENT) else 2)


def test_two_versions_of_a_file_without_a_checksum_are_never_put_together(serve: Serve, target: Path) -> None:
    site = serve(bytes(len(CONTENT)), "cut", "404", etag='"old"')
    unchecked = remote(site, size=0, checksum="")
    with pytest.raises(DataError, match="404"):
        fetch(unchecked, target)
    assert target.with_name(".file.bin.part").stat().st_size == HALF
    site.content, site.etag = CONTENT, '"new"'
    fetch(unchecked, target)
    assert arrived(target)
    assert ranges(site)[-1] == f"bytes={HALF}-"  # with If-Range, to which a new version answers from its beginning


def test_the_etag_of_one_server_means_nothing_to_another(serve: Serve, target: Path) -> None:
    one, other = serve(bytes(len(CONTENT)), "cut", "404", etag='"1"'), serve(CONTENT, etag='"1"')
    fetch(remote(one, other, size=0, checksum=""), target)
    assert arrived(target)
    assert ranges(other) == [""]


@pytest.mark.parametrize(("etag", "again"), [('"one"', f"bytes={HALF}-"), ('W/"one"', ""), ("", "")])
def test_without_a_checksum_only_a_strong_etag_lets_a_part_be_taken_up(
    serve: Serve, target: Path, etag: str, again: str
) -> None:
    site = serve(CONTENT, "cut", etag=etag)
    fetch(remote(site, size=0, checksum=""), target)
    assert arrived(target)
    assert ranges(site) == ["", again]


def test_what_is_there_is_checked_and_never_replaced(serve: Serve, target: Path) -> None:
    site = serve(CONTENT)
    target.write_bytes(CONTENT)
    fetch(remote(site), target)
    target.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"file\.bin is not the published file, and a download does not overwrite it"):
        fetch(remote(site), target)
    assert target.read_bytes() == b"mine"
    assert not site.asked


def test_the_course_mirror_is_asked_first_and_believed_no_more_than_others(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course, public = serve(CONTENT), serve(CONTENT)
    monkeypatch.setenv("LABKIT_MIRROR", course.address + "vision")  # with or without a slash at its end
    fetch(remote(public), target)
    assert [path for path, _ in course.asked] == ["/vision/file.bin"]
    assert not public.asked
    course.faults = ["wrong bytes"]
    fetch(remote(public), target.with_name("second.bin"))
    assert len(public.asked) == 1
    assert target.with_name("second.bin").read_bytes() == CONTENT


def test_the_password_of_a_mirror_is_not_shown(serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course, public = serve(CONTENT, "403"), serve(CONTENT, "404")
    monkeypatch.setenv("LABKIT_MIRROR", course.address.replace("//", "//student:secret@"))
    with pytest.raises(DataError) as caught:
        fetch(remote(public), target)
    assert "secret" not in str(caught.value)
    assert f"{course.address}file.bin answers 403" in str(caught.value)
    public.faults = ["404"]
    monkeypatch.setenv("LABKIT_MIRROR", course.address.replace("http://", "ftp://student:secret@"))
    with pytest.raises(DataError, match="No connection adapters were found for 'ftp://127") as caught:
        fetch(remote(public), target)
    assert "secret" not in str(caught.value)


# What other processes do: each gets the facts of a data set of one packed file, and the folder that it goes to.
GET = """if True:
    import json, sys
    from labkit.data.downloads import download_files
    from labkit.errors import DataError
    try:
        download_files(__import__("pathlib").Path(sys.argv[1]), "set", json.loads(sys.argv[2]))
    except DataError as error:
        sys.exit(str(error))"""


def published(site: type[Site], content: bytes) -> dict[str, Any]:
    """The facts of a data set of one file, which ``site`` serves packed."""
    facts = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "remote": "file.bin.gz",
        "remote_size": len(site.content),
        "remote_checksum": f"md5:{hashlib.md5(site.content).hexdigest()}",
    }
    return {"mirrors": [site.address], "files": {"set/file.bin": facts}}


def command(root: Path, known: dict[str, Any]) -> list[str]:
    return [sys.executable, "-c", GET, str(root), json.dumps(known)]


def test_a_download_that_was_killed_is_taken_up_by_the_next_process(serve: Serve, tmp_path: Path) -> None:
    site = serve(gzip.compress(CONTENT), "hang")
    process = subprocess.Popen(command(tmp_path, published(site, CONTENT)))
    part = tmp_path / ".download-set" / ".file.bin.gz.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > HALF - 2**17):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert not (tmp_path / "set").exists()
    subprocess.run(command(tmp_path, published(site, CONTENT)), check=True, timeout=60)
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT
    assert ranges(site) == ["", f"bytes={kept}-"]
    assert site.served[1] == len(site.content) - kept
    assert not (tmp_path / ".download-set").exists()


def test_eight_processes_make_one_download(serve: Serve, tmp_path: Path) -> None:
    site = serve(gzip.compress(CONTENT))
    processes = [subprocess.Popen(command(tmp_path, published(site, CONTENT))) for _ in range(8)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 8
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT
    assert len(site.asked) == 1


@pytest.mark.parametrize(("kilobytes", "stage"), [(800, "while it arrives"), (2000, "while it is unpacked")])
def test_a_full_disk_is_named_and_what_has_arrived_is_used_when_there_is_room(
    serve: Serve, tmp_path: Path, kilobytes: int, stage: str
) -> None:
    site = serve(gzip.compress(CONTENT))
    (tmp_path / "disk").mkdir()
    script = """disk=$1; size=$2; shift 2
        mount -t tmpfs -o size=${size}k none "$disk" || exit 99
        "$@" && exit 98  # it should not have fitted
        mount -o remount,size=8m "$disk" && "$@" && cmp "$disk/set/file.bin" "$disk/../expected" && ls -A "$disk" """
    (tmp_path / "expected").write_bytes(CONTENT)
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]  # a disk that nobody else sees
    words = [*alone, "sh", "-c", script, "sh", str(tmp_path / "disk"), str(kilobytes)]
    try:
        words += command(tmp_path / "disk", published(site, CONTENT))
        finished = subprocess.run(words, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("there is no unshare(1) here to make a small disk with")
    if finished.returncode == 99 or "unshare" in finished.stderr:
        pytest.skip(f"no small disk can be made here: {finished.stderr.strip()}")
    assert finished.returncode == 0, finished.stderr
    assert "No space left on device" in finished.stderr
    assert "make room" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    assert sorted(finished.stdout.split()) == [".set.lock", "set"]
    assert sum(site.served) < len(site.content) + 2**20  # but for what waited in the network's buffers
    if stage == "while it arrives":
        assert re.fullmatch(r"bytes=[1-9]\d+-", ranges(site)[1])
    else:
        assert len(site.asked) == 1


def test_progress_is_a_line_on_a_terminal_and_silence_elsewhere(serve: Serve, tmp_path: Path) -> None:
    known = published(serve(gzip.compress(CONTENT)), CONTENT)
    silent = subprocess.run(command(tmp_path / "a", known), capture_output=True, check=True, timeout=60)
    assert (silent.stdout, silent.stderr) == (b"", b"")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(command(tmp_path / "b", known), stdout=subprocess.DEVNULL, stderr=theirs) as process:
        assert process.wait(timeout=60) == 0
    os.close(theirs)
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "file.bin.gz" in said
    assert "1.57M" in said
    assert "\n" not in said  # redrawn


def test_packed_bytes_that_hold_another_file_are_refused_and_deleted(serve: Serve, tmp_path: Path) -> None:
    known = published(serve(gzip.compress(CONTENT)), CONTENT)
    known["files"]["set/file.bin"]["sha256"] = "0" * 64
    with pytest.raises(DataError, match=r"file\.bin\.gz does not hold the published set/file\.bin"):
        download_files(tmp_path, "set", known)
    known["files"]["set/file.bin"] |= {"size": 1000}
    with pytest.raises(DataError, match="more bytes than the data set has"):
        download_files(tmp_path, "set", known)
    assert not list(tmp_path.rglob("*file.bin*"))


def test_a_folder_that_cannot_be_written_is_named(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    known = {"mirrors": [], "archives": {"folder": {}}}
    with pytest.raises(DataError, match=r"Cannot download into .*file/data \(Not a directory\)"):
        download_folders(tmp_path / "file" / "data", "set", known)
