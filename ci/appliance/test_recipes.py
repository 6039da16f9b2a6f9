"""The recipes with stock tools, typed on the device itself: the workbench image has all of them.

Test sources stand for camera and microphone; autovideosink is a counted fakesink and autoaudiosink a WAV file, on another computer.
"""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path

import pytest

from device import wait_for
from stock import Launch, signaller, sink, source, wait_for_tone

pytestmark = pytest.mark.lg_feature(["appliance", "workbench", "lan"])

PLUGINS = "/usr/lib/aarch64-linux-gnu/gstreamer-1.0"


@pytest.fixture
def bench(serving, tmp_path: Path):  # type: ignore[no-untyped-def]
    """The device with its own service stopped and certificates of the recipe's kind; the authority's certificate is here too."""
    serving.ssh("systemctl stop duplex.service; rm -rf /run/recipe; mkdir -p /run/recipe")
    for step in ("init", f"issue proband.local localhost 127.0.0.1 {serving.host}", "export --p12 --out /run/recipe/server.p12 --password-file -"):
        serving.ssh(f"duplex pki {step} --dir /run/recipe/pki", text="a secret\n")
    serving.authority = tmp_path / "authority.pem"
    serving.authority.write_text(serving.ssh("cat /run/recipe/pki/ca.pem") + "\n")
    yield serving
    serving.ssh("systemctl stop 'recipe-*'", check=False)
    # For whoever has the board next.
    serving.ssh("systemctl start duplex.service")


def started(board, name: str, command: str) -> None:  # type: ignore[no-untyped-def]
    """Starts a program on the board that goes on until it is stopped."""
    board.ssh(f"systemctl stop recipe-{name} 2>/dev/null; systemd-run --quiet --collect --unit=recipe-{name} -E XDG_CACHE_HOME=/run/recipe {command}")


def log(board, name: str) -> str:  # type: ignore[no-untyped-def]
    return board.ssh(f"journalctl -u recipe-{name} --no-pager | tail -n 30", check=False)


@pytest.mark.parametrize(("plugin", "element"), [("rswebrtc", "webrtcsink"), ("rswebrtc", "webrtcsrc"), ("rsrtp", "rtpgccbwe")])
def test_gst_inspect_shows_the_elements_from_the_built_files(bench, plugin: str, element: str) -> None:  # type: ignore[no-untyped-def]
    assert f"{PLUGINS}/libgst{plugin}.so" in bench.ssh(f"XDG_CACHE_HOME=/run/recipe gst-inspect-1.0 {element}")


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_stock_server_and_stock_sink_on_the_device(bench, tmp_path: Path, tls: bool) -> None:  # type: ignore[no-untyped-def]
    cert = "--cert /run/recipe/pki/server.pem --key /run/recipe/pki/server-key.pem" if tls else ""
    scheme = "wss" if tls else "ws"
    started(bench, "signalling", f"/usr/bin/gst-webrtc-signalling-server --host 0.0.0.0 --port 8443 {cert}")
    wait_for("the stock server listens", lambda: ":8443" in bench.ssh("ss -Hltn"), 60, every=1)
    here = signaller(f"{scheme}://localhost:8443", ca=Path("/run/recipe/pki/ca.pem") if tls else None)
    started(bench, "sink", f"/usr/bin/gst-launch-1.0 {sink(here, tone=1000)}")
    wait_for("the producer is registered", lambda: "registered as [Producer]" in log(bench, "signalling"), 180, every=2)
    words = signaller(f"{scheme}://{bench.host}:8443", ca=bench.authority if tls else None)
    receiver = Launch(source(words, wav=tmp_path / "heard.wav"))
    try:
        receiver.wait_for_frames(20, 180)
        wait_for_tone(tmp_path / "heard.wav", 1000, 120, least=0.05)
    except AssertionError:
        print(log(bench, "sink"))
        raise
    finally:
        receiver.stop()
        bench.ssh("systemctl stop recipe-sink recipe-signalling")


def test_simple_http_server_serves_the_bundle_with_the_p12(bench) -> None:  # type: ignore[no-untyped-def]
    started(bench, "web", "/usr/bin/simple-http-server --ip 0.0.0.0 --port 8444 -i /usr/share/gstwebrtc-api --cert /run/recipe/server.p12 --certpass 'a secret'")
    wait_for("the web server listens", lambda: ":8444" in bench.ssh("ss -Hltn"), 60, every=1)
    with urllib.request.urlopen(f"https://{bench.host}:8444/", context=ssl.create_default_context(cafile=str(bench.authority)), timeout=30) as answer:
        assert answer.status == 200 and b"<html" in answer.read().lower()
