"""Models into the store and out of it, each whole or not at all.

A model is gathered in a hidden folder of the store, compared with the digests of its card and tried, and only
then takes its name.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import ssl
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener, url2pathname

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_write, ensure_writable_dir, reason, shown
from ultrasam.zoo.card import CARD_FILE, DATA_FILES, MODEL_FILES, Card
from ultrasam.zoo.store import HOME_VARIABLE, Weights, bundled_folders, catalogue, store

# Runs a model once and raises UltrasamError if that fails. It comes from the caller: this room has no engine.
Try = Callable[[Weights], None]
# Told while a file is downloaded: its name, the bytes so far, and all of them or None where not known.
Tell = Callable[[str, int, int | None], None]

# The largest file of a model: the weights of SAM ViT-H have 2.6 GB.
MOST_BYTES = 4 * 1024**3
_MOST_TEXT = 1024**2
_NOTES = "MODEL_CARD.md"
_ALL_FILES = (CARD_FILE, *MODEL_FILES, *DATA_FILES, _NOTES)
_BLOCK = 1 << 20
_TIMEOUT = 30.0
_TORCH_SUFFIXES = {".pth", ".pt", ".ckpt", ".safetensors"}
# What a killed import left behind is removed after a day.
_STALE_SECONDS = 86_400.0


class _Source:
    """The files of a model in a folder or a zip."""

    def __init__(self, place: str, files: Mapping[str, Callable[[], IO[bytes]]]) -> None:
        self.place = place
        self.files = files

    def text(self, name: str) -> str:
        try:
            with self.files[name]() as stream:
                content = stream.read(_MOST_TEXT + 1)
            if len(content) > _MOST_TEXT:
                raise UltrasamError(f"{self.place}: {name} is larger than {_MOST_TEXT:,} bytes")
            return content.decode("utf-8")
        except _UNREADABLE as error:
            raise UltrasamError(f"{self.place}: {name} cannot be read ({reason(error)})") from error


# What reading a damaged or foreign zip, or a folder, may raise.
_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def import_model(source: AnyPath, try_out: Try, *, name: str = "", licence: str = "") -> Weights:
    """Copy a model folder, or a zip of one, as `ultrasam export` writes it, into the store.

    `name` replaces the id of the card, `licence` what it says of the licence. Raises UltrasamError if it is
    no such model, if a file is not what the card says, if `try_out` fails, or if the name is taken.
    """
    path = Path(source)
    with _opened(path) as found:
        content = _card_content(found.text(CARD_FILE), f"{found.place}: {CARD_FILE}")
        content |= {"id": name} if name else {}
        content |= {"licence": licence} if licence else {}
        card = Card.from_json(json.dumps(content), f"{found.place}: {CARD_FILE}")
        with _staged(card.id) as folder:
            for file in card.files:
                if file not in found.files:
                    raise UltrasamError(f"{found.place} has no {file}: export the model again")
                try:
                    with found.files[file]() as stream:
                        digest = _copy(stream, folder / file, found.place)
                except _UNREADABLE as error:
                    raise UltrasamError(f"{found.place}: {file} cannot be read ({reason(error)})") from error
                _compare(digest, card, file, f"{found.place}: {file}")
            if _NOTES in found.files:
                atomic_write(folder / _NOTES, found.text(_NOTES).encode())
            return _finish(card, content, folder, try_out)


def add_model(name: str, write: Callable[[Path], Mapping[str, Any]], try_out: Try) -> Weights:
    """Bring a model into the store as `name`: `write` puts its files into a folder and returns its card.

    Raises UltrasamError if the name is taken or cannot be one, or what `write` and `try_out` raise.
    """
    with _staged(name) as folder:
        content = write(folder)
        return _finish(Card.from_json(json.dumps(content), CARD_FILE), content, folder, try_out)


def fetch_model(
    source: AnyPath, try_out: Try, tell: Tell = lambda name, done, total: None, *, name: str = ""
) -> Weights:
    """Download a model into the store from the addresses in its card.

    `source` is the name of a card that comes with the package, or a card file or its folder. In a card the
    field `address` maps both file names to an https:// or file:// address. `name` replaces its id. Raises
    UltrasamError as `import_model` does, and if an address cannot be reached.
    """
    folder = catalogue().get(str(source))
    path = Path(source) if folder is None else folder
    path = path / CARD_FILE if os.path.isdir(path) else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        known = ", ".join(catalogue()) or "no cards without their files come with this package"
        raise UltrasamError(
            f"there is no model card {str(source)!r:.200} to fetch: give a card file or a name ({known})"
        ) from None
    content = _card_content(text, shown(path)) | ({"id": name} if name else {})
    card = Card.from_json(json.dumps(content), shown(path))
    address = content.get("address")
    if not address:
        raise UltrasamError(
            f"the card of {card.id} has no address: get {' and '.join(MODEL_FILES)} where the model is "
            f"published, put them beside the card and run `ultrasam models import FOLDER`"
        )
    if not isinstance(address, dict) or not all(isinstance(address.get(file), str) for file in MODEL_FILES):
        raise UltrasamError(f'{shown(path)}: "address" should map {" and ".join(MODEL_FILES)} to addresses')
    with _staged(card.id) as staged:
        for file in MODEL_FILES:
            digest = _download(address[file], staged / file, tell)
            _compare(digest, card, file, address[file])
        return _finish(card, content, staged, try_out)


def remove_model(name: str) -> Path:
    """Delete a model from the store and return the folder that it had. Raises UltrasamError for any other."""
    folder = store() / name
    if not _is_name(name) or not os.path.lexists(folder):
        if name in bundled_folders():
            raise UltrasamError(
                f"{name} comes with the package and stays: only models in the store are removed"
            )
        raise UltrasamError(f"the store has no model {name!r:.200}: `ultrasam models list` shows what it has")
    try:
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink()
            return folder
        hidden = _hidden_folder()
        folder.rename(hidden)  # from here on nobody finds half a model
        shutil.rmtree(hidden)
    except OSError as error:
        raise UltrasamError(f"{shown(folder)} cannot be removed ({reason(error)})") from error
    return folder


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    place = shown(path)
    if os.path.isdir(path):
        names = [name for name in _ALL_FILES if os.path.isfile(path / name)]
        if CARD_FILE not in names:
            raise UltrasamError(f"{place} is not a model folder: it has no {CARD_FILE}")
        yield _Source(place, {name: _opener_of(path / name) for name in names})
        return
    if not os.path.isfile(path):
        raise UltrasamError(f"{place} does not exist: give a model folder or a zip of one")
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE:
        if path.suffix.lower() in _TORCH_SUFFIXES:
            raise _is_torch(place) from None
        raise UltrasamError(f"{place} is neither a model folder nor a zip of one") from None
    with archive:
        yield _Source(place, _members(archive, place))


def _opener_of(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _members(archive: zipfile.ZipFile, place: str) -> dict[str, Callable[[], IO[bytes]]]:
    """The files of the one model in a zip. They are read by name, so no name can lead out of the store."""
    cards = [name for name in archive.namelist() if name.split("/")[-1] == CARD_FILE]
    if any(name.split("/")[-1] == "data.pkl" for name in archive.namelist()):
        raise _is_torch(place)
    if len(cards) != 1:
        problem = "no" if not cards else f"{len(cards)} files"
        raise UltrasamError(f"{place} has {problem} {CARD_FILE}: zip one model folder")
    inside = cards[0].removesuffix(CARD_FILE)
    members: dict[str, Callable[[], IO[bytes]]] = {}
    for name in _ALL_FILES:
        if inside + name in archive.namelist():
            info = archive.getinfo(inside + name)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UltrasamError(f"{place}: {name} is packed in an unusual way: zip it again with deflate")
            members[name] = _member_of(archive, info)
    return members


def _member_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _is_torch(place: str) -> UltrasamError:
    return UltrasamError(
        f"{place} is a torch checkpoint, no model folder: give it the ending .pth to have it converted"
    )


def _card_content(text: str, source: str) -> dict[str, Any]:
    """All fields of a card that can be used."""
    Card.from_json(text, source)
    content: dict[str, Any] = json.loads(text)
    return content


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None


@contextmanager
def _staged(name: str) -> Iterator[Path]:
    """A hidden folder in the store that becomes the model `name` if nothing is raised, and else vanishes."""
    if not _is_name(name):
        raise UltrasamError(
            f"{name!r:.120} cannot be the name of a model: choose one of letters, digits, . _ - with --name"
        )
    if name in bundled_folders():
        raise UltrasamError(f"{name} comes with the package: choose another name with --name")
    target = ensure_writable_dir(store()) / name
    if os.path.lexists(target):
        raise UltrasamError(
            f"the store has a model {name} already: run `ultrasam models remove {name}` first, or choose "
            "another name with --name"
        )
    _sweep()
    folder = _hidden_folder()
    try:
        folder.mkdir()
        yield folder
        os.rename(folder, target)
    except OSError as error:
        raise UltrasamError(f"{shown(target)} cannot be written ({reason(error)})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hidden_folder() -> Path:
    return store() / f".{secrets.token_hex(8)}.tmp"


def _sweep() -> None:
    for folder in store().glob(".*.tmp"):
        try:
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _finish(card: Card, content: Mapping[str, Any], folder: Path, try_out: Try) -> Weights:
    """Write the card and try the model, still hidden."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    atomic_write(folder / CARD_FILE, text.encode("utf-8", "backslashreplace"))
    try_out(Weights(card, folder))
    return Weights(card, store() / card.id)


