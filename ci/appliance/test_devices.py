"""Camera and speaker as a viewer and a talker meet them, on virtual devices: the kernel's vivid and snd-aloop, libcamera's own, USB audio,
and a USB camera that is a program (usb_camera.py).

Only the sensor and the cone are not real. Pulled out means: taken from its driver, or unplugged from the emulated USB.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import numpy
import pytest

from device import wait_for
from moving_bar import bar, bar_of
from room import speech
from stock import RATE, Launch, amplitude, markers, samples, signaller, sink, source, tone
from test_echo import FAR, decibel
from usb_camera import UsbCamera
from uvc import Asked

pytestmark = pytest.mark.lg_feature(["appliance", "usb"])

#: An emulated board on a busy machine.
PATIENCE = 180.0
#: On a board of its own a loss is missed within a second and mended within three; emulation on a busy machine takes ten times as long.
SLOW = 10.0
SIZE = (320, 240)
READER = (
    "webrtcsink name=ws {talk} filesrc location={file} blocksize=9600 "
    f"! rawaudioparse use-sink-caps=false format=pcm pcm-format=s16le sample-rate={RATE} num-channels=1 ! clocksync ! queue ! opusenc ! ws."
)


@pytest.fixture
def board(serving) -> Iterator:  # type: ignore[no-untyped-def]
    """The shared board with a camera and a sound card that loops; afterwards as it was configured."""
    serving.load("vivid", "n_devs=1", "node_types=0x1")
    serving.load("snd-aloop", "id=Loopback", "pcm_substreams=2")
    wait_for("the camera's stable name", lambda: serving.ssh("ls /dev/v4l/by-path", check=False), PATIENCE, every=1)
    yield serving
    for words in ("source set video test", "source set audio test", "sound set speaker:auto", "volume talk 1", "unmute talk"):
        serving.duplex(words, check=False)
    # A test that broke off may have left them without their drivers.
    serving.ssh("[ -e /dev/video0 ] || echo vivid.0 > /sys/bus/platform/drivers/vivid/bind", check=False)
    serving.ssh("[ -e /proc/asound/Loopback ] || echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind", check=False)


@pytest.fixture
def viewer(board, tmp_path: Path) -> Iterator[Callable[[], Launch]]:  # type: ignore[no-untyped-def]
    """Starts the one viewer, a stock webrtcsrc that writes what it sees and hears, and waits for its first frames.

    A stock client asks once: an emulated board that takes longer than a board may to answer is asked again.
    """
    token = board.duplex("token new viewer --may watch")
    started: list[Launch] = []

    def start() -> Launch:
        words = signaller(board.signalling, ca=board.ca, token=token)
        for last in (False, False, True):
            one = Launch(source(words, gray=tmp_path / "seen.gray", wav=tmp_path / "heard.wav"))
            started.append(one)
            try:
                one.wait_for_frames(10, PATIENCE if last else PATIENCE / 4)
                return one
            except AssertionError:
                if last:
                    raise
                one.stop()
        raise AssertionError("unreachable")

    yield start
    for one in started:
        one.stop()
        print(one.tail())
    board.duplex("token revoke viewer")


@pytest.fixture
def talker(board) -> Iterator[Callable[[int | Path], Launch]]:  # type: ignore[no-untyped-def]
    """Starts a talker, a stock webrtcsink that sends a tone, or a file of raw sound."""
    token = board.duplex("token new talker --may talk")
    started: list[Launch] = []

    def start(voice: int | Path) -> Launch:
        words = signaller(board.signalling, ca=board.ca, token=token)
        pipeline = READER.format(talk=words, file=voice) if isinstance(voice, Path) else sink(words, video=False, tone=voice)
        started.append(Launch(pipeline))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        print(one.tail())
    board.duplex("token revoke talker")


def last_frame(path: Path) -> numpy.ndarray | None:
    """Luma of the last whole frame that a viewer has seen."""
    size = SIZE[0] * SIZE[1]
    if not path.exists() or path.stat().st_size < size:
        return None
    with path.open("rb") as file:
        file.seek((path.stat().st_size // size - 1) * size)
        return numpy.frombuffer(file.read(size), numpy.uint8).reshape(SIZE[1], SIZE[0])


def bars(path: Path, turned: bool = False) -> list[float] | None:
    """How bright vivid's colour bars are, if the last frame has them: from left to right each is darker than the one before.

    ``turned``: they are upside down.
    """
    frame = last_frame(path)
    if frame is None:
        return None
    if turned:
        frame = frame[::-1, ::-1]
    # The bars' lower half: above it stands vivid's text.
    means = [float(frame[130:170, int((k + 0.3) * SIZE[0] / 8):int((k + 0.7) * SIZE[0] / 8)].mean()) for k in range(8)]
    return means if means[0] - means[7] > 80 and all(a > b - 4 for a, b in zip(means, means[1:])) else None


def speaker_sound(board) -> numpy.ndarray:  # type: ignore[no-untyped-def]
    """The last second that the USB speaker was given."""
    return samples(board.speaker_file)[::2][-RATE:]


def now(board) -> float:  # type: ignore[no-untyped-def]
    """Seconds since the board started, as its journal counts them."""
    return float(board.ssh("cut -d ' ' -f 1 /proc/uptime"))


def told(board, since: float, pattern: str) -> float:  # type: ignore[no-untyped-def]
    """When the service's journal had a line like this, seconds after ``since``."""
    def probe() -> float | None:
        for line in board.ssh("journalctl -u duplex -b -o short-monotonic --no-pager -n 200").splitlines():
            match = re.match(r"\[ *(\d+\.\d+)\] ", line)
            if match and float(match[1]) >= since - 0.05 and re.search(pattern, line):
                return float(match[1]) - since
        return None
    return wait_for(f"{pattern!r} in the journal", probe, 60, every=1)


