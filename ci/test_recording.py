"""Recordings of calls: both directions in one file, in sync, whatever happens to the process, the disk, or the talker.

How sync is measured: a clip flashes white and beeps at the same instants, each second; ffmpeg decodes the recording, and
the times at which a flash and its beep begin are compared. A frame lasts 33 ms, so a single one is known no better. Each packet
of sound counts at the time that the file gives it: ffmpeg's aresample, left to itself, lets it be off by up to a tenth of a second.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest

from browser import Chromium, ChromiumPage, write_tone
from device import DUPLEX, Device, wait_for
from peer import Peer, call, code, new_token, set_password, sign_in
from stock import Launch, signaller
from test_clip import make_clip, onsets

Start = Callable[..., Device]
ALLOWED_MS = 40.0
VOICE_HZ = 1000.0
RATE = 48_000
#: Flash and beep of a tenth of a second, each second.
FLASH = "color=c=black:s=640x360:r=30,drawbox=c=white:t=fill:enable='lt(mod(t,1),0.1)'"
BEEP = "aevalsrc='0.5*sin(2*PI*{hz}*t)*lt(mod(t,1),0.1)':s=48000"

#: The talker's picture in half of the device's.
CORNER = ("--overlay-size", "0.5", "--overlay-margin", "0", "--duck", "0")


# --- what is in a file ---


def streams(path: Path) -> list[dict[str, Any]]:
    """The file's streams, every frame decoded and counted; fails if anything in it cannot be."""
    words = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, f"{path.name} does not decode: {done.stderr}"
    shown = json.loads(done.stdout)
    for one in shown["streams"]:
        one["file_duration"] = shown["format"].get("duration")
    return shown["streams"]


def titles(path: Path) -> list[tuple[str, str]]:
    return [(one["codec_name"], one["tags"]["title"]) for one in streams(path)]


def sound(path: Path, track: int) -> np.ndarray:
    """Samples of the file's audio track of that number, from 0; a sample's place is its time. By libopus, as browsers decode it:
    ffmpeg's own decoder gets a sender's in-band FEC wrong."""
    words = ["ffmpeg", "-v", "error", "-c:a", "libopus", "-i", str(path), "-map", f"0:a:{track}", "-af", "aresample=async=1:min_hard_comp=0.01:first_pts=0", "-ac", "1", "-ar", str(RATE), "-f", "f32le", "-"]
    done = subprocess.run(words, capture_output=True, timeout=120, check=True)
    return np.frombuffer(done.stdout, "<f4")


def brightness(path: Path, track: int) -> np.ndarray:
    """Time, ms, and mean luma of each frame of the file's video track of that number."""
    words = ["ffprobe", "-v", "error", "-select_streams", f"v:{track}", "-show_entries", "frame=pts_time", "-of", "csv=p=0", str(path)]
    times = [1000 * float(line.strip(",")) for line in subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout.split()]
    words = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:v:{track}", "-fps_mode", "passthrough", "-vf", "scale=16:9,format=gray", "-f", "rawvideo", "-"]
    done = subprocess.run(words, capture_output=True, timeout=120, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 16 * 9)
    assert abs(len(frames) - len(times)) <= 1, f"{len(frames)} frames, {len(times)} times"
    count = min(len(frames), len(times))
    return np.column_stack([times[:count], frames[:count].mean(axis=1)])


