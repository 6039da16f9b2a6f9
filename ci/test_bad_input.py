"""What bad input gets: one sentence, an exit code, nothing half-started; or, for devices that are absent, a card and a warning."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from browser import KEEP_CONNECTIONS, Chromium, Page
from device import DUPLEX, Device, wait_for
from peer import Peer, new_token, set_password
from stock import Launch, listening_port, signaller, sink, source

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
Run = Callable[[str], Launch]
#: Brightest green of the picture, 0 to 255.
LIGHTEST = """(() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const context = canvas.getContext("2d");
  context.drawImage(document.getElementById("picture"), 0, 0, 640, 360);
  return context.getImageData(0, 0, 640, 360).data.reduce((most, value, at) => (at % 4 === 1 ? Math.max(most, value) : most), 0);
})()"""
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("DUPLEX_")}


def duplex(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    """A command that must end by itself."""
    return subprocess.run([DUPLEX, *words], capture_output=True, text=True, timeout=30, env=CLEAN, stdin=subprocess.DEVNULL, **more)  # type: ignore[call-overload]


def one_sentence(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """The one line that a refusal prints; it contains the words."""
    complaints = [line for line in done.stderr.splitlines() if line.startswith("duplex: ")]
    assert done.returncode == code and len(complaints) == 1 and "ready" not in done.stdout, (done.returncode, done.stdout, done.stderr)
    assert complaints[0] == done.stderr.splitlines()[-1]
    for word in words:
        assert word in complaints[0], (word, complaints[0])
    assert "panicked" not in done.stderr
    return complaints[0]


@pytest.fixture
def without_pango(tmp_path: Path) -> dict[str, str]:
    """Surroundings in which GStreamer's plugin for text in pictures is not installed."""
    shown = subprocess.run(["gst-inspect-1.0", "coreelements"], capture_output=True, text=True, timeout=60, check=True).stdout
    (library,) = re.findall(r"Filename +(\S+)", shown)
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for file in Path(library).parent.glob("*.so"):
        if file.name != "libgstpango.so":
            (plugins / file.name).symlink_to(file)
    return {**CLEAN, "GST_PLUGIN_SYSTEM_PATH": str(plugins), "GST_PLUGIN_SYSTEM_PATH_1_0": str(plugins), "GST_REGISTRY": str(tmp_path / "registry")}


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_missing_element_is_refused_with_what_to_install(tmp_path: Path, without_pango: dict[str, str], command: str) -> None:
    state = tmp_path / "state"
    done = subprocess.run([DUPLEX, command, "--listen", "127.0.0.1:0", "--state-dir", state], capture_output=True, text=True, timeout=60,
                          env=without_pango, stdin=subprocess.DEVNULL)
    one_sentence(done, 1, "textoverlay is missing", "gstreamer1.0-x")
    assert not state.exists()


def test_doctor_names_a_missing_element_and_a_taken_help_port(tmp_path: Path, without_pango: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([DUPLEX, "doctor", "--listen", "127.0.0.1:0", "--help-listen", f"127.0.0.1:{port}", "--state-dir", tmp_path / "state"],
                              capture_output=True, text=True, timeout=60, env=without_pango, stdin=subprocess.DEVNULL)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 1 and len(failed) == 2, done.stdout + done.stderr
    assert "textoverlay" in failed[0] and "gstreamer1.0-x" in failed[0] and f"port 127.0.0.1:{port}" in failed[1]
    assert re.fullmatch(r"2 things to mend(, \d+ things? to look at)?", done.stdout.splitlines()[-1]), done.stdout


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_unknown_keys_and_wrong_values_are_refused_together(tmp_path: Path, command: str) -> None:
    file = tmp_path / "duplex.toml"
    file.write_text('vidoe = "test"\nwidth = 639\nvideo-codec = "av1"\nlisten = ["nowhere"]\nduck = "loud"\npassword = "hunter2"\n')
    state = tmp_path / "state"
    done = duplex(command, "--config", file, "--state-dir", state, "--talk-limit", "-3", "--framerate", "1000")
    # A flag whose value begins with a dash is clap's to refuse, if it does; then the rest is asked for without it.
    if "unexpected argument" in done.stderr:
        done = duplex(command, "--config", file, "--state-dir", state, "--talk-limit", "forever", "--framerate", "1000")
    lines = done.stderr.removeprefix("duplex: ").splitlines()
    assert done.returncode == 2
    assert len(lines) == 8, done.stderr
    for key in ("vidoe", "width", "video-codec", "listen", "duck", "password", "talk-limit", "framerate"):
        (line,) = [line for line in lines if re.match(rf"{key}\b", line)]
        assert str(file) in line or f"--{key}" in line, line
    text = "\n".join(lines)
    assert re.search(r"^vidoe .*did you mean video\?$", text, re.MULTILINE), text
    assert "639" in text and "av1" in text and "1000" in text and "video" in text
    assert "hunter2" not in text
    assert not state.exists()


@pytest.mark.parametrize(("text", "words"), [("width = ", ["line 1"]), ("\x00", ["not valid TOML"]), (None, ["no such file"])])
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str | None, words: list[str]) -> None:
    file = tmp_path / "duplex.toml"
    if text is not None:
        file.write_text(text)
    done = duplex("run", "--config", file)
    assert done.returncode == 2 and str(file) in done.stderr and all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize("flags", [["--video", "file:MISSING"], ["--audio", "file:MISSING"], ["--video", "image:MISSING"], ["--video", "file:."], ["--sound", "file:MISSING/x.wav"]])