def kernel_told(board, since: float, pattern: str) -> float:  # type: ignore[no-untyped-def]
    """When the kernel had a line like this after ``since``, as its log counts seconds: a plug's journey through an emulated bus is not the service's."""
    def probe() -> float | None:
        lines = re.findall(rf"^\[ *(\d+\.\d+)\] .*(?:{pattern})", board.ssh("dmesg | tail -n 60"), re.MULTILINE)
        return float(lines[-1]) if lines and float(lines[-1]) >= since - 0.05 else None
    return wait_for(f"{pattern!r} in the kernel's log", probe, PATIENCE, every=1)


def joins(board) -> int:  # type: ignore[no-untyped-def]
    """How many viewers have joined since the start."""
    return int(board.ssh("journalctl -u duplex -b --no-pager | grep -c 'viewer joins'; true"))


def cameras_open(board) -> int:  # type: ignore[no-untyped-def]
    """How many camera nodes the service has open: with one the camera's light is on."""
    return int(board.ssh("ls -l /proc/$(systemctl show --property MainPID --value duplex)/fd | grep -c '/dev/video'; true"))


def take(board, words: str) -> None:  # type: ignore[no-untyped-def]
    print(board.duplex(words))


# --- names ---------------------------------------------------------------------------------------------------------------

def test_devices_have_names_that_stay_and_auto_picks_usb(board) -> None:  # type: ignore[no-untyped-def]
    shown = wait_for("the USB speaker in the list", lambda: s if "USB" in (s := board.ssh("duplex devices")) else None, PATIENCE, every=2)
    print(shown)
    lines = shown.splitlines()
    assert any(re.match(r"camera +/dev/v4l/by-path/platform-vivid\S+-video-index0 .*<- auto", line) for line in lines), shown
    speakers = [line for line in lines if line.startswith("speaker")]
    assert "USB" in speakers[0] and "<- auto" in speakers[0] and any("CARD=Loopback" in line for line in speakers), shown
    assert any(line.startswith("microphone") and "CARD=Loopback" in line for line in lines), shown


