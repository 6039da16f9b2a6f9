"""What can be changed while the service runs: sources, speaker, volumes; for those who are connected, and across restarts."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import numpy
import pytest

from device import DUPLEX, Device, wait_for
from peer import new_token, set_password
from stock import RATE, Launch, amplitude, markers, samples, signaller, sink, source, wait_for_tone

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
Run = Callable[[str], Launch]
SIZE = (640, 360)


def grey_image(path: Path, level: int) -> Path:
    colour = f"0x{level:02x}{level:02x}{level:02x}"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"color={colour}:s=640x360:d=1", "-frames:v", "1", str(path)], check=True, timeout=30)
    return path


def grey_clip(path: Path, level: int) -> Path:
    colour = f"0x{level:02x}{level:02x}{level:02x}"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"color={colour}:s=640x360:r=30:d=3", "-pix_fmt", "yuv420p", str(path)], check=True, timeout=30)
    return path


def sine(path: Path, hertz: int, seconds: int = 30) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"sine=frequency={hertz}:duration={seconds}", str(path)], check=True, timeout=30)
    return path


def last_level(gray: Path, share: float = 1.0) -> float:
    """Mean luma of the last whole frame, or of this share of it from the top."""
    data, size = gray.read_bytes() if gray.exists() else b"", SIZE[0] * SIZE[1]
    whole = len(data) // size
    return float(numpy.frombuffer(data, numpy.uint8, int(share * size), (whole - 1) * size).mean()) if whole else -1.0


def done(one: Device, *words: str | Path) -> str:
    result = one.command(*map(str, words))
    assert result.returncode == 0, result.stderr
    return result.stdout


def asked(one: Device, **request: Any) -> dict[str, Any]:
    """One request on the control socket, as another program would make it."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(one.state / "control.sock"))
        line.sendall(json.dumps(request).encode() + b"\n")
        return dict(json.loads(line.makefile().readline()))


def test_a_viewer_sees_and_hears_the_new_source_without_connecting_again(device: Start, launch: Run, tmp_path: Path) -> None:
    one = device()
    gray, wav = tmp_path / "seen.gray", tmp_path / "heard.wav"
    viewer = launch(source(signaller(one.signalling, ca=one.ca), gray=gray, wav=wav))
    viewer.wait_for_frames(10)
    wait_for_tone(wav, 440)
    bright, dark = grey_image(tmp_path / "bright.png", 200), grey_image(tmp_path / "dark.png", 60)
    for picture, luma in ((bright, 188), (dark, 67), (bright, 188)):
        began = time.monotonic()
        assert done(one, "source", "set", "video", f"image:{picture}") == f"the picture comes from image:{picture}; the configuration says test\n"
        wait_for(f"a luma of {luma}", lambda luma=luma: abs(last_level(gray) - luma) < 8, 15, every=0.05)
        print(f"the new picture was seen {time.monotonic() - began:.2f} s after the command was begun")
    done(one, "source", "set", "audio", f"file:{sine(tmp_path / 'high.wav', 1000)}")
    wait_for_tone(wav, 1000)
    before = len(markers(gray, *SIZE))
    done(one, "source", "set", "video", "test")
    wait_for("numbered frames again", lambda: len(markers(gray, *SIZE)) > before + 10, 15)
    done(one, "source", "set", "audio", "test")
    wait_for_tone(wav, 440)
    # The same session all the time, and as many frames as there must be.
    assert viewer.process.poll() is None
    assert sum("viewer joins" in line for line in one.lines) == 1 and not any("viewer left" in line for line in one.lines)