def packet_times(path: Path, track: str) -> list[float]:
    words = ["ffprobe", "-v", "error", "-select_streams", track, "-show_entries", "packet=pts_time", "-of", "csv=p=0", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return [float(line.strip(",")) for line in done.stdout.split()]


def level(samples: np.ndarray, hz: float, share: float = 80) -> float:
    """Amplitude of a tone in these samples, in tenths of a second: this percentile of them."""
    parts = samples[: len(samples) // (RATE // 10) * (RATE // 10)].reshape(-1, RATE // 10)
    wave = np.hanning(RATE // 10) * np.exp(-2j * np.pi * hz * np.arange(RATE // 10) / RATE)
    return float(np.percentile(4 * np.abs((parts * wave).mean(axis=1)), share))


def beeps(samples: np.ndarray, hz: float) -> list[float]:
    """Times, ms, at which a tone begins after a pause: of its level in windows of 5 ms, taken each millisecond."""
    at = np.arange(len(samples)) / RATE
    mixed = samples * np.exp(-2j * np.pi * hz * at)
    window, hop = RATE // 200, RATE // 1000
    sums = np.concatenate([[0], np.cumsum(mixed)])
    starts = np.arange(0, len(samples) - window, hop)
    loud = 2 * np.abs(sums[starts + window] - sums[starts]) / window
    return onsets(1000 * starts / RATE + 2.5, loud > 0.4 * np.percentile(loud, 99))


def claps(path: Path, video: int, audio: int, hz: float) -> list[float]:
    """How long after each flash of a track its beep in another begins, ms."""
    frames = brightness(path, video)
    middle = (frames[:, 1].min() + frames[:, 1].max()) / 2
    flashes, heard = onsets(frames[:, 0], frames[:, 1] > middle), beeps(sound(path, audio), hz)
    offsets = [min((beep - flash for beep in heard), key=abs) for flash in flashes if heard]
    found = [offset for offset in offsets if abs(offset) < 400]
    print(f"{path.name} v{video} a{audio}: beep after flash, ms: {[round(one) for one in found]}")
    assert len(found) >= 3, f"flashes {flashes}, beeps {heard}"
    return found


# --- steering ---


def record(one: Device, action: str) -> None:
    status, _, body = call(one, "POST", "/api/v1/recording", {"action": action})
    assert status == 200, body
    assert json.loads(body)["on"] == (action == "start")


def listed(one: Device, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    status, _, body = call(one, "GET", "/api/v1/recordings", headers=headers)
    assert status == 200, body
    return json.loads(body)


def files(one: Device) -> list[Path]:
    return sorted((one.state / "recordings").glob("*.*"))


def wait_seconds(seconds: float) -> None:
    began = time.monotonic()
    wait_for(f"{seconds} s", lambda: time.monotonic() - began >= seconds, seconds + 5)


# --- both directions ---


def test_both_directions_are_in_one_file(device: Start, tmp_path: Path) -> None:
    """A talk with camera, recorded from before it to after it: five tracks, each with what belongs to it; everybody is told."""
    made = make_clip(tmp_path / "flash.mp4", 10, FLASH, BEEP.format(hz=440))
    one = device("--video", f"file:{made}", "--audio", f"file:{made}")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        # Nobody watches yet: recording starts capture by itself.
        record(one, "start")
        page = chromium.live(one.url)
        page.wait("the sign that the call is recorded", "document.getElementById('recording').textContent === 'Recording'")
        wait_seconds(3)
        page.click("#camera")
        page.start_talk()
        one.wait_for_log("taking the talker's media")
        wait_seconds(5)
        page.end_talk()
        wait_seconds(2)
        record(one, "stop")
        page.wait("the sign to go", "document.getElementById('recording').textContent === ''")
    (file,) = files(one)
    assert file.suffix == ".webm" and oct(file.stat().st_mode)[-3:] == "600"
    assert titles(file) == [("vp8", "Device"), ("opus", "Conversation"), ("opus", "Device alone"), ("opus", "Talker alone"), ("vp8", "Talker")]
    found = {one["tags"]["title"]: one for one in streams(file)}
    seconds = float(found["Device"]["file_duration"])
    assert seconds > 9
    pictures = packet_times(file, "v:0")
    assert pictures[0] < 1 and pictures[-1] > seconds - 1 and len(pictures) > 20 * (pictures[-1] - pictures[0])
    assert max(np.diff(pictures)) < 0.7, "the device's picture has a gap"
    talked = packet_times(file, "a:2")
    assert 3 < talked[0] < seconds - 4 and talked[-1] < seconds - 1
    assert len(packet_times(file, "v:1")) > 20
    both, device_alone, talker = (sound(file, track) for track in range(3))
    assert abs(len(both) / RATE - seconds) < 1
    part = slice(int((talked[0] + 1.5) * RATE), int((talked[0] + 4) * RATE))
    before = slice(int(RATE), int((talked[0] - 0.3) * RATE))
    assert level(talker[part], VOICE_HZ) > 0.1 and level(both[part], VOICE_HZ) > 0.1
    assert level(device_alone[part], VOICE_HZ) < 0.01 and level(both[before], VOICE_HZ) < 0.01
    # The beep is there a tenth of the time.
    assert level(both[before], 440, 95) > 0.1 and level(device_alone[before], 440, 95) > 0.1 and level(talker[part], 440) < 0.01
    offsets = claps(file, 0, 0, 440)
    assert abs(float(np.median(offsets))) < ALLOWED_MS and max(map(abs, offsets)) < 2 * ALLOWED_MS, offsets


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_the_devices_clap_is_in_sync(device: Start, tmp_path: Path, codec: str) -> None:
    """Flash and beep of the device's clip within 40 ms of each other, in the mixed sound and in its own; with H.264 too."""
    # It begins anew within the recording.
    made = make_clip(tmp_path / "flash.mp4", 5, FLASH, BEEP.format(hz=1000))
    one = device("--video", f"file:{made}", "--audio", f"file:{made}", "--video-codec", codec)
    record(one, "start")
    wait_seconds(7)
    record(one, "stop")
    (file,) = files(one)
    assert file.suffix == (".webm" if codec == "vp8" else ".mkv")
    assert titles(file) == [(codec, "Device"), ("opus", "Conversation"), ("opus", "Device alone")]
    if codec == "h264":
        # What viewers are promised, and what every browser with H.264 plays.
        assert streams(file)[0]["profile"] == "Constrained Baseline"
    for track in (0, 1):
        assert abs(float(np.median(claps(file, 0, track, 1000)))) < ALLOWED_MS


def test_the_talkers_clap_is_in_sync(device: Start, launch: Callable[[str], Launch], tmp_path: Path) -> None:
    """Flash and beep of a talker are together: in his own tracks, and his beep in the conversation with his flash in the device's picture."""
    made = tmp_path / "flash.webm"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", FLASH, "-f", "lavfi", "-i", BEEP.format(hz=1000), "-t", "40",
                    *"-vf scale=320:180 -c:v libvpx -deadline realtime -cpu-used 8 -g 15 -b:v 1M -c:a libopus".split(), str(made)], check=True, timeout=120)
    one = device("--audio", "silence", *CORNER)
    set_password(one)
    assert one.command("record", "start").returncode == 0
    # A program that may talk has the turn as soon as it produces. It sends what is encoded already: that costs nothing here.
    launch(
        f"filesrc location={made} ! matroskademux name=file webrtcsink name=sink "
        f"{signaller(one.signalling, ca=one.ca, token=new_token(one, 'talk'))} "
        "video-caps=video/x-vp8 audio-caps=audio/x-opus congestion-control=disabled "
        "file.video_0 ! queue ! clocksync ! sink.video_0 file.audio_0 ! queue ! opusparse ! clocksync ! sink.audio_0"
    )
    one.wait_for_log("talker connected", 40)
    wait_seconds(14)
    assert one.command("record", "stop").returncode == 0
    (file,) = files(one)
    assert [title for _, title in titles(file)] == ["Device", "Conversation", "Device alone", "Talker alone", "Talker"]
    # A sender's streams are put together by its first reports, seconds after the start: the later claps count.
    assert abs(float(np.median(claps(file, 1, 2, 1000)[-5:]))) < ALLOWED_MS, "the talker's own tracks"
    assert abs(float(np.median(claps(corner_of(file, tmp_path), 0, 0, 1000)[-5:]))) < ALLOWED_MS, "the device's picture and the conversation"


def corner_of(file: Path, folder: Path) -> Path:
    """A recording's device's picture, of which only the talker's corner is left, and its conversation."""
    made = folder / "corner.mkv"
    crop = "crop=in_w*0.4:in_h*0.4:in_w*0.55:in_h*0.55"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(file), "-map", "0:v:0", "-map", "0:a:0", "-vf", crop, "-fps_mode", "passthrough",
                    "-c:v", "ffv1", "-c:a", "copy", "-copyts", str(made)], check=True, timeout=120)
    return made