def test_a_missing_file_is_refused_at_the_start(tmp_path: Path, flags: list[str]) -> None:
    place = tmp_path / "not-there.mp4"
    flags = [flag.replace("MISSING", str(place)).replace("file:.", f"file:{tmp_path}") if ":" in flag else flag for flag in flags]
    done = duplex("run", "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state", *flags)
    one_sentence(done, 2, flags[0].removeprefix("--"), str(tmp_path))
    assert not (tmp_path / "state").exists()


def faulty(device: Start, launch: Run, pattern: str, *flags: str) -> Device:
    """A device that serves although a source is broken: it says so, and a viewer gets a card."""
    one = device(*flags)
    with Peer(one) as early:
        early.device_id()
    launch(source(signaller(one.signalling, ca=one.ca))).wait_for_frames(10)
    one.wait_for_log(pattern)
    return one


@pytest.mark.parametrize("flag", ["--video=file:", "--audio=file:", "--video=image:"])
def test_an_undecodable_file_is_refused_at_the_start(tmp_path: Path, flag: str) -> None:
    file = tmp_path / "noise.mp4"
    file.write_bytes(os.urandom(20_000))
    done = duplex("run", "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state", f"{flag}{file}")
    one_sentence(done, 2, "noise.mp4")
    assert not (tmp_path / "state").exists()


def test_a_file_without_sound_is_refused_as_sound(tmp_path: Path) -> None:
    file = tmp_path / "silent.mkv"
    words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=160x120", "-c:v", "libvpx", str(file)]
    subprocess.run(words, check=True, timeout=60)
    for flags in (["--audio", f"file:{file}"], ["--video", f"file:{file}", "--audio", f"file:{file}"]):
        done = duplex("run", "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state", *flags)
        one_sentence(done, 2, "duplex: audio = ", "silent.mkv", "cannot be played: the file has no sound")


@pytest.mark.parametrize("command", ["run", "check-config"])
@pytest.mark.parametrize(
    ("key", "source", "rule"),
    [
        ("video", "file:README.md", "cannot be shown: it is a text file"),
        ("video", "image:README.md", "cannot be shown: it is a text file"),
        ("audio", "file:README.md", "cannot be played: it is a text file"),
        ("video", "file:song.wav", "cannot be shown: the file has no picture"),
        ("video", "image:song.wav", "cannot be shown: the file has no picture"),
        ("audio", "file:page.html", "cannot be played: nothing that is installed decodes text/html"),
    ],
)
def test_what_a_file_is_instead_is_told_with_key_and_value(tmp_path: Path, command: str, key: str, source: str, rule: str) -> None:
    (tmp_path / "README.md").write_text("# A page\n\nThat tells of something, and of how it is used.\n" * 20)
    (tmp_path / "page.html").write_text("<!DOCTYPE html>\n<html><head><title>A page</title></head></html>\n")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=1", str(tmp_path / "song.wav")], check=True, timeout=60)
    done = duplex(command, "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state", f"--{key}", source, cwd=tmp_path)
    assert one_sentence(done, 2) == f'duplex: {key} = "{source}" (--{key}): {rule}'
    # The doctor finds the same.
    looked = duplex("doctor", "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state", f"--{key}", source, cwd=tmp_path)
    assert looked.returncode == 1 and f'FAIL  source: {key} = "{source}" (--{key}): {rule}' in looked.stdout.splitlines(), looked