def test_a_clip_that_gives_both_is_left_for_two_sources_and_taken_again(device: Start, launch: Run, tmp_path: Path, clip: Path) -> None:
    one = device("--video", f"file:{clip}", "--audio", f"file:{clip}")
    wav = tmp_path / "heard.wav"
    viewer = launch(source(signaller(one.signalling, ca=one.ca), wav=wav))
    viewer.wait_for_frames(20)
    done(one, "source", "set", "audio", "test")
    wait_for_tone(wav, 440)
    viewer.wait_for_frames(viewer.frames() + 20)
    done(one, "source", "set", "audio", f"file:{clip}")
    wait_for("no tone any more", lambda: amplitude(samples(wav)[-RATE // 2:], 440) < 0.01, 15)
    viewer.wait_for_frames(viewer.frames() + 20)


def test_volume_and_mute_of_the_device(device: Start, launch: Run, tmp_path: Path) -> None:
    one = device()
    wav = tmp_path / "heard.wav"
    launch(source(signaller(one.signalling, ca=one.ca), wav=wav))
    full = wait_for_tone(wav, 440)

    def level() -> float:
        return amplitude(samples(wav)[-RATE // 2:], 440)

    # Each command says in one line what is so now.
    assert done(one, "volume", "device", "0.5") == "the device's sound is not muted; its volume is 0.5\n"
    wait_for("half as loud", lambda: 0.4 < level() / full < 0.6, 15)
    assert done(one, "mute", "device") == "the device's sound is muted; its volume is 0.5\n"
    wait_for("silence", lambda: level() < full / 500, 15)
    done(one, "unmute", "device")
    wait_for("half as loud again", lambda: 0.4 < level() / full < 0.6, 15)


def test_a_talkers_sound_is_sent_elsewhere_in_mid_talk(device: Start, launch: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first.wav", tmp_path / "second.wav"
    one = device("--sound", f"file:{first}", "--picture", "discard")
    set_password(one)
    launch(sink(signaller(one.signalling, ca=one.ca, token=new_token(one, "talk")), video=False, tone=1000))
    full = wait_for_tone(first, 1000, least=0.2)
    done(one, "volume", "talk", "0.25")
    wait_for("a quarter as loud", lambda: 0.2 < amplitude(samples(first)[-RATE // 2:], 1000) / full < 0.3, 15)
    assert done(one, "sound", "set", f"file:{second}") == f"the talker's sound goes to file:{second}; the configuration says file:{first}\n"
    assert 0.2 < wait_for_tone(second, 1000) / full < 0.3
    # The file that was left has its end: its header tells how long it is.
    data = first.read_bytes()
    told = int.from_bytes(data[data.find(b"data") + 4:][:4], "little")
    assert told == len(data) - data.find(b"data") - 8
    done(one, "mute", "talk")
    wait_for("silence", lambda: amplitude(samples(second)[-RATE // 2:], 1000) < full / 500, 15)
    done(one, "sound", "set", "discard")
    assert "a talk ended early" not in one.log()
    lengths: list[int] = []
    wait_for("nothing more in the file", lambda: lengths.append(len(samples(second))) or lengths[-2:-1] == lengths[-1:], 10, every=1)


def test_changes_outlast_a_restart_beside_the_configuration_and_are_undone_by_its_own_value(device: Start, tmp_path: Path) -> None:
    config = tmp_path / "owner.toml"
    config.write_text('video = "test"\n')
    one = device("--config", str(config))
    picture = grey_image(tmp_path / "picture.png", 100)
    done(one, "source", "set", "video", f"image:{picture}")
    done(one, "volume", "talk", "1.5")
    done(one, "mute", "device")
    kept = one.state / "changes.toml"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and config.read_text() == 'video = "test"\n'
    one.restart()
    shown = done(one, "source", "show")
    assert f"image:{picture}  (changed; configured: test)" in shown, shown
    present = asked(one, do="present")["present"]
    assert present["talkVolume"] == {"value": 1.5, "configured": 1.0, "changed": True}
    assert present["deviceMuted"]["value"] is True and present["audio"]["changed"] is False
    done(one, "source", "set", "video", "test")
    done(one, "volume", "talk", "1")
    assert "changed" not in done(one, "unmute", "device")
    assert not [line for line in kept.read_text().splitlines() if line and not line.startswith("#")]


def test_a_damaged_state_file_is_told_and_left_out(device: Start) -> None:
    one = device()
    done(one, "mute", "talk")
    (one.state / "changes.toml").write_text('video = "te')
    one.restart()
    one.wait_for_log("WARN.*changes of earlier runs are not in force.*changes.toml")
    assert "changed" not in done(one, "source", "show")
    (one.state / "changes.toml").write_text('video = "image:/gone.png"\nsound-mute = true\n')
    one.restart()
    one.wait_for_log("WARN.*a change of an earlier run is not in force.*/gone.png")
    assert "talk muted     true  (changed" in done(one, "source", "show")


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        # 2: wrong words, known without the service; 1: what the service says.
        (["source", "set", "video", "camra:x"], 2, ["camra:x", "must be test, file:PATH"]),
        (["source", "set", "video", "file:nowhere.mp4"], 1, ["nowhere.mp4"]),
        (["source", "set", "audio", "file:README.md"], 1, ["README.md"]),
        (["sound", "set", "file:/nowhere/x.wav"], 1, ["/nowhere"]),
    ],
)
def test_what_the_configuration_would_refuse_is_refused_in_one_sentence(device: Start, words: list[str], code: int, named: list[str]) -> None:
    one = device()
    before = asked(one, do="present")
    refused = one.command(*words)
    assert refused.returncode == code and len(refused.stderr.splitlines()) == 1, refused
    assert all(name in refused.stderr for name in named), refused.stderr
    assert asked(one, do="present") == before and not (one.state / "changes.toml").exists()


def test_a_device_that_is_not_there_is_taken_with_a_note(device: Start) -> None:
    one = device()
    told = done(one, "source", "set", "video", "camera:nope").splitlines()
    assert told == [
        "the picture comes from camera:nope; the configuration says test",
        'note: the camera "nope" is not there now; it is used as soon as it comes; `duplex devices` lists those that are there',
    ]
    note = {"key": "sound", "text": 'the speaker "hw:CARD=Nobody" is not there now; it is used as soon as it comes'}
    assert asked(one, do="change", changes={"sound": "speaker:hw:CARD=Nobody"})["present"]["notes"] == [note]
    assert asked(one, do="change", changes={"video": "test"})["present"]["notes"] == asked(one, do="present")["present"]["notes"] == []


def test_a_sound_file_that_is_there_is_not_overwritten(device: Start, tmp_path: Path) -> None:
    one = device()
    song = tmp_path / "song.wav"
    song.write_bytes(b"RIFF of somebody's")
    refused = one.command("sound", "set", f"file:{song}")
    assert refused.returncode == 2 and str(song) in refused.stderr and "would be overwritten" in refused.stderr, refused
    assert song.read_bytes() == b"RIFF of somebody's"


@pytest.mark.parametrize("level", ["2.5", "-0.1", "NaN", "inf", "loud"])
def test_a_volume_out_of_range_is_refused_before_a_service_is_asked(level: str, tmp_path: Path) -> None:
    words = [DUPLEX, "volume", "--state-dir", str(tmp_path), "talk", "--", level]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2 and level in refused.stderr and "from 0 to 2" in refused.stderr, refused.stderr


def test_the_socket_refuses_unknown_keys_and_relative_files(device: Start) -> None:
    one = device()
    for changes, named in (({"vidoe": "test"}, "vidoe"), ({"video": "file:clip.mp4"}, "absolute"), ({"deviceVolume": "loud"}, "loud"), ({"deviceVolume": -1}, "-1")):
        answer = asked(one, do="change", changes=changes)
        assert named in answer["error"] and "present" not in answer, answer


def test_without_a_service_the_commands_say_so(tmp_path: Path) -> None:
    alone = subprocess.run([DUPLEX, "mute", "device", "--state-dir", str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert alone.returncode == 1 and "no running service" in alone.stderr