#: A person who claps each second, for camera and microphone: a canvas is white for as long as Web Audio sounds.
CLAP = """
let tracks = null;
const clap = () => {
  const audio = new AudioContext({ latencyHint: 0, sampleRate: 48000 });
  const [tone, gain, out] = [audio.createOscillator(), audio.createGain(), audio.createMediaStreamDestination()];
  tone.frequency.value = 1000;
  gain.gain.value = 0;
  tone.connect(gain).connect(out);
  tone.start();
  for (let second = 1; second < 120; second++) {
    gain.gain.setValueAtTime(0.5, second);
    gain.gain.setValueAtTime(0, second + 0.1);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const paint = canvas.getContext("2d");
  setInterval(() => {
    paint.fillStyle = audio.currentTime % 1 < 0.1 && audio.currentTime >= 1 ? "white" : "black";
    paint.fillRect(0, 0, 320, 180);
  }, 10);
  return { audio: out.stream.getAudioTracks()[0], video: canvas.captureStream(30).getVideoTracks()[0] };
};
navigator.mediaDevices.getUserMedia = async (wanted) => {
  tracks ??= clap();
  return new MediaStream(["audio", "video"].filter((kind) => wanted[kind]).map((kind) => tracks[kind].clone()));
};
"""


def test_a_browsers_clap_is_in_sync(device: Start, tmp_path: Path) -> None:
    """Flash and beep of somebody who talks in Chromium are together: in his own tracks, and his beep in the conversation with his own picture.

    The page's device is the test's: what encodes, paces and reports is the browser. Where the device's picture shows him is tested above:
    with a browser at work beside it a test machine is too slow to tell.
    """
    one = device("--audio", "silence", *CORNER)
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, CLAP)
        record(one, "start")
        page.click("#camera")
        page.wait("the camera", "document.getElementById('camera').getAttribute('aria-pressed') === 'true'")
        page.start_talk()
        wait_seconds(14)
        assert page.evaluate("document.getElementById('app').dataset.talk") == "talking", "the talk was cut"
        record(one, "stop")
    (file,) = files(one)
    assert [title for _, title in titles(file)] == ["Device", "Conversation", "Device alone", "Talker alone", "Talker"]
    for track in (2, 0):
        assert abs(float(np.median(claps(file, 1, track, 1000)))) < ALLOWED_MS