def test_both_sources_that_cannot_be_played_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "duplex.toml").write_text('video = "file:a.txt"\naudio = "file:b.txt"\n')
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("words and more words\n" * 20)
    done = duplex("check-config", "--config", "duplex.toml", "--state-dir", "state", cwd=tmp_path)
    lines = done.stderr.removeprefix("duplex: ").splitlines()
    assert done.returncode == 2 and lines == [
        'video = "file:a.txt" (duplex.toml): cannot be shown: it is a text file',
        'audio = "file:b.txt" (duplex.toml): cannot be played: it is a text file',
    ], done


def green_film(path: Path) -> Path:
    words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=c=0x20C040:d=2:s=640x360:r=30,noise=alls=30:allf=t", "-c:v", "libvpx", "-b:v", "4M", str(path)]
    subprocess.run(words, check=True, timeout=60)
    return path


def is_green(page: Page) -> bool:
    """The film is what is seen, everywhere."""
    boxes = [(left, top, 0.1, 0.1) for left in (0.05, 0.45, 0.85) for top in (0.05, 0.45, 0.85)]
    return all(np.abs(page.colour(*box) - (0x20, 0xC0, 0x40)).max() < 30 for box in boxes)


def wait_for_card(page: Page) -> None:
    """Waits for a dark picture with light words on it."""
    wait_for("the card", lambda: page.colour(0.02, 0.02, 0.96, 0.1).max() < 100 and page.evaluate(LIGHTEST) > 150)


def put_back(kept: Path, file: Path) -> None:
    shutil.copy(kept, file.with_suffix(".new"))
    file.with_suffix(".new").rename(file)


def test_a_file_that_is_lost_gives_a_card_and_comes_back(device: Start, tmp_path: Path) -> None:
    """A card is seen and the page names the fault; with the file the picture comes back by itself, in the same session."""
    file, kept = tmp_path / "short.mkv", green_film(tmp_path / "kept.mkv")
    put_back(kept, file)
    one = device("--video", f"file:{file}")
    file.unlink()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        said = one.wait_for_log(r"WARN.*source failed.*short.mkv")[0]
        assert str(tmp_path) not in said, said
        wait_for_card(page)
        wait_for("the fault in the state line", lambda: "short.mkv" in page.state_line())
        put_back(kept, file)
        wait_for("the film", lambda: is_green(page), 30)
        wait_for("no fault any more", lambda: page.state_line().endswith("Live"))
        one.wait_for_log("source works again.*short.mkv")
        assert page.evaluate("connections.length") == 1
    assert one.log().count("viewer joins") == 1


@pytest.mark.parametrize("way", ["emptied", "overwritten"])
def test_a_file_that_is_lost_while_somebody_watches(device: Start, tmp_path: Path, way: str) -> None:
    """As when another is copied over it: a card and a warning, and with a good file the picture comes back."""
    file, kept = tmp_path / "short.mkv", green_film(tmp_path / "kept.mkv")
    put_back(kept, file)
    one = device("--video", f"file:{file}", "--audio", "silence")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        wait_for("the film", lambda: is_green(page))
        with file.open("r+b") as now:
            if way == "emptied":
                now.truncate(0)
            else:
                now.write(os.urandom(kept.stat().st_size))
        one.wait_for_log(r"WARN.*source failed.*short.mkv")
        wait_for_card(page)
        put_back(kept, file)
        wait_for("the film again", lambda: is_green(page), 30)
        assert page.evaluate("connections.length") == 1


@pytest.mark.parametrize(
    ("flags", "name"),
    [(["--video", "camera:/dev/video99"], "/dev/video99"), (["--audio", "microphone:hw:CARD=Nobody"], "Nobody"), (["--video", "camera:auto"], "camera"), (["--audio", "microphone:auto"], "microphone")],
)
def test_an_absent_camera_or_microphone_gives_a_card_and_a_warning(device: Start, launch: Run, flags: list[str], name: str) -> None:
    one = faulty(device, launch, r"WARN.*source failed", *flags)
    assert any("WARN" in line and name in line for line in one.lines), one.log()


