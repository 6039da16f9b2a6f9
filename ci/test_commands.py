"""The commands beside ``run``, and the plain help listener."""

from __future__ import annotations

import calendar
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Callable

import numpy
import pytest

from device import DUPLEX, Device, wait_for
from peer import Peer, call, set_password
from stock import RATE, Launch, amplitude, samples, signaller, source, wait_for_tone

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
Run = Callable[[str], Launch]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("DUPLEX_")}
COMMANDS = [
    "run", "check-config", "sample-config", "doctor", "devices", "status", "sessions", "sessions end", "log", "say",
    "play", "record", "record start", "record stop", "record list", "record get", "record delete", "source", "source show",
    "source set", "sound", "sound set", "volume", "mute", "unmute", "passwd", "token", "token new", "token list",
    "token revoke", "pki", "pki init", "pki issue", "pki renew", "pki export", "pki show",
]


def duplex(*words: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([DUPLEX, *words], input=text, capture_output=True, text=True, timeout=60, env=CLEAN)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    shown = duplex(*command.split(), "--help")
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0 and shown.stderr == ""
    # A sentence first, then how to call it, and no option or argument without a word on it.
    assert len(lines[0].split()) >= 3 and f"Usage: duplex {command}" in shown.stdout
    for index, line in enumerate(lines):
        if line.startswith("      --") or line.startswith("  -"):
            told = len([part for part in line.split("  ") if part.strip()]) > 1 or (index + 1 < len(lines) and lines[index + 1].startswith("          "))
            assert told, line
    assert max(len(line) for line in lines) < 400


def test_help_and_mistakes_at_the_top() -> None:
    top = duplex("--help")
    assert all(f"  {command} " in top.stdout for command in COMMANDS if " " not in command) and "localhost:8443" in top.stdout
    assert duplex("--version").stdout.startswith("duplex ")
    nothing = duplex()
    assert nothing.returncode == 2 and "Usage" in nothing.stderr
    wrong = duplex("sya", "hello")
    assert wrong.returncode == 2 and "'sya'" in wrong.stderr and "--help" in wrong.stderr
    flag = duplex("run", "--vidoe", "test")
    assert flag.returncode == 2 and "--vidoe" in flag.stderr and "--help" in flag.stderr


def test_the_sample_configuration_goes_round(tmp_path: Path) -> None:
    sample = duplex("sample-config").stdout
    file = tmp_path / "duplex.toml"
    file.write_text(sample)
    state = ("--state-dir", str(tmp_path / "state"))
    assert tomllib.loads(sample) == {}
    as_it_is = duplex("check-config", "--config", file, *state)
    assert as_it_is.returncode == 0 and as_it_is.stdout == duplex("check-config", *state).stdout
    # With every key uncommented it says the same, key by key.
    keys = [line[1:] for line in sample.splitlines() if line.startswith("#") and not line.startswith("# ") and " = " in line]
    file.write_text("\n".join(keys))
    parsed = tomllib.loads(file.read_text())
    assert len(parsed) == len(keys) > 30
    spelt_out = duplex("check-config", "--config", file, *state)
    assert spelt_out.returncode == 0, spelt_out.stderr
    assert spelt_out.stdout.count(f"# {file}\n") == len(keys) - 1 and "# --state-dir\n" in spelt_out.stdout
    plainly = [[line.split("#")[0].rstrip() for line in done.stdout.splitlines()] for done in (spelt_out, as_it_is)]
    assert plainly[0] == plainly[1]
    # Each key is a flag and is explained.
    flags = duplex("run", "--help").stdout
    for key in parsed:
        assert f"--{key}" in flags
        assert sample.split(f"\n#{key} = ")[0].splitlines()[-1].startswith("# ")


def test_devices_lists_each_class() -> None:
    shown = duplex("devices")
    assert shown.returncode == 0
    for word in ("camera", "microphone", "speaker"):
        assert any(line.startswith(word) for line in shown.stdout.splitlines()), shown.stdout


def test_a_reader_who_has_had_enough_is_no_error() -> None:
    """As with ``duplex sample-config | head -n 1``."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([DUPLEX, "sample-config"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, env=CLEAN)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, ""), done


def test_doctor_is_content_and_names_what_is_missing(tmp_path: Path) -> None:
    common = ("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0")
    good = duplex("doctor", *common, "--sound", "discard")
    # Whatever else is to be looked at on this machine.
    others = sum(line.startswith("warn ") for line in good.stdout.splitlines())
    ends = {0: "all is well", 1: "the service starts; 1 thing to look at"}
    told = lambda count: ends.get(count, f"the service starts; {count} things to look at")  # noqa: E731
    assert good.returncode == 0 and good.stdout.endswith(f"\n\n{told(others)}\n"), good.stdout + good.stderr
    # What webrtcsrc makes by itself: without it no talker is heard, and little says why.
    assert "element decodebin3: there" in good.stdout
    no_camera = duplex("doctor", *common, "--video", "camera:/dev/null", "--record-dir", "/proc/nowhere")
    no_sound = duplex("doctor", *common, "--sound", "speaker:nobody")
    assert re.search(r"warn  speaker: no speaker is listed as \"nobody\"", no_sound.stdout), no_sound.stdout
    for said in (r"warn  camera: .*/dev/null", r"warn  recordings: calls cannot be recorded: .*--record-dir"):
        assert re.search(said, no_camera.stdout), no_camera.stdout
    bad = duplex("doctor", *common, "--video", "camera:/dev/video99", "--sound", "speaker:hw:CARD=Nobody")
    text = bad.stdout
    assert "/dev/video99" in text and "Nobody" in text
    warned = sum(line.startswith("warn ") for line in text.splitlines())
    assert bad.returncode == 0 and warned >= others + 2 and text.endswith(f"\n\n{told(warned)}\n"), text
    # An absent device is no failure of the service, but it is told.
    lines = [line for line in text.splitlines() if "/dev/video99" in line]
    assert lines and all(len(line.split()) > 4 for line in lines)


def test_doctor_fails_over_a_busy_port(device: Start, tmp_path: Path) -> None:
    one = device()
    looked = duplex("doctor", "--listen", f"127.0.0.1:{one.port}", "--state-dir", tmp_path / "state", "--sound", "discard")
    assert looked.returncode == 1 and str(one.port) in looked.stdout, looked.stdout


def test_pki_from_the_root_to_pkcs12(tmp_path: Path) -> None:
    place = ("--dir", str(tmp_path / "pki"))
    early = duplex("pki", "issue", "door.local", *place)
    assert early.returncode == 1 and "init" in early.stderr
    assert duplex("pki", "init", *place).returncode == 0
    again = duplex("pki", "init", *place)
    assert again.returncode == 1 and "exists" in again.stderr.lower() or "already" in again.stderr, again.stderr
    assert duplex("pki", "issue", "door.local", "192.0.2.7", *place).returncode == 0
    bad = duplex("pki", "issue", "https://door.local/", *place)
    assert bad.returncode != 0 and "https://door.local/" in bad.stderr
    before = (tmp_path / "pki/server.pem").read_text()
    assert duplex("pki", "renew", *place).returncode == 0 and (tmp_path / "pki/server.pem").read_text() != before
    shown = duplex("pki", "show", *place).stdout
    assert "door.local" in shown and "192.0.2.7" in shown and "SHA-256" in shown
    for key in (tmp_path / "pki").glob("*key*"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    p12 = tmp_path / "server.p12"
    assert duplex("pki", "export", "--p12", "--out", p12, "--password-file", "-", *place, text="a secret\n").returncode == 0
    assert stat.S_IMODE(p12.stat().st_mode) == 0o600
    opened = subprocess.run(["openssl", "pkcs12", "-in", p12, "-passin", "pass:a secret", "-nodes"], capture_output=True, text=True, timeout=20)
    assert opened.returncode == 0 and "PRIVATE KEY" in opened.stdout
    assert duplex("pki", "show", "--state-dir", tmp_path).stdout == shown
    over = duplex("pki", "export", "--p12", "--out", p12, "--password-file", "-", *place, text="other\n")
    assert over.returncode == 1 and str(p12) in over.stderr
    verified = subprocess.run(["openssl", "verify", "-CAfile", tmp_path / "pki/ca.pem", tmp_path / "pki/server.pem"], capture_output=True, text=True, timeout=20)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    der = duplex("pki", "export", "--der", "--out", tmp_path / "ca.der", *place)
    assert der.returncode == 0 and (tmp_path / "ca.der").read_bytes()[:1] == b"\x30"


def test_passwd(tmp_path: Path) -> None:
    place = ("--state-dir", str(tmp_path))
    weak = duplex("passwd", *place, text="short\n")
    assert weak.returncode == 2 and "10" in weak.stderr and "short" not in weak.stderr
    assert duplex("passwd", *place, text="long enough it is\n").returncode == 0
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert all(b"long enough it is" not in file.read_bytes() for file in files) and any(b"$argon2id$" in file.read_bytes() for file in files)
    assert duplex("passwd", "--remove", *place).returncode == 0
    assert duplex("passwd", "--role", "king", *place, text="x\n").returncode == 2


def test_tokens(tmp_path: Path) -> None:
    place = ("--state-dir", str(tmp_path))
    made = duplex("token", "new", "camera-1", "--may", "watch,talk", *place)
    token = made.stdout.strip()
    assert made.returncode == 0 and token.startswith("dpx_") and token not in made.stderr
    listed = duplex("token", "list", *place).stdout
    assert "camera-1" in listed and "watch" in listed and "talk" in listed and token not in listed
    assert all(token.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert duplex("token", "new", "camera-1", "--may", "watch", *place).returncode == 1
    assert duplex("token", "new", "x", "--may", "rule", *place).returncode == 2
    assert duplex("token", "new", "../x", "--may", "watch", *place).returncode != 0
    assert duplex("token", "new", "y", "--may", "watch", "--expires", "soon", *place).returncode != 0
    assert duplex("token", "revoke", "camera-1", *place).returncode == 0
    gone = duplex("token", "revoke", "camera-1", *place)
    assert gone.returncode == 1 and "camera-1" in gone.stderr


def test_say_and_play_without_a_service_and_without_a_viewer(device: Start, tmp_path: Path) -> None:
    for words in (["say", "hello"], ["play", str(DUPLEX)]):
        alone = duplex(*words, "--state-dir", tmp_path / "nobody")
        assert alone.returncode == 1 and "no running service" in alone.stderr
    one = device("--idle-grace", "0")
    wait_for("nobody is listening", lambda: "nobody is listening" in one.command("say", "hello").stderr)
    # Not the service's refusal: what cannot be said or played is a wrong word on the command line.
    for words, sentence in ((["say", ""], "nothing to say"), (["say", "  \n"], "nothing to say"), (["say", "x" * 1001], "at most 1000 characters, this one has 1001"), (["play", str(tmp_path / "missing.wav")], "missing.wav"), (["play", str(tmp_path)], "not a file")):
        refused = one.command(*words)
        assert refused.returncode == 2 and sentence in refused.stderr and len(refused.stderr.splitlines()) == 1, refused


def test_wrong_words_get_a_hint_and_one_exit_code(tmp_path: Path) -> None:
    place = ("--state-dir", str(tmp_path / "state"))
    for words, said in (
        (["run", "--videos", "test"], ["--videos", "'--video'", "Usage: duplex run [OPTIONS]"]),
        (["passwd", "owner"], ["duplex passwd --role owner"]),
        (["check-config", "duplex.toml"], ["duplex check-config --config duplex.toml"]),
        (["check-config", "--config", str(tmp_path / "none.toml")], ["none.toml", "no such file"]),
        (["check-config", "--log", "]", *place], ["log = "]),
        (["source", "set", "video", "nonsense", *place], ["nonsense"]),
        (["sound", "set", "nonsense", *place], ["nonsense"]),
        (["volume", "device", "3", *place], ["from 0 to 2"]),
        (["token", "new", "../x", "--may", "watch", *place], ["token name"]),
    ):
        done = duplex(*words)
        assert done.returncode == 2 and all(word in done.stderr for word in said), done
        assert "os error" not in done.stderr, done
    alone = duplex("status", *place)
    assert alone.returncode == 1 and "no such file" in alone.stderr and "os error" not in alone.stderr, alone
    assert "Exit codes: 0 done; 1 " in duplex("--help").stdout


def test_a_recording_that_runs_is_told(device: Start) -> None:
    one = device()
    assert "\nrecording      nothing\n" in one.command("status").stdout
    began = one.command("record", "start")
    assert began.returncode == 0, began
    again = one.command("record", "start")
    status = one.command("status").stdout
    stopped = one.command("record", "stop")
    name = stopped.stdout.removeprefix("recorded ").strip()
    assert re.search(rf"^recording      since \d\d:\d\d:\d\d: {re.escape(name)}$", status, re.MULTILINE), (status, stopped)
    assert "\nrecording      nothing\n" in one.command("status").stdout
    assert began.stdout == f"recording to {name}; `duplex record stop` ends it\n", began
    assert again.returncode == 0 and again.stdout.startswith(f"already recording to {name};"), (again, stopped)


def test_all_who_start_a_recording_at_once_are_told_of_it(device: Start) -> None:
    one = device()
    words = [DUPLEX, "record", "start", "--state-dir", one.state]
    starts = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=CLEAN) for _ in range(4)]
    said = [start.communicate(timeout=30)[0] for start in starts]
    assert [start.returncode for start in starts] == [0] * 4, said
    name = one.command("record", "stop").stdout.removeprefix("recorded ").strip()
    assert all(f"recording to {name};" in text for text in said), (said, name)


def test_a_command_whose_caller_has_left_is_not_done(device: Start) -> None:
    """He was told that there is no answer, and nobody would know that it records."""
    one = device()
    assert one.process
    with socket.socket(socket.AF_UNIX) as line:
        os.kill(one.process.pid, signal.SIGSTOP)
        try:
            state = Path(f"/proc/{one.process.pid}/stat")
            wait_for("it stands still", lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "T", 10)
            line.connect(str(one.state / "control.sock"))
            line.sendall(json.dumps({"do": "record", "on": True}).encode() + b"\n")
            line.close()
        finally:
            os.kill(one.process.pid, signal.SIGCONT)
    one.wait_for_log("a command was not done")
    assert "\nrecording      nothing\n" in one.command("status").stdout
    assert one.command("record", "list").stdout.startswith("there are no recordings")


def test_recordings_are_listed_copied_and_deleted(device: Start, tmp_path: Path) -> None:
    """One that ended, one that was cut off and one that runs; the service has the same list."""
    one = device()
    folder = one.state / "recordings"
    running = lambda: one.command("record", "list").stdout.splitlines()[0]  # noqa: E731 - the newest
    none = one.command("record", "list")
    assert (none.returncode, none.stdout) == (0, "there are no recordings; `duplex record start` begins one\n"), none

    assert one.command("record", "start").returncode == 0
    wait_for("two seconds of it", lambda: re.search(r" [2-9] s ", running()))
    ended = one.command("record", "stop").stdout.removeprefix("recorded ").strip()
    assert one.command("record", "start").returncode == 0
    wait_for("two seconds of it", lambda: re.search(r" [2-9] s .*  is being recorded$", running()))
    cut = running().split()[0]
    one.kill()
    one.start()
    one.wait_for_log("finished a recording that was cut off")
    assert one.command("record", "start").returncode == 0
    wait_for("a second of it", lambda: re.search(r" [1-9] s .*  is being recorded$", running()))

    shown = one.command("record", "list")
    told = [re.fullmatch(r"(\S+)  (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  +(\d+) s  +(\d+\.\d) MB(?:  (.*))?", line) for line in shown.stdout.splitlines()]
    assert shown.returncode == 0 and all(told), shown
    lines = [line.groups() for line in told if line]
    now = lines[0][0]
    assert [(line[0], line[4]) for line in lines] == [(now, "is being recorded"), (cut, "was cut off when the device stopped"), (ended, None)]
    assert sorted(file.name for file in folder.iterdir()) == sorted([now, cut, ended])
    listed = json.loads(call(one, "GET", "/api/v1/recordings")[2])
    assert [entry["name"] for entry in listed] == [now, cut, ended]
    for (_, began, seconds, megabytes, _), entry in zip(lines[1:], listed[1:]):
        # By this machine's clock; the API's is UTC.
        assert began == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(calendar.timegm(time.strptime(entry["began"][:19], "%Y-%m-%dT%H:%M:%S"))))
        assert abs(int(seconds) - entry["seconds"]) <= 0.5 and abs(float(megabytes) - entry["bytes"] / 1e6) < 0.06

    copy = tmp_path / "copy.webm"
    got = one.command("record", "get", ended, str(copy))
    assert got.returncode == 0 and got.stdout.startswith(f"copied {ended} to {copy}, "), got
    assert copy.read_bytes() == (folder / ended).read_bytes() and stat.S_IMODE(copy.stat().st_mode) == 0o600
    again = one.command("record", "get", cut, str(copy))
    assert again.returncode == 2 and f"{copy} is there already" in again.stderr and copy.stat().st_size == (folder / ended).stat().st_size, again
    part = one.command("record", "get", now, str(tmp_path))
    assert part.returncode == 0 and "still being recorded" in part.stdout and (tmp_path / now).read_bytes()[:4] == b"\x1a\x45\xdf\xa3", part

    # What is refused does not keep the others from being deleted.
    some = one.command("record", "delete", now, "../auth.json", cut)
    assert some.returncode == 1 and some.stdout == f"deleted {cut}\n", some
    assert some.stderr.splitlines() == [
        f"duplex: {now} is being recorded; `duplex record stop` ends it",
        'duplex: there is no recording "../auth.json"; `duplex record list` lists them',
    ]
    assert sorted(file.name for file in folder.iterdir()) == sorted([now, ended])
    assert one.command("record", "get", cut, str(tmp_path)).returncode == 1 and not (tmp_path / cut).exists()
    assert one.command("record", "stop").stdout == f"recorded {now}\n"
    last = one.command("record", "delete", now, ended)
    assert (last.returncode, last.stdout, last.stderr) == (0, f"deleted {now}\ndeleted {ended}\n", "") and not any(folder.iterdir())
    assert one.command("record", "list").stdout == none.stdout


def test_recordings_need_a_name_and_a_service(tmp_path: Path) -> None:
    place = ("--state-dir", str(tmp_path))
    for words, said in ((["delete"], "<NAME>"), (["get"], "<NAME>"), (["delete", ""], "value is required"), (["pause"], "duplex record start, stop, list, get or delete")):
        wrong = duplex("record", *words, *place)
        assert wrong.returncode == 2 and said in wrong.stderr, wrong
    for words in (["list"], ["get", "a.webm"], ["delete", "a.webm", "b.webm"]):
        alone = duplex("record", *words, *place)
        assert alone.returncode == 1 and alone.stdout == "" and alone.stderr.count("no running service") == 1, alone


def test_a_service_that_hangs_is_waited_for_aloud_and_then_given_up(device: Start) -> None:
    one = device()
    assert one.process
    one.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        asked = subprocess.Popen([DUPLEX, "status", "--state-dir", one.state], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN)
        assert asked.stdout and asked.stderr
        first = asked.stderr.readline()
        told_after = time.monotonic() - began
        rest, shown = asked.stderr.read(), asked.stdout.read()
        assert asked.wait(30) == 1 and shown == ""
    finally:
        one.process.send_signal(signal.SIGCONT)
    assert "waiting for the service's answer" in first and 1.9 < told_after < 8, (first, told_after)
    assert re.fullmatch(r"duplex: the service runs but has not answered within 15 s: .*\n", rest), rest
    wait_for("it goes on", lambda: one.command("status").returncode == 0)


def loudness(path: Path) -> float:
    """Level of what is heard beside the 440 Hz tone in the last half second."""
    sound = samples(path)[-RATE // 2:]
    if len(sound) < RATE // 2:
        return 0.0
    spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound)))) / len(sound)
    hertz = numpy.fft.rfftfreq(len(sound), 1 / RATE)
    return float(numpy.sqrt((spectrum[(hertz > 100) & (abs(hertz - 440) > 40)] ** 2).sum()))


def tone_level(path: Path) -> float:
    """Amplitude of the 440 Hz tone in the last half second."""
    return amplitude(samples(path)[-RATE // 2:], 440)


@pytest.mark.parametrize("what", ["say", "play"])
def test_say_and_play_are_heard_over_the_tone(device: Start, launch: Run, tmp_path: Path, what: str) -> None:
    one = device()
    with Peer(one) as early:
        early.device_id()
    wav, file = tmp_path / "heard.wav", tmp_path / "high.wav"
    launch(source(signaller(one.signalling, ca=one.ca), wav=wav))
    wait_for_tone(wav, 440)
    quiet, tone = loudness(wav), tone_level(wav)
    words = ["say", "This is the device. Good morning to everybody who is listening."]
    if what == "play":
        subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "sine=frequency=2000:duration=3", str(file)], check=True, timeout=30)
        words = ["play", str(file)]
    done = one.command(*words)
    assert done.returncode == 0 and ("speaks" in done.stdout or str(file) in done.stdout), done
    wait_for("something beside the tone is heard", lambda: loudness(wav) > max(4 * quiet, 0.003), 15)
    # Mixed over what is there: the tone is as loud meanwhile. A voice has some of that pitch as well, for moments.
    meanwhile = []
    for _ in range(5):
        meanwhile.append(tone_level(wav))
        time.sleep(0.2)
    assert loudness(wav) > max(2 * quiet, 0.001), "that was meanwhile"
    assert 0.7 < numpy.median(meanwhile) / tone < 1.4, (meanwhile, tone)
    # And only for its time: then there is the tone alone again.
    wait_for("the tone alone again", lambda: loudness(wav) < max(2 * quiet, 0.001), 20)
    wait_for_tone(wav, 440)


def test_play_refuses_what_is_no_sound_and_the_service_goes_on(device: Start, launch: Run, tmp_path: Path) -> None:
    one = device()
    with Peer(one) as early:
        early.device_id()
    receiver = launch(source(signaller(one.signalling, ca=one.ca)))
    receiver.wait_for_frames(5)
    noise = tmp_path / "noise.wav"
    noise.write_bytes(os.urandom(5000))
    refused = one.command("play", str(noise))
    assert refused.returncode == 1 and "noise.wav" in refused.stderr and len(refused.stderr.splitlines()) == 1, refused
    receiver.wait_for_frames(receiver.frames() + 10)


def test_the_plain_listener_offers_the_ca_and_a_redirect_and_nothing_else(device: Start) -> None:
    one = device("--help-listen", "127.0.0.1:0")
    set_password(one)
    port = int(one.wait_for_log(r"over plain HTTP: http://127\.0\.0\.1:(\d+)/trust")[1])

    def get(path: str, method: str = "GET", host: str | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return call(one, method, path, headers=headers, port=port, plain=True, host=host)

    status, _, pem = get("/ca.pem")
    assert status == 200 and pem.decode() == one.ca.read_text()
    ssl.create_default_context(cadata=pem.decode())
    assert ssl.DER_cert_to_PEM_cert(get("/ca.der")[2]).split() == pem.decode().split()
    status, headers, profile = get("/ca.mobileconfig")
    assert status == 200 and headers["content-type"] == "application/x-apple-aspen-config" and b"com.apple.security.root" in profile
    status, headers, page = get("/trust")
    shown = one.wait_for_log(r"fingerprint +((?:[0-9A-F]{2}:){31}[0-9A-F]{2})")[1]
    assert status == 200 and shown in page.decode().replace("<wbr>", "") and "text/html" in headers["content-type"]
    for path in ("/", "/index.html", "/api/v1/status", "/signalling", "/assets/x.js", "/trust/../api/v1/status", "/gstwebrtc-api/?a=b"):
        status, headers, body = get(path)
        assert status == 308 and headers["location"].startswith(f"https://localhost:{one.port}/") and b"{" not in body, (path, status)
    assert get("/gstwebrtc-api/?a=b")[1]["location"] == f"https://localhost:{one.port}/gstwebrtc-api/?a=b"
    assert get("/api/v1/sign-in", "POST")[0] == 308
    assert get("/", host="evil.example")[0] == 421
    assert get("/signalling", Connection="Upgrade", Upgrade="websocket", **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})[0] == 308
    # The same pages over TLS.
    assert call(one, "GET", "/ca.pem")[2] == pem and call(one, "GET", "/trust")[0] == 200


def test_without_being_asked_there_is_no_plain_listener(device: Start) -> None:
    one = device()
    assert "over plain HTTP" not in one.log()
    status = json.loads(call(one, "GET", "/api/v1/status")[2])
    assert status["access"]["open"] is True


def test_a_closed_terminal_stops_it_as_ctrl_c_does_but_not_under_nohup(device: Start) -> None:
    # This run itself may be under nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        one = device()
        assert one.process
        one.process.send_signal(signal.SIGHUP)
        assert one.process.wait(20) == 0
        assert "stopping" in one.log() and not (one.state / "control.sock").exists()

        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        one.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    ignored, caught = (int(re.search(rf"^{name}:\t(\w+)$", status, re.MULTILINE)[1], 16) for name in ("SigIgn", "SigCgt"))  # type: ignore[index]
    assert ignored & 1 and not caught & 1, "SIGHUP is number one"


def test_the_terminal_tells_who_can_connect_and_that_nobody_is_heard(device: Start) -> None:
    one = device("--sound", "speaker:auto")
    assert "No speaker is connected: who talks is not heard. (`--sound file:heard.wav`" in one.log()
    assert one.command("passwd", text="a good password\n").returncode == 0
    one.restart()
    one.wait_for_log(r"^Only this computer can connect\. \(`--listen", 5)