def _compare(digest: str, card: Card, file: str, place: str) -> None:
    if digest != card.sha256[file].lower():
        raise UltrasamError(
            f"{place} is not the file that the card means: its SHA-256 is {digest[:12]}..., "
            f"the card says {card.sha256[file][:12]}..."
        )


def _copy(stream: IO[bytes], path: Path, place: str, tell: Callable[[int], None] = lambda done: None) -> str:
    """Write all of the stream, synced; returns its SHA-256. UltrasamError beyond `MOST_BYTES`."""
    digest = hashlib.sha256()
    done = 0
    with path.open("xb") as file:
        while block := stream.read(_BLOCK):
            done += len(block)
            if done > MOST_BYTES:
                raise UltrasamError(f"{place} is larger than {MOST_BYTES:,} bytes: it is no model file")
            digest.update(block)
            _put(file, block)
            tell(done)
        _put(file, b"")
    return digest.hexdigest()


def _put(file: IO[bytes], block: bytes) -> None:
    """Write now, so that an error is told from one of reading; without a block sync all to disk."""
    try:
        file.write(block)
        file.flush()
        if not block:
            os.fsync(file.fileno())
    except OSError as error:
        raise UltrasamError(
            f"the store {shown(store())} cannot be written ({reason(error)}): free some space, or move "
            f"it with {HOME_VARIABLE}"
        ) from error