def test_all_tracks_of_a_recording_that_is_stopped_end_together(device: Start) -> None:
    """The mixed sound is the last to come; none of it is lost for that."""
    one = device()
    record(one, "start")
    wait_seconds(3)
    record(one, "stop")
    (file,) = files(one)
    ends = {track: packet_times(file, track)[-1] for track in ("v:0", "a:0", "a:1")}
    # A packet of sound lasts 20 ms; pictures may be left out on a busy machine.
    assert abs(ends["a:0"] - ends["a:1"]) < 0.1 and abs(ends["a:0"] - ends["v:0"]) < 0.25, ends


# --- what happens to it ---


def test_a_recording_whose_file_is_removed_ends_with_a_word(device: Start) -> None:
    one = device()
    record(one, "start")
    (file,) = files(one)
    file.unlink()
    said = f"Recording stopped: its file {file.name} is gone"
    wait_for("the reason", lambda: said in one.command("status").stdout, 10)
    assert "\nrecording      nothing\n" in one.command("status").stdout
    record(one, "start")
    assert len(files(one)) == 1
    record(one, "stop")


def test_a_killed_process_loses_at_most_a_second(device: Start, tmp_path: Path) -> None:
    """kill -9 in a recording by the rule "always": every track decodes up to a second before; after a restart it is finished."""
    one = device("--record", "always")
    one.wait_for_log("recording the call")
    began = time.monotonic()
    (file,) = files(one)
    wait_seconds(6)
    with Peer(one):
        pass
    one.kill()
    length = time.monotonic() - began
    torn = shutil.copy(file, tmp_path / "torn.webm")
    assert titles(torn) == [("vp8", "Device"), ("opus", "Conversation"), ("opus", "Device alone")]
    # The file began before the log line was seen.
    lost = {track: length - packet_times(torn, track)[-1] for track in ("v:0", "a:0", "a:1")}
    print(f"lost by kill -9, s: {lost}")
    # Of what is written four times a second 0.6 s, and what a busy machine is late.
    assert max(lost.values()) <= 1.0, lost
    one.start()
    one.wait_for_log("finished a recording that was cut off")
    one.wait_for_log("recording the call")
    assert streams(file)[0]["file_duration"] and float(streams(file)[0]["file_duration"]) > 4
    entry = next(entry for entry in listed(one) if entry["name"] == file.name)
    assert entry["seconds"] > 4 and not entry["recording"] and entry["cutOff"]
    assert one.stop() == 0
    one.start()
    whole = [entry["cutOff"] for entry in listed(one) if entry["name"] != file.name]
    assert whole and not any(whole), "one that came to its own end"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#recordings-open")
        page.wait("the list", "document.querySelectorAll('#recordings-list li').length > 1")
        told = page.evaluate("[...document.querySelectorAll('#recordings-list .what')].map((what) => what.textContent.includes('cut off when the device stopped'))")
        assert told.count(True) == 1 and told[-1], told
        screenshot(page, "recordings-cut-off")