# --- camera --------------------------------------------------------------------------------------------------------------

def test_camera_seen_pulled_and_put_back_while_the_viewer_stays(board, viewer, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    gray = tmp_path / "seen.gray"
    wait_for("nobody watches yet", lambda: cameras_open(board) == 0, PATIENCE, every=1)
    take(board, "source set video camera:auto")
    assert cameras_open(board) == 0
    launch = viewer()
    before = joins(board)
    wait_for("vivid's colour bars", lambda: bars(gray), PATIENCE)
    first = last_frame(gray)
    wait_for("a picture that moves", lambda: numpy.abs(last_frame(gray).astype(int) - first).max() > 30, PATIENCE)  # type: ignore[union-attr]

    pulled = now(board)
    board.unbind("vivid", "vivid.0")
    missed = told(board, pulled, "source failed")
    figure(f"missed {missed:.2f} s after it was pulled out")
    launch.wait_for_frames(launch.frames() + 10, PATIENCE)
    wait_for("something else than the camera's last picture", lambda: not bars(gray), PATIENCE)
    back = now(board)
    board.bind("vivid", "vivid.0")
    taken = told(board, back, "source works again")
    figure(f"taken again {taken:.2f} s after it was put back")
    assert missed < SLOW and taken < 3 * SLOW
    launch.wait_for_frames(launch.frames() + 15, PATIENCE)
    assert launch.process.poll() is None and joins(board) == before
    assert cameras_open(board) > 0
    launch.stop()
    wait_for("nobody watches: the camera is closed", lambda: cameras_open(board) == 0, PATIENCE, every=1)


@pytest.fixture
def usb_camera(board) -> Iterator[UsbCamera]:  # type: ignore[no-untyped-def]
    """A USB camera in the tests' hand, not yet plugged in."""
    try:
        board.usb_socket()
    except AssertionError as error:
        if "not a valid device model name" in str(error):
            pytest.skip("this QEMU has no usb-redir")
        raise
    camera = UsbCamera()
    yield camera
    print(f"the camera was asked for {camera.asked} and has sent {camera.sent} pictures")
    camera.pull()


@pytest.fixture
def shown(board) -> Iterator[Callable[[], int | None]]:  # type: ignore[no-untyped-def]
    """Where the USB camera's bar is in what the device shows; ``None``: it shows something else, or there is no snapshot of a card.

    From snapshots: a stock viewer drops what comes too late, as it does from an emulated board on a busy machine, and then decodes what
    follows on the wrong picture.
    """
    token = board.duplex("token new snapshots --may watch")
    yield lambda: bar_of(picture) if (picture := board.get("/api/v1/snapshot.jpg", token)) else None
    board.duplex("token revoke snapshots")


def moves(path: Path) -> bool:
    """Whether the last two frames of a viewer differ in more than noise."""
    size = SIZE[0] * SIZE[1]
    whole = numpy.fromfile(path, numpy.uint8, count=2 * size, offset=(path.stat().st_size // size - 2) * size).reshape(2, size).astype(int)
    return int(numpy.abs(whole[0] - whole[1]).max()) > 60


def test_usb_camera_gives_the_jpeg_that_it_makes_and_is_pulled_and_put_back(board, usb_camera, viewer, shown, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Its raw pictures of the size wanted are too few, those of a larger size enough; its H.264 is not wanted (see camera.rs)."""
    gray, name = tmp_path / "seen.gray", "/dev/v4l/by-id/usb-Proband_MJPEG_camera_0001-video-index0"
    wanted = Asked("MJPG", *SIZE, 15)
    usb_camera.plug(board.usb_socket())
    wait_for("its stable name", lambda: name in board.ssh("ls -d /dev/v4l/by-id/*", check=False), PATIENCE, every=1)
    listed = board.ssh("duplex devices")
    cameras = [line for line in listed.splitlines() if line.startswith("camera")]
    assert re.match(rf"camera +{name}  \(MJPEG camera.*\)  <- auto", cameras[0]) and len(cameras) == 2, listed
    assert not usb_camera.asked and not usb_camera.sent, "nobody watches yet"

    take(board, f"source set video camera:{name}")
    launch = viewer()
    before = joins(board)
    wait_for("the camera's bar at the viewer", lambda: bar(last_frame(gray)) is not None, PATIENCE)
    first = wait_for("the camera's bar", shown, PATIENCE)
    wait_for("a bar that moves", lambda: abs((shown() or first) - first) > 10, PATIENCE)
    assert set(usb_camera.asked) == {wanted}, usb_camera.asked

    began, sent = now(board), usb_camera.sent
    usb_camera.pull()
    missed = told(board, kernel_told(board, began, "USB disconnect"), "source failed")
    figure(f"missed {missed:.2f} s after it was pulled out, with {sent} pictures sent")
    launch.wait_for_frames(launch.frames() + 10, PATIENCE)
    wait_for("a card, which stands still", lambda: shown() is None and not moves(gray), PATIENCE)
    began = now(board)
    usb_camera.plug(board.usb_socket())
    taken = told(board, kernel_told(board, began, "Found UVC"), "source works again")
    figure(f"taken again {taken:.2f} s after it was put back")
    assert missed < SLOW and taken < 3 * SLOW
    wait_for("the camera's bar again", lambda: shown() is not None and moves(gray), PATIENCE)
    assert launch.process.poll() is None and joins(board) == before
    assert set(usb_camera.asked) == {wanted} and len(usb_camera.asked) >= 2, usb_camera.asked


#: A name as libcamera gives it to a camera of the board: its place in the device tree.
LIBCAMERA = "/base/virtual/i2c@1/imx219@10"
#: Its own size is not the one wanted: given a choice libcamera's source takes that.
VIRTUAL = f"""
"{LIBCAMERA}":
  supported_formats:
  - {{ width: 640, height: 480, frame_rates: [15, 30] }}
  - {{ width: 320, height: 240, frame_rates: [15, 30] }}
  test_pattern: "bars"
  model: "imx219"
"""


@pytest.fixture
def libcamera(board, settings) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """A camera that only libcamera knows, its virtual one, beside vivid's; the service mirrors cameras meanwhile.

    The virtual one takes its buffers from /dev/udmabuf, because Debian's kernel has no DMA heaps; no camera of a board does.
    Its thread still walks through a request after it said that the request's buffer is done (libcamera 0.7.1, virtual.cpp), and by
    then another thread may have freed it: SIGSEGV in the map's iterator, within seconds on an emulated board. One processor, first in,
    first out, makes that seldom: 45 rounds without one. Times under it are no measure of a board. The pipelines of boards are other code.
    """
    folder = "/usr/share/libcamera/pipeline/virtual"
    board.ssh(f"mount -t tmpfs -o mode=0755 none {folder} && cat > {folder}/virtual.yaml && chown :video /dev/udmabuf", text=VIRTUAL)
    in_turn = ("CPUAffinity=0", "CPUSchedulingPolicy=fifo", "CPUSchedulingPriority=1")
    settings("DeviceAllow=/dev/udmabuf rw", "Environment=DUPLEX_CAMERA_MIRROR=true LIBCAMERA_LOG_LEVELS=*:INFO", *in_turn)
    yield
    board.ssh(f"umount {folder}; chown :kvm /dev/udmabuf", check=False)


def edge(path: Path) -> int | None:
    """Where in the last frame white becomes black, in a row of bars that get darker to the left; ``None`` if it shows anything else."""
    frame = last_frame(path)
    if frame is None or frame.std(axis=0).mean() > 20:
        return None
    columns = frame.mean(axis=0)
    steps = columns[6:] - columns[:-6]
    return int(steps.argmin()) if steps.min() < -120 and steps.max() < 90 else None


def test_camera_of_libcamera_comes_first_and_is_seen_at_the_size_wanted(board, libcamera, viewer, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shown = board.ssh("duplex devices")
    cameras = [line for line in shown.splitlines() if line.startswith("camera")]
    assert re.match(rf"camera +{re.escape(LIBCAMERA)}  \(imx219\)  <- auto", cameras[0]) and "vivid" in cameras[1], shown

    gray = tmp_path / "seen.gray"
    take(board, f"source set video camera:{LIBCAMERA}")
    launch = viewer()
    first = wait_for("libcamera's bars, mirrored", lambda: edge(gray), PATIENCE)
    wait_for("bars that move", lambda: (now := edge(gray)) is not None and abs(now - first) > 8, PATIENCE)
    began, frames = time.monotonic(), launch.frames()
    launch.wait_for_frames(frames + 30, PATIENCE)
    figure(f"30 pictures in {time.monotonic() - began:.1f} s")
    taken = board.ssh("journalctl -u duplex -b --no-pager | grep 'configuring streams'").splitlines()[-1]
    assert re.search(rf"\(0\) {SIZE[0]}x{SIZE[1]}-NV12", taken), taken


# --- speaker -------------------------------------------------------------------------------------------------------------

def test_talk_heard_at_a_volume_from_a_usb_speaker_that_is_pulled_in_mid_talk(board, talker, figure) -> None:  # type: ignore[no-untyped-def]
    """By its name, which is waited for."""
    broken = "journalctl -u duplex -b --no-pager | grep -c 'a talk ended early'; true"
    before = board.ssh(broken)
    take(board, "sound set speaker:plughw:CARD=Audio,DEV=0")
    written = board.speaker_file.stat().st_size if board.speaker_file.exists() else 0
    talk = talker(1000)

    def level() -> float:
        heard, loud = tone(speaker_sound(board))
        return loud if abs(heard - 1000) < 15 else 0.0

    # What an earlier talk left behind is not this one: a second of stereo must be there.
    wait_for("sound at the speaker", lambda: board.speaker_file.exists() and board.speaker_file.stat().st_size > written + 4 * RATE, PATIENCE)

    def steady() -> float | None:
        """Not while it only begins: a part of a second is less loud."""
        before = level()
        time.sleep(0.5)
        now = level()
        return now if before > 0.1 and abs(now - before) < 0.1 * before else None

    full = wait_for("the voice from the speaker", steady, PATIENCE)
    take(board, "volume talk 0.25")
    wait_for("a quarter as loud", lambda: 0.15 < level() / full < 0.35, PATIENCE, every=0.5)
    take(board, "volume talk 1")

    pulled = now(board)
    board.pull_speaker()
    missed = told(board, pulled, "not heard")
    figure(f"missed {missed:.2f} s after it was pulled out")
    wait_for("no USB speaker", lambda: "USB" not in board.ssh("cat /proc/asound/cards"), PATIENCE, every=1)
    written = board.speaker_file.stat().st_size if board.speaker_file.exists() else 0
    back = now(board)
    board.plug_speaker()
    taken = told(board, back, "the talker is heard again")
    figure(f"taken again {taken:.2f} s after it was put back")
    wait_for("the voice again", lambda: board.speaker_file.stat().st_size != written and level() > 0.1, PATIENCE, every=0.5)
    assert missed < SLOW and taken < 3 * SLOW
    assert talk.process.poll() is None, "the same talk all the time"
    assert board.ssh(broken) == before


@pytest.fixture
def second_speaker(board) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """Another USB speaker, plugged in after the first; afterwards only the first is."""
    board.plug_speaker("second-speaker")
    wait_for("two USB speakers", lambda: len(usb_speakers(board)) == 2, PATIENCE, every=2)
    yield
    board.pull_speaker("second-speaker")
    if not board.speaker:
        board.plug_speaker()
    wait_for("one USB speaker", lambda: len(usb_speakers(board)) == 1, PATIENCE, every=2)


def usb_speakers(board) -> list[str]:  # type: ignore[no-untyped-def]
    """Their names, the one that `auto` means first."""
    lines = board.ssh("duplex devices").splitlines()
    return [line.split()[1] for line in lines if re.match(r"speaker .*USB", line)]


def test_speaker_auto_goes_over_when_it_is_pulled_and_back_when_it_is_put_back(board, second_speaker, talker, figure) -> None:  # type: ignore[no-untyped-def]
    first, second = usb_speakers(board)
    journal = "journalctl -u duplex -b --no-pager | grep"
    # A board on a busy machine may be too late for its speaker at any time.
    ended, silent = f"{journal} -c 'a talk ended early'; true", f"{journal} 'the talker is not heard' | grep -vc 'seconds late'; true"
    before = board.ssh(ended)

    def plays(path: Path) -> bool:
        """Whether it is given the voice just now: of its last second, and it goes on."""
        written = path.stat().st_size if path.exists() else 0
        time.sleep(1)
        heard, loud = tone(samples(path)[::2][-RATE:])
        return path.exists() and path.stat().st_size > written and abs(heard - 1200) < 15 and loud > 0.1

    take(board, "sound set speaker:auto")
    talk = talker(1200)
    wait_for("the voice from the first speaker", lambda: plays(board.speaker_file), PATIENCE)
    assert not plays(board.second_speaker_file)

    pulled = now(board)
    board.pull_speaker()
    figure(f"missed {told(board, pulled, 'not heard'):.2f} s after it was pulled out")
    figure(f"heard again {told(board, pulled, 'the talker is heard again'):.2f} s after it was pulled out")
    wait_for("the voice from the second speaker", lambda: plays(board.second_speaker_file), PATIENCE)
    wait_for("no first speaker", lambda: usb_speakers(board) == [second], PATIENCE, every=1)

    unheard, back = board.ssh(silent), now(board)
    board.plug_speaker()
    # Both are on USB: the one that was lost is preferred.
    wait_for("the first speaker first", lambda: usb_speakers(board) == [first, second], PATIENCE, every=1)
    taken = told(board, back, "a better speaker is there and taken")
    figure(f"taken again {taken:.2f} s after it was put back")
    assert taken < 3 * SLOW
    wait_for("the voice from the first speaker again", lambda: plays(board.speaker_file), PATIENCE)
    assert not plays(board.second_speaker_file)
    assert talk.process.poll() is None, "the same talk all the time"
    assert (board.ssh(ended), board.ssh(silent)) == (before, unheard), "nothing was missed on the way back"


# --- microphone ----------------------------------------------------------------------------------------------------------

def test_microphone_hears_what_comes_out_of_the_speaker_unless_it_is_cancelled(board, viewer, talker, settings, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The card that loops is a room without walls: what is played on its one end is recorded on the other."""
    def loudest() -> float:
        """Of all half seconds so far: on a busy machine an emulated board's sound has gaps."""
        whole, size = samples(tmp_path / "heard.wav"), RATE // 2
        return max((amplitude(whole[at:at + size], 700) for at in range(0, len(whole) - size, size)), default=0.0)

    take(board, "sound set speaker:plughw:CARD=Loopback,DEV=0")
    take(board, "source set audio microphone:plughw:CARD=Loopback,DEV=1")
    loud = {}
    for how in ("off", "cancel"):
        settings(f"Environment=DUPLEX_ECHO={how}")
        watching, talking = viewer(), talker(700)
        wait_for("the talk", lambda: "talks" in board.duplex("sessions"), PATIENCE, every=1)
        if how == "off":
            wait_for("the talker's tone from the microphone", lambda: loudest() > 0.005, PATIENCE, every=1)
        written = len(samples(tmp_path / "heard.wav"))
        wait_for("ten seconds more", lambda: len(samples(tmp_path / "heard.wav")) > written + 10 * RATE, PATIENCE, every=1)
        # Its exit code tells of a microphone or a speaker that fails: silence that is no merit of the canceller's.
        print(board.duplex("status"))
        loud[how] = max(loudest(), 1e-5)
        watching.stop()
        talking.stop()
    figure(f"the talker's tone comes back at {loud['off']:.3f} of full scale, with cancellation at most at {loud['cancel']:.5f}")
    assert loud["cancel"] < loud["off"] / 2


def loudness(sound: numpy.ndarray) -> float:
    """Power of the loudest quarter of its tenths of a second: on a busy machine an emulated board's sound has gaps."""
    tenths = sound[: len(sound) // (RATE // 10) * (RATE // 10)].reshape(-1, RATE // 10)
    return float(numpy.sort((tenths**2).mean(axis=1))[-len(tenths) // 4:].mean())


@pytest.mark.long
def test_speech_comes_back_as_an_echo_unless_it_is_cancelled(board, viewer, talker, settings, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """ERLE with each setting: how much less of a talker's speech a viewer hears back than without any.

    A room with walls, and both speaking at once, are in ci/test_echo.py, for the service on this computer: an emulated board has no time
    left for a room.
    """
    spoken, voice, heard = speech(tmp_path / "far", FAR, "en", 0.12), tmp_path / "voice.raw", tmp_path / "heard.wav"
    # For as long as it may take until it is heard, and longer.
    voice.write_bytes((numpy.tile(spoken, 10) * 32767).astype("<i2").tobytes())
    take(board, "sound set speaker:plughw:CARD=Loopback,DEV=0")
    take(board, "source set audio microphone:plughw:CARD=Loopback,DEV=1")
    power, silent = {}, "journalctl -u duplex -b --no-pager | grep -c 'the talker is not heard'; true"
    for how in ("off", "duck", "cancel"):
        # Few pictures: an emulated processor that encodes many plays the sound seconds too late.
        settings(f"Environment=DUPLEX_ECHO={how} DUPLEX_FRAMERATE=2")
        watching, talking = viewer(), talker(voice)
        wait_for("the talk", lambda: "talks" in board.duplex("sessions", check=False), PATIENCE, every=1)
        # The canceller needs some seconds to learn.
        unheard, written = board.ssh(silent), len(samples(heard))
        wait_for("25 seconds at the viewer", lambda: len(samples(heard)) > written + 25 * RATE, PATIENCE, every=0.5)
        power[how] = loudness(samples(heard)[-15 * RATE:])
        # A microphone or a speaker that fails: silence that is no merit of the canceller's.
        shown = board.duplex("status", check=False)
        assert not re.search("fault .*microphone", shown), shown
        assert board.ssh(silent) == unheard, f"with {how} the talker was not heard for a time"
        watching.stop()
        talking.stop()
    shown = {how: decibel(power["off"] / max(power[how], 1e-12)) for how in ("duck", "cancel")}
    figure(f"a talker's speech comes back at {decibel(power['off']):.1f} dB; ERLE {', '.join(f'{how} {much:.1f} dB' for how, much in shown.items())}")
    assert power["off"] > 1e-5 and shown["duck"] > 12 and shown["cancel"] > 10


#: Sounds in the room until the card is pulled.
HUM_HERTZ, HUM = 700, "/run/hum.raw"


@pytest.fixture
def hum(board, tmp_path: Path) -> Iterator[Callable[[], None]]:  # type: ignore[no-untyped-def]
    """Makes something hum in the room: a tone at the other end of the card that loops, until that is pulled."""
    turns = 2 * numpy.pi * HUM_HERTZ * numpy.arange(5 * RATE) / RATE
    file = tmp_path / "hum.raw"
    file.write_bytes(numpy.repeat((8000 * numpy.sin(turns)).astype("<i2"), 2).tobytes())
    board.send(file, HUM)
    play = f"while cat {HUM}; do :; done 2>/dev/null | aplay -q -D plughw:CARD=Loopback,DEV=0 -t raw -f S16_LE -r {RATE} -c 2"
    started: list[subprocess.Popen[str]] = []

    def start() -> None:
        started.append(subprocess.Popen([*board.ssh_words(), play], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))

    yield start
    board.ssh(f"rm {HUM}", check=False)
    for one in started:
        one.kill()
        print(one.communicate()[1])


class Pauses:
    """How long a viewer waited for each next frame."""

    def __init__(self, gray: Path):
        self.gray = gray
        self.over = threading.Event()
        self.longest = 0.0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        size, since = self.gray.stat().st_size, time.monotonic()
        while not self.over.wait(0.05):
            now = self.gray.stat().st_size
            self.longest = max(self.longest, time.monotonic() - since)
            if now != size:
                size, since = now, time.monotonic()

    def stop(self) -> float:
        self.over.set()
        self.thread.join(5)
        return self.longest


@pytest.mark.long
def test_microphone_pulled_and_put_back_while_the_viewer_stays(board, viewer, hum, settings, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The sound card is taken from its driver while the service records from it; the kernel gives it free when the service has let go."""
    gray, wav = tmp_path / "seen.gray", tmp_path / "heard.wav"

    def level(seconds: float = 0.5) -> float:
        return amplitude(samples(wav)[-int(seconds * RATE):], HUM_HERTZ)

    # Few pictures, no canceller: an emulated processor that encodes many leaves holes in the sound.
    settings("Environment=DUPLEX_ECHO=off DUPLEX_FRAMERATE=5")
    take(board, "source set audio microphone:plughw:CARD=Loopback,DEV=1")
    hum()
    launch = viewer()
    before = joins(board)
    loud = wait_for("the hum from the microphone", lambda: one if (one := level()) > 0.05 and level(1.0) > 0.5 * one else None, PATIENCE, every=0.5)

    pauses = Pauses(gray)
    pulled = now(board)
    board.unbind("snd_aloop", "snd_aloop.0")
    assert "Loopback" not in board.ssh("cat /proc/asound/cards")
    missed = told(board, pulled, "source failed")
    figure(f"missed {missed:.2f} s after it was pulled out")
    wait_for("silence", lambda: level(1.0) < loud / 100, PATIENCE, every=0.5)
    heard, seen = len(samples(wav)), gray.stat().st_size
    # It is away for longer than any pause of the picture may last.
    wait_for("six seconds of silence", lambda: len(samples(wav)) > heard + 6 * RATE, PATIENCE, every=0.5)
    assert numpy.abs(samples(wav)[heard:]).max() < loud / 20
    assert len(set(markers(gray, *SIZE)[seen // (SIZE[0] * SIZE[1]):])) > 20, "the picture goes on"

    back = now(board)
    board.bind("snd_aloop", "snd_aloop.0")
    taken = told(board, back, "source works again")
    figure(f"taken again {taken:.2f} s after it was put back")
    hum()
    again = wait_for("the hum again", lambda: one if (one := level()) > loud / 2 else None, PATIENCE, every=0.5)
    longest = pauses.stop()
    figure(f"the hum is heard at {loud:.3f} of full scale, and at {again:.3f} again; the longest wait for a frame was {longest:.2f} s")
    assert missed < SLOW and taken < 3 * SLOW
    assert longest < 5
    assert launch.process.poll() is None and joins(board) == before
    launch.stop()
    recording = "cat /proc/asound/Loopback/pcm1c/sub*/status | grep -vc closed; true"
    wait_for("nobody watches: the microphone is closed", lambda: board.ssh(recording) == "0", PATIENCE, every=1)