def test_an_absent_speaker_is_no_reason_not_to_start(device: Start, launch: Run) -> None:
    one = device("--sound", "speaker:hw:CARD=Nobody")
    with Peer(one) as early:
        early.device_id()
    launch(source(signaller(one.signalling, ca=one.ca))).wait_for_frames(5)
    # Who talks is not heard, and the log says why.
    set_password(one)
    launch(sink(signaller(one.signalling, ca=one.ca, token=new_token(one, "talk")), video=False, tone=1000))
    one.wait_for_log(r"WARN.*the talker is not heard:.*speaker.*hw:CARD=Nobody.* is not there")


@pytest.mark.parametrize("key", ["publish-ca", "credential", "log"])
def test_what_is_refused_only_when_it_is_used_is_found_by_the_doctor_as_well(tmp_path: Path, key: str) -> None:
    """One sentence of ``run`` and ``check-config``, and the same in the doctor's list."""
    (tmp_path / "words.pem").write_text("no certificate\n")
    words = {
        "publish-ca": ["--publish-url", "https://sfu.example.org/whip", "--publish-ca", "words.pem"],
        "credential": ["--config", "duplex.toml"],
        "log": ["--log", "]"],
    }[key]
    # A credential of bytes that are no text.
    (tmp_path / "secret").write_bytes(b"\xff\xfe\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "duplex.toml").write_text('[[ice-server]]\nurls = "turn:turn.example.org"\nusername = "u"\ncredential-file = "secret"\n')
    common = ["--listen", "127.0.0.1:0", "--state-dir", "state", "--sound", "discard", *words]
    refused = {duplex(command, *common, cwd=tmp_path).stderr for command in ("run", "check-config")}
    assert len(refused) == 1 and not (tmp_path / "state").exists(), refused
    (sentence,) = refused.pop().removeprefix("duplex: ").splitlines()
    looked = duplex("doctor", *common, cwd=tmp_path)
    failed = [line for line in looked.stdout.splitlines() if line.startswith("FAIL")]
    assert looked.returncode == 1 and len(failed) == 1 and failed[0].endswith(f": {sentence}"), (sentence, looked)
    assert re.fullmatch(r"1 thing to mend(, \d+ things? to look at)?", looked.stdout.splitlines()[-1]), looked.stdout


@pytest.mark.parametrize("flag", ["--listen", "--help-listen"])
def test_a_busy_port_starts_nothing(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        listen = [] if flag == "--listen" else ["--listen", "127.0.0.1:0"]
        done = duplex("run", "--state-dir", tmp_path / "state", *listen, flag, address)
        sentence = one_sentence(done, 1, address, "in use")
        looked = duplex("doctor", "--state-dir", tmp_path / "state", *listen, flag, address)
    # The doctor says the same, and what to do about it.
    assert looked.returncode == 1 and f"FAIL  port {address}: {sentence.removeprefix('duplex: ')}" in looked.stdout.splitlines(), looked
    assert f"`{flag} ADDRESS:PORT` takes another one" in sentence
    assert "listen" in sentence
    assert not (tmp_path / "state/control.sock").exists()


def test_a_second_service_with_the_same_state_folder_is_refused(device: Start) -> None:
    one = device()
    done = duplex("run", "--listen", "127.0.0.1:0", "--state-dir", one.state)
    one_sentence(done, 1, f"Duplex already runs here: {one.url} (state folder {one.state})", "--state-dir FOLDER --listen")
    assert f"\naddress        {one.url}\n" in one.command("status").stdout
    # And the first one still answers its commands.
    assert "no running service" not in one.command("say", "hello").stderr


def test_a_port_that_another_duplex_has_is_told_with_its_address(device: Start, tmp_path: Path) -> None:
    one = device()
    done = duplex("run", "--listen", f"127.0.0.1:{one.port}", "--state-dir", tmp_path / "second", "--sound", "discard")
    one_sentence(done, 1, f"Duplex already runs here: {one.url} (state folder {one.state})", "`--listen ADDRESS:PORT`")
    assert not (tmp_path / "second/control.sock").exists()


def make_certificate(folder: Path, name: str, start: str, end: str) -> tuple[Path, Path]:
    """A self-signed certificate with OpenSSL, valid between two times (YYYYMMDDHHMMSSZ)."""
    key, request, certificate = (folder / f"{name}{end}" for end in ("-key.pem", ".csr", ".pem"))
    run = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)  # noqa: E731
    run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    key.chmod(0o600)
    run("req", "-new", "-key", key, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", request)
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        "copy_extensions=copy\n[p]\ncommonName=supplied\n"
    )
    run("ca", "-batch", "-config", "ca.cnf", "-selfsign", "-keyfile", key, "-in", request, "-startdate", start, "-enddate", end, "-out", certificate, "-notext")
    return certificate, key


def no_port_opens(tmp_path: Path, cert: Path, key: Path, code: int, *words: str) -> None:
    """Runs it, sees that it never listens, and reads its sentence."""
    words_ = [DUPLEX, "run", "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state", "--cert", cert, "--key", key]
    running = subprocess.Popen(words_, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN)
    try:
        while running.poll() is None:
            try:
                assert listening_port(running.pid) is None
            except FileNotFoundError:
                break
        out, err = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    one_sentence(subprocess.CompletedProcess([], running.returncode, out, err), code, *words)


def test_an_expired_certificate_opens_no_port(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "old", "20200101000000Z", "20200201000000Z")
    no_port_opens(tmp_path, cert, key, 1, "no port was opened", "expired", str(cert))


def test_a_certificate_of_the_future_opens_no_port(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "new", "20480101000000Z", "20480201000000Z")
    no_port_opens(tmp_path, cert, key, 1, "no port was opened", str(cert))


def test_a_certificate_with_another_key_opens_no_port(tmp_path: Path) -> None:
    cert, _ = make_certificate(tmp_path, "one", "20250101000000Z", "20480201000000Z")
    _, key = make_certificate(tmp_path, "two", "20250101000000Z", "20480201000000Z")
    no_port_opens(tmp_path, cert, key, 1, "no port was opened", str(key))


@pytest.mark.parametrize("spoilt", ["cert", "key"])
def test_an_unreadable_certificate_opens_no_port(tmp_path: Path, spoilt: str) -> None:
    cert, key = make_certificate(tmp_path, "one", "20250101000000Z", "20480201000000Z")
    (cert if spoilt == "cert" else key).write_text("-----BEGIN NONSENSE-----\n")
    no_port_opens(tmp_path, cert, key, 1, "no port was opened", str(cert if spoilt == "cert" else key))


def test_a_missing_certificate_or_an_open_key_is_refused(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "one", "20250101000000Z", "20480201000000Z")
    no_port_opens(tmp_path, tmp_path / "missing.pem", key, 2, "cert", "missing.pem")
    key.chmod(0o644)
    no_port_opens(tmp_path, cert, key, 2, "key", "chmod 600")


def test_a_certificate_of_ones_own_is_served_and_offers_nothing_to_trust(device: Start, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "own", "20250101000000Z", "20480201000000Z")
    one = device("--cert", str(cert), "--key", str(key))
    shown = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{one.port}"], input="", capture_output=True, text=True, timeout=20)
    assert cert.read_text().split("-----")[2].strip() in shown.stdout
    assert "fingerprint" not in one.log() and not one.ca.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user takes root")
def test_a_state_folder_of_another_user(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o001 == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    program = tmp_path / "duplex"
    program.write_bytes(DUPLEX.read_bytes())
    program.chmod(0o755)
    done = subprocess.run(
        [program, "run", "--listen", "127.0.0.1:0", "--state-dir", state], user="nobody", group="nogroup", extra_groups=[],
        cwd="/", capture_output=True, text=True, timeout=30, env={"PATH": "/usr/bin:/bin"},
    )
    one_sentence(done, 1, str(state), "permission denied")
    looked = subprocess.run(
        [program, "doctor", "--listen", "127.0.0.1:0", "--sound", "discard", "--state-dir", state], user="nobody", group="nogroup", extra_groups=[],
        cwd="/", capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"},
    )
    failed = [line for line in looked.stdout.splitlines() if line.startswith("FAIL")]
    assert looked.returncode == 1 and any(str(state) in line and "permission denied" in line for line in failed), looked
    assert re.search(r"\d things? to mend", looked.stdout.splitlines()[-1]), looked.stdout
    assert list(state.iterdir()) == []