def test_all_who_talked_are_named_also_after_a_kill(device: Start) -> None:
    """Two turns in one recording: in the list and in the file's metadata, while it runs, cut off and finished; whole as well."""
    one = device()
    one.wait_for_log("the device can be called")

    def named(file: Path) -> str:
        words = ["ffprobe", "-v", "error", "-show_entries", "format_tags=TALKERS", "-of", "default=nw=1:nk=1", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done
        return done.stdout.strip()

    def two_turns() -> list[str]:
        record(one, "start")
        site = one.url.rstrip("/")  # as pages come, not as programs that may do all
        with Peer(one, origin=site) as first, Peer(one, origin=site) as second:
            for peer in (first, second):
                assert json.loads(call(one, "POST", "/api/v1/talk", {"peer": peer.id, "take": False})[2])["you"] == "talking"
                peer.send(type="setPeerStatus", roles=["producer"], meta=None)  # only then does it talk
                wait_seconds(1.5)
                assert call(one, "POST", "/api/v1/talk/release", {"peer": peer.id})[0] == 200
            return [first.id[:8], second.id[:8]]

    cut = two_turns()
    (file,) = files(one)
    assert [(entry["recording"], entry["talkers"]) for entry in listed(one)] == [(True, cut)]
    one.kill()
    assert named(file) == ", ".join(cut), "before it is finished"
    one.start()
    one.wait_for_log("finished a recording that was cut off")
    assert [(entry["cutOff"], entry["talkers"]) for entry in listed(one)] == [(True, cut)]
    assert named(file) == ", ".join(cut)
    whole = two_turns()
    record(one, "stop")
    wait_seconds(1)  # a name of its own
    record(one, "start")
    wait_seconds(1)
    record(one, "stop")
    assert [(entry["cutOff"], entry["talkers"]) for entry in listed(one)] == [(False, []), (False, whole), (True, cut)]
    assert [named(each) for each in files(one)] == [", ".join(cut), ", ".join(whole), ""]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_recording_and_not_the_call(device: Start, tmp_path: Path, small_disk: Path) -> None:
    """The disk is filled to its last byte: everybody sees why recording stopped, the call goes on, the file plays."""
    one = device("--record-dir", str(small_disk / "recordings"), "--record-min-free", "0")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        record(one, "start")
        page.wait("the sign that the call is recorded", "document.getElementById('recording').textContent === 'Recording'")
        wait_seconds(3)
        with open(small_disk / "filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(65536)):
                    pass
            except OSError as error:
                assert "No space left" in str(error)
        page.wait("the reason on the page", "document.getElementById('detail').textContent.includes('Recording stopped: the disk is full')")
        page.wait("the sign to go", "document.getElementById('recording').textContent === ''")
        page.wait_frame()
        page.wait_tone(440)
        (file,) = (small_disk / "recordings").glob("*.webm")
        assert packet_times(file, "v:0")[-1] > 1.5 and [title for _, title in titles(file)] == ["Device", "Conversation", "Device alone"]
        # With room again it can be started again, and the fault goes.
        (small_disk / "filler").unlink()
        record(one, "start")
        page.wait("no fault", "document.getElementById('detail').textContent === ''")
        record(one, "stop")
    assert one.process and one.process.poll() is None


def test_the_least_free_space_is_kept(device: Start, small_disk: Path) -> None:
    """With less than record-min-free nothing is begun, and the sentence names both figures."""
    one = device("--record-dir", str(small_disk / "recordings"), "--record-min-free", "20")
    status, _, body = call(one, "POST", "/api/v1/recording", {"action": "start"})
    sentence = json.loads(body)["error"]["message"]
    assert status == 503 and "MiB are free" in sentence and "record-min-free keeps 20 MiB" in sentence, sentence
    assert not list((small_disk / "recordings").glob("*"))


def test_rules_sizes_and_ages(device: Start, tmp_path: Path) -> None:
    """By the rule "talk" a talk is recorded without a word; a long recording goes on in new files, old ones go."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    old = folder / "2020-01-01T00-00-00Z_device.webm"
    old.write_bytes(b"old")
    os.utime(old, (1_577_836_800, 1_577_836_800))
    other = folder / "holiday.webm"
    other.write_bytes(b"not ours")
    os.utime(other, (1_577_836_800, 1_577_836_800))
    one = device("--record", "talk", "--record-dir", str(folder), "--record-max-size", "1", "--record-max-age", "1")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url)
        assert page.evaluate("document.getElementById('recording').textContent") == ""
        page.start_talk()
        page.wait("the sign that the call is recorded", "document.getElementById('recording').textContent === 'Recording'")
        one.wait_for_log(r"removed an old recording.*2020-01-01")
        wait_for("a part that was removed", lambda: len([line for line in one.lines if "removed an old recording" in line]) > 1, 60)
        page.end_talk()
        page.wait("the sign to go", "document.getElementById('recording').textContent === ''", 20)
    kept = [file for file in folder.glob("*Z_*.webm")]
    assert not old.exists() and other.exists() and len(kept) >= 2
    assert sum(file.stat().st_size for file in kept) < 2_000_000
    assert all(file.name.split("_")[1] != "device.webm" for file in kept), "the talker's name is missing"
    for file in kept:
        assert [title for _, title in titles(file)][:2] == ["Device", "Conversation"]
        assert packet_times(file, "v:0")[0] < 0.2


def test_nobody_watches_and_nothing_runs_after_a_recording(device: Start) -> None:
    """The command line starts and stops it; capture runs for it, and ends with it."""
    one = device("--idle-grace", "0")
    one.wait_for_log("the device can be called")
    assert one.command("record", "start").returncode == 0
    wait_seconds(2)
    stopped = one.command("record", "stop")
    assert stopped.returncode == 0 and stopped.stdout.startswith("recorded 20"), stopped
    assert one.command("record", "stop").stdout == "there was no recording to end\n"
    one.wait_for_log("capture and encoder stop")
    (file,) = files(one)
    assert [title for _, title in titles(file)] == ["Device", "Conversation", "Device alone"]
    assert float(streams(file)[0]["file_duration"]) > 1.5
    used = one.processor_seconds()
    wait_seconds(3)
    assert one.processor_seconds() - used < 0.3, "something still runs"
    wrong = subprocess.run([DUPLEX, "record", "pause"], capture_output=True, text=True, timeout=20)
    assert wrong.returncode == 2 and "start" in wrong.stderr and "stop" in wrong.stderr


# --- the page ---


def test_the_owner_plays_and_deletes_recordings_in_the_page(device: Start, tmp_path: Path) -> None:
    """The button starts and stops it, its neighbour counts and opens the list; the browser plays it, seeks in it, and deletes it after a second press."""
    one = device()
    count = "[document.getElementById('recordings-count').textContent, document.getElementById('recordings-open').title].join()"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        assert page.evaluate("document.getElementById('record').nextElementSibling.id") == "recordings-open" and page.evaluate(count) == ",Recordings"
        page.click("#record")
        page.wait("the sign that the call is recorded", "document.getElementById('recording').textContent === 'Recording'")
        assert page.evaluate("document.getElementById('record').getAttribute('aria-pressed')") == "true"
        wait_seconds(6)
        assert page.evaluate(count) == ",Recordings", "one that is still written is none to play yet"
        screenshot(page, "recording")
        page.click("#record")
        page.wait("the sign to go", "document.getElementById('recording').textContent === ''")
        page.wait("the number", f"{count} === '1,Recordings (1)'")
        later = chromium.live(one.url)
        later.wait("the number, to whom comes later too", f"{count} === '1,Recordings (1)'")
        later.page.context.close()
        page.click("#recordings-open")
        page.wait("the recording in the list", "document.querySelectorAll('#recordings-list li').length === 1")
        assert page.evaluate("/^([6-9]|1\\d)\\ss · [0-9.]+\\s[kM]B$/.test(document.querySelector('#recordings-list .what').textContent)")
        page.click("#recordings-list button:has-text('Play')")
        player = "document.getElementById('recordings-player')"
        page.wait("it plays", f"{player}.currentTime > 1 && {player}.videoWidth === 640", 20)
        assert page.evaluate(f"{player}.duration > 5 && {player}.duration < 10")
        # Two sounds at once are none; what the person chose stays, and comes back.
        sound = "[document.getElementById('picture').muted, app.dataset.sound].join()"
        assert page.evaluate(sound) == "true,on"
        page.evaluate(f"{player}.pause()")
        page.wait("the live sound", f"{sound} === 'false,on'")
        page.evaluate(f"{player}.play()")
        page.wait("the recording's sound alone", f"{sound} === 'true,on'")
        page.evaluate(f"{player}.currentTime = 4")
        page.wait("it plays from there", f"{player}.currentTime > 4.5 && !{player}.seeking && {player}.readyState >= 3", 20)
        screenshot(page, "recordings")
        page.click("#recordings-list button:has-text('Delete')")
        assert len(files(one)) == 1
        page.click("#recordings-list button:has-text('Delete it?')")
        page.wait("an empty list", "document.querySelectorAll('#recordings-list li').length === 0")
        page.wait("the live sound again", f"{sound} === 'false,on'")
        assert files(one) == [] and page.faults == [] and page.evaluate(count) == ",Recordings"
        page.page.keyboard.press("Escape")
        page.wait("the focus back where it was", "document.activeElement.id === 'recordings-open'")


def test_an_open_list_follows_what_runs_and_what_another_owner_deletes(device: Start, tmp_path: Path) -> None:
    """Length and size of the one that runs grow, as long as the red sign says; what another owner deleted goes, from list and number."""
    one = device()
    for _ in range(2):
        record(one, "start")
        wait_seconds(2)
        record(one, "stop")
    rows = "document.querySelectorAll('#recordings-list li').length"
    number = "document.getElementById('recordings-count').textContent"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page, other = chromium.live(one.url), chromium.live(one.url)
        record(one, "start")
        page.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
        for each in (page, other):
            each.click("#recordings-open")
            each.wait("three", f"{rows} === 3 && {number} === '2'")
        # A question that is asked is not lost when the list is looked at anew.
        item = "[...document.querySelectorAll('#recordings-list li')].at(-1)"
        page.page.locator("#recordings-list li").last.locator("button", has_text="Delete").click()
        told = "[document.getElementById('recording-time').textContent, document.querySelector('#recordings-list .what').textContent]"

        def running() -> tuple[int, int, float]:
            """Seconds by the sign and by the list, megabytes."""
            sign, what = page.evaluate(told)
            found = re.fullmatch(r"Recording now · (?:(\d+)\smin )?(\d+)\ss · ([\d.]+)\sMB", what)
            assert found, what
            minutes, rest = sign.split(":")
            return 60 * int(minutes) + int(rest), 60 * int(found[1] or 0) + int(found[2]), float(found[3])

        before = running()
        assert before[0] == before[1]
        after = wait_for("it grows", lambda: now if (now := running())[1] >= before[1] + 3 and now[2] > before[2] else None, 15)
        assert after[0] == after[1]
        assert page.evaluate(f"{item}.querySelector('.sure')?.textContent === 'Delete it?'"), "the question was lost"
        page.page.locator("button", has_text="Delete it?").click()
        page.wait("two", f"{rows} === 2 && {number} === '1'")
        other.wait("two there as well", f"{rows} === 2 && {number} === '1'", 12)
        # Before the other list is looked at anew, it is told at the try.
        other.evaluate("const later = setTimeout; window.setTimeout = (call, ms, ...more) => (ms === 5000 || ms === 10000 ? 0 : later(call, ms, ...more))")
        asked: list[str] = []
        other.page.on("response", lambda answer: asked.append(answer.url) if answer.url.endswith("/recordings") else None)
        wait_for("the last look", lambda: other.evaluate("1") and asked, 8)
        page.page.locator("#recordings-list li").last.locator("button", has_text="Delete").click()
        page.page.locator("button", has_text="Delete it?").click()
        page.wait("one", f"{rows} === 1")
        assert other.evaluate(rows) == 2
        other.page.locator("#recordings-list li").last.locator("button", has_text="Delete").click()
        other.page.locator("button", has_text="Delete it?").click()
        other.wait("one there as well", f"{rows} === 1 && {number} === ''")
        assert other.evaluate("document.getElementById('recordings-note').textContent") == "That recording is no longer there."


def test_how_long_it_has_been_recorded_is_shown_to_everybody(device: Start, tmp_path: Path) -> None:
    """To whom comes later, too; by no clock of the browser's, and without a word each second for who hears the page."""
    one = device()
    told = "((sign, time) => [sign.textContent, time.textContent, getComputedStyle(time).display !== 'none', sign.contains(time)])(document.getElementById('recording'), document.getElementById('recording-time'))"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first = chromium.live(one.url)
        assert first.evaluate(told) == ["", "", False, False]
        record(one, "start")
        began = time.monotonic()
        first.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
        wait_seconds(4)
        # Years away from the device's time of day.
        later = chromium.live(one.url, "const now = Date.now; Date.now = () => now() + 1e11;")
        later.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")

        def seconds(page: ChromiumPage) -> int:
            sign, text, shown, within = page.evaluate(told)
            assert sign == "Recording" and shown and not within
            minutes, rest = text.split(":")
            return 60 * int(minutes) + int(rest)

        for page in (first, later):
            before = seconds(page)
            assert abs(before - (time.monotonic() - began)) < 2.5
            wait_for("it goes on", lambda: seconds(page) > before + 1, 5)  # noqa: B023 - called within the turn
        record(one, "stop")
        for page in (first, later):
            wait_for("no sign", lambda: page.evaluate(told) == ["", "", False, False])  # noqa: B023


def screenshot(page: ChromiumPage, name: str) -> None:
    """At both widths and in both schemes, for a person to look at."""
    out = Path(__file__).parent / "out/screenshots"
    out.mkdir(parents=True, exist_ok=True)
    for width, height in ((1280, 800), (360, 760)):
        for scheme in ("light", "dark"):
            page.page.set_viewport_size({"width": width, "height": height})
            page.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.page.screenshot(path=out / f"{name}-{width}-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width}"
    page.page.set_viewport_size({"width": 1280, "height": 800})


def test_viewers_see_that_they_are_recorded_and_nothing_more(device: Start, tmp_path: Path) -> None:
    """A viewer's page shows the sign and no controls; the API gives him no list, no file, no start."""
    one = device()
    owner, viewer = set_password(one), set_password(one, "viewer", "a viewer's password")
    boss, guest = sign_in(one, owner), sign_in(one, viewer)
    status, _, body = call(one, "POST", "/api/v1/recording", {"action": "start"}, headers=boss)
    assert status == 200, body
    name = wait_for("the recording", lambda: listed(one, boss))[0]["name"]
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait("the form", "!document.getElementById('sign-in-form').hidden")
        page.page.fill("#password", viewer)
        page.click("#sign-in")
        page.wait_data(state="live")
        page.wait("the sign that the call is recorded", "document.getElementById('recording').textContent === 'Recording'")
        page.click("#settings-toggle")
        assert page.evaluate("['record', 'recordings-open', 'announce'].every((id) => document.getElementById(id).hidden)")
    for method, path, sent in (
        ("GET", "/api/v1/recordings", None), ("GET", f"/api/v1/recordings/{name}", None), ("DELETE", f"/api/v1/recordings/{name}", None),
        ("POST", "/api/v1/recording", {"action": "stop"}), ("POST", "/api/v1/say", {"text": "boo"}), ("GET", "/api/v1/clips", None),
        ("DELETE", "/api/v1/announcements", None),
    ):
        assert code(call(one, method, path, sent, headers=guest)) == (403, "notAllowed"), path
        assert call(one, method, path, sent)[0] == 401, path
    # Not even the owner deletes what is being written, and a name is no path.
    assert code(call(one, "DELETE", f"/api/v1/recordings/{name}", headers=boss)) == (409, "beingRecorded")
    for wrong in ("..%2Fauth.json", "%2Fetc%2Fpasswd", "..", "control.sock", f"..%2Frecordings%2F{name}"):
        assert call(one, "GET", f"/api/v1/recordings/{wrong}", headers=boss)[0] in (400, 404), wrong
    status, headers, body = call(one, "GET", f"/api/v1/recordings/{name}", headers={**boss, "Range": "bytes=0-3"})
    assert (status, body) == (206, b"\x1a\x45\xdf\xa3") and headers["content-range"].startswith("bytes 0-3/")