class _OnlyHttps(HTTPRedirectHandler):
    def redirect_request(  # type: ignore[no-untyped-def]
        self, req, fp, code, msg, headers, newurl
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            raise UltrasamError(f"{req.full_url} leads to {newurl}, which is not https://: it is not fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(address: str, path: Path, tell: Tell) -> str:
    """Write what lies at an address; returns its SHA-256."""
    parts = urlsplit(address)
    if parts.scheme not in ("https", "file") or (parts.scheme == "file" and parts.netloc):
        raise UltrasamError(f"{address!r:.200} is no https:// or file:// address: it is not fetched")
    try:
        if parts.scheme == "file":
            stream: IO[bytes] = open(url2pathname(parts.path), "rb")  # noqa: SIM115
            total: int | None = os.fstat(stream.fileno()).st_size
        else:
            request = Request(address, headers={"User-Agent": f"ultrasam/{__version__}"})
            stream = build_opener(_OnlyHttps).open(request, timeout=_TIMEOUT)
            length = stream.headers.get("Content-Length", "")  # type: ignore[attr-defined]
            total = int(length) if length.isdecimal() else None
        with stream:
            if total is not None and total > MOST_BYTES:
                raise UltrasamError(f"{address} is larger than {MOST_BYTES:,} bytes: it is no model file")
            digest = _copy(stream, path, address, lambda done: tell(path.name, done, total))
    except HTTPError as error:
        raise UltrasamError(
            f"{address} is not to be had: the server says {error.code} {error.reason}"
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        offline = (
            "" if parts.scheme == "file" else ": check the connection; `ultrasam models import` needs none"
        )
        raise UltrasamError(f"{address} cannot be fetched ({_why(error)}){offline}") from error
    if total is not None and path.stat().st_size != total:
        raise UltrasamError(
            f"{address} broke off after {path.stat().st_size:,} of {total:,} bytes: try again"
        )
    return digest


def _why(error: BaseException) -> str:
    cause = getattr(error, "reason", None)  # URLError wraps what happened
    if isinstance(cause, ssl.SSLError) or not isinstance(cause, BaseException):
        return reason(error)
    return reason(cause)
