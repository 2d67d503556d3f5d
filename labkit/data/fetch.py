"""Fetch a published file over a network that fails: taken up again, bounded, checked, and only then given its name.

What has arrived waits in ``.NAME.part``; ``.NAME.etag`` says which version (ETag) of which address it is.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from requests import RequestException
from tqdm import tqdm

from labkit.errors import DataError
from labkit.files import checksum

TIMEOUTS = (10, 30)  # seconds to connect, and without a byte
CONTINUATIONS, PAUSE = 10, 0.5  # times that a cut connection is taken up again at one address; seconds before that
CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class Remote:
    """A published file, and what is known of it."""

    addresses: tuple[str, ...]  # tried in this order, after the course's own mirror
    at_most: int  # bytes; an answer that is longer is not the file
    size: int = 0  # bytes, exactly; 0: not known
    checksum: str = ""  # "sha256:…" or "md5:…"; empty: not known, so what is inside must be checked

    def all_addresses(self) -> list[str]:
        """The addresses, first the one on the mirror that the environment variable LABKIT_MIRROR names, if any."""
        mirror, name = os.environ.get("LABKIT_MIRROR", "").strip(), self.addresses[0].split("/")[-1]
        return [*([f"{mirror.rstrip('/')}/{name}"] if mirror else []), *self.addresses]

    def is_in(self, path: Path) -> bool:
        """Whether ``path`` holds the published bytes, as far as they are known."""
        method, _, digest = self.checksum.partition(":")
        return not method or checksum(path, method) == digest


def fetch(remote: Remote, target: Path) -> None:
    """Put a published file at ``target``; DataError if no address gives it, OSError if it cannot be written.

    A file that is there is checked and never replaced. The part that has arrived is kept, unless its bytes are wrong.
    """
    if target.exists():
        if not remote.is_in(target):
            raise DataError(f"{target} is not the published file, and a download does not overwrite it: move it away.")
        return
    part, failures = target.with_name(f".{target.name}.part"), []
    for address in remote.all_addresses():
        try:
            _complete(part, address, remote)
            os.replace(part, target)
            return
        except RequestException as error:
            reason = f"is out of reach ({type(error).__name__})" if isinstance(error, CUT) else _shown(str(error))
            failures.append(f"{_shown(address)} {reason}")
        finally:
            if not part.exists():
                part.with_suffix(".etag").unlink(missing_ok=True)
    raise DataError(
        f"Could not download {target.name} ({'; '.join(failures)}): check the network, or name your course's mirror in "
        f"LABKIT_MIRROR, and try again ({_size(part):,} bytes have arrived and are kept), or take source='sample'."
    )


def _complete(part: Path, address: str, remote: Remote) -> None:
    """Complete ``part`` from one address, over as many connections as it takes while bytes arrive, and check it."""
    taken_up = _size(part) > 0
    for _ in range(1 + CONTINUATIONS):
        had = _size(part)
        try:
            if (had and had == remote.size) or _stream(part, address, remote):
                break
        except CUT:
            if _size(part) <= had:
                raise
        time.sleep(PAUSE)
    else:
        raise RequestException("cuts the connection again and again")
    if not remote.is_in(part):
        part.unlink()
        if not taken_up:
            raise RequestException("sends other bytes than the published ones")
        _complete(part, address, remote)  # anew: the fault may lie in what was there before


def _stream(part: Path, address: str, remote: Remote) -> bool:
    """Append one answer to ``part``, or begin it anew; whether the file is as long as it should be."""
    etag = _etag(part, address)
    had = _size(part) if remote.checksum or etag else 0  # without either, two versions might be put together unseen
    answer = _ask(address, had, etag)
    if had and answer.status_code in (206, 416) and not _continues(answer, had, remote):
        answer.close()
        had, answer = 0, _ask(address)
    with answer:
        if answer.status_code != 200 and not (had and answer.status_code == 206):
            raise RequestException(f"answers {answer.status_code} {answer.reason}")
        done = had if answer.status_code == 206 else 0
        length = answer.headers.get("Content-Length") or "0"
        if not length.isdecimal():
            raise RequestException(f"announces {length[:40]!r} bytes")
        announced = done + int(length)
        if announced > remote.at_most or (remote.size and announced not in (done, remote.size)):
            raise RequestException(f"has {announced:,} bytes, published are {remote.size or remote.at_most:,}")
        part.with_suffix(".etag").write_text(f"{_shown(address)}\n{answer.headers.get('ETag', '')}", "utf-8")
        done = _append(part, done, answer, remote)
    if done < remote.size and done <= had:
        raise RequestException(f"sends only {done:,} of {remote.size:,} bytes")
    return done >= remote.size


def _append(part: Path, done: int, answer: requests.Response, remote: Remote) -> int:
    """Write the body of an answer behind the first ``done`` bytes of ``part``; the bytes it has then."""
    answer.raw.headers.pop("Content-Encoding", None)  # some servers call a .gz so: it is wanted packed, as published
    look = {"desc": part.name[1:-5], "unit": "B", "unit_scale": True, "disable": None, "leave": False}  # on a terminal
    with open(part, "ab" if done else "wb") as file, tqdm(initial=done, total=remote.size or None, **look) as bar:
        for block in answer.iter_content(2**13):
            done += len(block)
            if done > remote.at_most:
                part.unlink()
                raise RequestException(f"sends more than {remote.at_most:,} bytes")
            file.write(block)
            bar.update(len(block))
    return done


def _ask(address: str, start: int = 0, etag: str = "") -> requests.Response:
    resume = {"Range": f"bytes={start}-", "If-Range": etag or None} if start else {}
    return requests.get(address, headers={"Accept-Encoding": "identity"} | resume, stream=True, timeout=TIMEOUTS)


def _continues(answer: requests.Response, start: int, remote: Remote) -> bool:  # with the rest of the same file
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    return bool(span) and int(span[1]) == start and (not remote.size or span[3] in ("*", str(remote.size)))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _etag(part: Path, address: str) -> str:  # the version that the part is of, if this address has told one
    tag = part.with_suffix(".etag")
    told_by, _, etag = (tag.read_text("utf-8", "replace") if tag.exists() else "").partition("\n")
    return etag if told_by == _shown(address) and not etag.startswith("W/") else ""  # W/: weak, no version of bytes


def _shown(address: str) -> str:  # without a password
    return re.sub(r"//[^/@]*@", "//", address)
