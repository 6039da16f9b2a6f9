"""The owner's part of the API: what it shows, who is refused, and a session that is ended."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from openapi_spec_validator import validate

from browser import Chromium
from device import Device, wait_for
from peer import Peer, bearer, call, code, new_token, set_password, sign_in

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
OWNERS = ["device", "devices", "certificate", "configuration", "sessions", "passwords", "log", "log/events", "steering"]


def get(device: Device, path: str, headers: dict[str, str] | None = None) -> Any:
    status, _, body = call(device, "GET", f"/api/v1/{path}", headers=headers)
    assert status == 200, body
    return json.loads(body)


def test_every_role_but_the_owners_is_refused(device: Start) -> None:
    one = device()
    owner = sign_in(one, set_password(one))
    others = {
        "viewer": sign_in(one, set_password(one, "viewer", "only to look at it")),
        "talker": sign_in(one, set_password(one, "talker", "also to talk with")),
        "token": bearer(new_token(one, "watch", "talk", "produce", "consume-peer", "metrics")),
    }
    calls = [("GET", path, None) for path in OWNERS] + [
        ("DELETE", "sessions/x", None), ("PATCH", "steering", {"deviceMuted": True}),
        ("POST", "passwords", {"role": "owner", "password": "mine from now on", "ownerPassword": "correct horse battery"}),
        ("POST", "passwords/remove", {"role": "viewer", "ownerPassword": "correct horse battery"}),
    ]
    for method, path, body in calls:
        origin = {"Origin": one.url.rstrip("/")}
        assert code(call(one, method, f"/api/v1/{path}", body, headers=origin)) == (401, "notSignedIn"), path
        for role, headers in others.items():
            assert code(call(one, method, f"/api/v1/{path}", body, headers=headers)) == (403, "notAllowed"), (role, path)
        foreign = {"Cookie": owner["Cookie"], "Origin": "https://evil.example"}
        assert code(call(one, method, f"/api/v1/{path}", body, headers=foreign)) == (403, "wrongOrigin"), path
    for path in OWNERS:
        assert call(one, "GET", f"/api/v1/{path}", headers=owner)[0] == 200, path


def test_the_description_is_valid_openapi(device: Start) -> None:
    one = device()
    set_password(one)
    document = get(one, "openapi.json")
    validate(document)
    assert "/api/v1/sessions/{id}" in document["paths"] and "/metrics" in document["paths"]


def test_configuration_with_the_origin_of_each_value(device: Start, tmp_path: Path) -> None:
    file = tmp_path / "duplex.toml"
    secret = tmp_path / "turn-secret"
    secret.write_text("hunter2-is-the-credential\n")
    secret.chmod(0o600)
    file.write_text(f'name = "Front door"\nframerate = 20\n[[ice-server]]\nurls = "turn:turn.example:3478"\nusername = "u"\ncredential-file = "{secret}"\n')
    one = device("--config", str(file), "--framerate", "25")
    # What is changed while it runs is told with the file that keeps it, and what the configuration says.
    assert one.command("volume", "talk", "0.5").returncode == 0 and one.command("source", "set", "video", "camera:auto").returncode == 0
    keys = {key["key"]: key for key in get(one, "configuration")["keys"]}
    changed = {name: (key["value"], key["configured"], key["origin"]) for name, key in keys.items() if key["configured"] is not None}
    kept = str(one.state / "changes.toml")
    assert changed == {"sound-volume": ("0.5", "1", kept), "video": ("camera:auto", "test", kept)}
    assert (keys["name"]["value"], keys["name"]["origin"]) == ("Front door", str(file))
    assert (keys["framerate"]["value"], keys["framerate"]["origin"]) == ("25", "--framerate")
    assert keys["audio"]["origin"] == "default" and keys["audio"]["help"]
    assert keys["ice-server"]["value"] == "turn:turn.example:3478"
    for path in ("configuration", "log", "device", "certificate"):
        assert "hunter2" not in json.dumps(get(one, path)), path


def test_certificate_and_device(device: Start) -> None:
    one = device()
    certificate = get(one, "certificate")
    assert "localhost" in certificate["names"] and certificate["notAfter"] > certificate["notBefore"]
    shown = one.command("pki", "show").stdout
    assert certificate["authority"]["fingerprint"] in shown or certificate["fingerprint"] in shown or one.ca.exists()
    health = get(one, "device")
    assert health["problems"] == [] and health["memory"]["service"] > 1e6 and health["disks"][0]["available"] > 0
    assert abs(health["serviceUptime"]) < 3600 and health["processors"] >= 1


def test_the_log_grows_and_has_no_secrets(device: Start) -> None:
    one = device()
    password = set_password(one)
    owner = sign_in(one, password)
    lines = get(one, "log?lines=500", owner)["lines"]
    assert any("signed in" in line["text"] and line["level"] == "info" for line in lines), lines
    last = lines[-1]["number"]
    call(one, "POST", "/api/v1/sign-in", {"password": "wrong-but-secret"}, headers={"Origin": one.url.rstrip("/")})
    newer = get(one, f"log?after={last}", owner)["lines"]
    assert any("request refused" in line["text"] and "wrongPassword" in line["text"] for line in newer), newer
    text = json.dumps(get(one, "log?lines=500", owner))
    assert password not in text and "wrong-but-secret" not in text and owner["Cookie"].split("=")[1] not in text


def test_a_token_is_listed_and_its_session_ended(device: Start) -> None:
    one = device()
    owner = sign_in(one, set_password(one))
    with Peer(one, bearer(new_token(one, "watch"))) as peer:
        listed = {session["id"]: session for session in get(one, "sessions", owner)["sessions"]}
        assert listed[peer.id]["role"] == "viewer" and listed[peer.id]["token"].startswith("t-watch") and not listed[peer.id]["own"]
        assert call(one, "DELETE", f"/api/v1/sessions/{peer.id}", headers=owner)[0] == 204
        assert peer.closed()[0] == 1008
        assert any("owner" in message.get("details", "") for message in peer.seen), peer.seen
    assert code(call(one, "DELETE", f"/api/v1/sessions/{peer.id}", headers=owner)) == (404, "unknownSession")
    wait_for("the list is empty", lambda: get(one, "sessions", owner)["sessions"] == [])


@pytest.mark.parametrize("ladder", ["3", "off"])
def test_an_ended_viewer_is_told_and_signed_out(device: Start, tmp_path: Path, ladder: str) -> None:
    one = device("--ladder", ladder)
    owner = sign_in(one, set_password(one))
    word = set_password(one, "viewer", "only to look at it")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait("the sign-in", "document.getElementById('app').dataset.view === 'sign-in'")
        page.page.fill("#password", word)
        page.click("#sign-in")
        page.wait_frame()
        (session,) = get(one, "sessions", owner)["sessions"]
        # After a move on the ladder nothing is known for a moment.
        reported = wait_for("the link's reports", lambda: next((s for s in get(one, "sessions", owner)["sessions"] if s["deliveredKbits"] and s["roundTripMs"]), None))
        assert 0 < reported["roundTripMs"] < 1000, "over the loopback"
        assert (reported["width"], reported["height"]) in ((1280, 720), (640, 360), (320, 180))
        listed = one.command("sessions").stdout
        assert re.search(r"  \d+x\d+, \d+ kbit/s, [\d.]+ % lost, round trip [\d.]+ ms", listed), listed
        assert reported["rung"] < 3 and reported["deliveredKbits"] > 50 and 0 <= reported["lostPercent"] <= 100 and reported["linkKbits"] > 50
        def measured() -> bool:
            metrics = call(one, "GET", "/metrics", headers=owner)[2].decode()
            return all(f'duplex_session_{name}{{slot="0"}} ' in metrics for name in ("rung", "loss_ratio", "delivered_bits_per_second", "link_bits_per_second", "round_trip_seconds"))
        wait_for("the same for Prometheus", measured)
        assert session["watching"] and session["sentBytes"] > 0 and session["joinMs"] is not None and not session["talking"]
        assert call(one, "DELETE", f"/api/v1/sessions/{session['id']}", headers=owner)[0] == 204
        page.wait("the sign-in again", "document.getElementById('app').dataset.view === 'sign-in'")
        page.wait("the reason", "document.getElementById('sign-in-error').textContent.includes('owner of this device has ended')")
        wait_for("it stays away", lambda: get(one, "sessions", owner)["sessions"] == [])
        # And may come again, as somebody who knows the password.
        page.page.fill("#password", word)
        page.click("#sign-in")
        page.wait_frame()


def test_a_source_that_fails_is_told_to_the_owner_until_it_works(device: Start, tmp_path: Path) -> None:
    """A card stands in for the camera: the service is healthy, and yet something is wrong."""
    one = device("--video", "camera:nope")
    assert get(one, "device")["faults"] == []
    with Chromium(tmp_path / "home", one.ca) as chromium:
        chromium.open(one.url).wait_data(state="live")
        (fault,) = wait_for("the fault", lambda: get(one, "device")["faults"])
        assert fault.startswith("The picture fails: ") and 'the camera "nope" is not there' in fault
        status = one.command("status")
        assert status.returncode == 1 and "service        runs" in status.stdout and f"fault          {fault}" in status.stdout, status
        assert call(one, "GET", "/healthz")[0] == 200
        assert one.command("source", "set", "video", "test").returncode == 0
        wait_for("no fault", lambda: get(one, "device")["faults"] == [])
    assert one.command("status").returncode == 0


def appliance(folder: Path) -> list[str]:
    """Words that start a program with this folder as its /run; skips the test where there is no such thing."""
    words = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', str(folder)]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=20)
    if tried.returncode != 0:
        pytest.skip(f"no mounts of one's own here: {tried.stderr.strip()}")
    return words


NOTES = ['duplex.toml was not taken in: width = 7 (and 7 more)', 'The Wi-Fi network "home" is not used.']


def configured(folder: Path) -> None:
    """As `duplex appliance provision` leaves it: the service's configuration, and what there is to say of it."""
    folder.mkdir(parents=True)
    (folder / "service.toml").write_text('name = "Front door"\n')
    (folder / "service.notes").write_text("".join(f"{note}\n" for note in NOTES))


def test_what_lies_beside_a_configuration_elsewhere_is_not_read(device: Start, tmp_path: Path) -> None:
    configured(tmp_path / "own")
    one = device("--config", str(tmp_path / "own/service.toml"))
    assert get(one, "device")["faults"] == [] and one.command("status").returncode == 0


def test_what_the_configurations_maker_has_to_tell_stands_among_the_faults(device: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    configured(run / "duplex")
    notes = NOTES
    one = device("--config", "/run/duplex/service.toml", through=appliance(run))
    shown = get(one, "device")
    assert (shown["faults"], shown["problems"]) == (notes, [])
    assert call(one, "GET", "/healthz")[0] == 200
    status = one.command("status")
    assert status.returncode == 1 and all(f"fault          {note}" in status.stdout for note in notes), status
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#owner-toggle")
        page.wait("the sentences", "document.getElementById('device-problems').children.length === 2")
    (run / "duplex/service.notes").unlink()
    assert get(one, "device")["faults"] == [] and one.command("status").returncode == 0


def test_a_certificate_that_cannot_be_renewed_is_told_until_it_is_renewed(device: Start, tmp_path: Path) -> None:
    """And what is renewed is shown without a restart."""
    one = device()
    key, away = one.state / "pki/ca-key.pem", tmp_path / "away.pem"
    # One that is not for this machine's names is due at once.
    assert one.command("pki", "issue", "localhost", "127.0.0.1", "door.lan").returncode == 0
    key.rename(away)
    one.restart()
    (fault,) = get(one, "device")["faults"]
    assert fault.startswith("The certificate cannot be renewed: ") and f"{key} is missing" in fault, fault
    assert re.search(r"door\.lan went away\. The one in use holds until [-0-9]+ [:0-9]+ UTC, 396 days more\.$", fault), fault
    assert one.log().count("WARN The certificate cannot be renewed") == 1
    status = one.command("status")
    assert status.returncode == 1 and f"fault          {fault}" in status.stdout, status
    assert call(one, "GET", "/healthz")[0] == 200
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#owner-toggle")
        page.wait("the sentence", "document.getElementById('device-problems').textContent.includes('certificate cannot be renewed')")
    before = get(one, "certificate")
    assert "door.lan" in before["names"]
    away.rename(key)
    # The service looks once a minute.
    wait_for("no fault", lambda: get(one, "device")["faults"] == [], 75, every=1)
    assert "door.lan" not in get(one, "certificate")["names"]
    shown = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{one.port}"], input="", capture_output=True, text=True, timeout=20).stdout
    assert one.log().count("WARN The certificate cannot be renewed") == 1
    assert (one.state / "pki/server.pem").read_text().split("-----")[2].strip() in shown


def test_a_body_that_is_no_object_is_refused(device: Start) -> None:
    one = device()
    headers = {"Origin": one.url.rstrip("/")}
    for body, reason in (([], "must be a JSON object"), ({"video": 3}, "invalid type"), ({"videos": "test"}, "unknown field")):
        status, _, answer = call(one, "PATCH", "/api/v1/steering", body, headers=headers)
        message = json.loads(answer)["error"]["message"]
        assert status == 400 and reason in message and "line 1" not in message, answer


def test_the_same_from_the_command_line(device: Start) -> None:
    one = device()
    set_password(one)
    status = one.command("status")
    assert status.returncode == 0 and "service        well" in status.stdout and "memory" in status.stdout, status
    assert "\nwatching       nobody\ntalking        nobody\nrecording      nothing\n" in status.stdout, status
    assert one.command("sessions").stdout == "nobody is connected\n"
    with Peer(one, bearer(new_token(one, "watch"))) as peer:
        listed = one.command("sessions").stdout
        assert peer.id[:8] in listed and "token t-watch" in listed and "127.0.0.1" in listed
        refused = one.command("sessions", "end", "zz")
        assert refused.returncode == 1 and "no session has an id that begins with" in refused.stderr
        # Nothing, as of a variable that is not set, would be the beginning of the only id.
        empty = one.command("sessions", "end", "")
        assert empty.returncode == 2 and "<ID>" in empty.stderr, empty
        ended = one.command("sessions", "end", peer.id[:8])
        name = re.search(r"token (t-watch\d+)", listed)[1]  # type: ignore[index]
        told = f"ended {peer.id[:8]}: token {name}, from 127.0.0.1; it may come again: `duplex token revoke {name}` keeps it out\n"
        assert (ended.returncode, ended.stdout) == (0, told), ended
        assert peer.closed()[0] == 1008
    log = one.command("log", "--lines", "500").stdout
    assert "the owner ends a session" in log and "INFO" in log
    assert len(one.command("log", "-n", "1").stdout.splitlines()) == 1
    for words in (("status",), ("sessions",), ("sessions", "end"), ("log",)):
        shown = one.command(*words, "--help").stdout
        assert "Exit code" in shown or "Example" in shown, shown
    one.stop()
    gone = one.command("status")
    assert gone.returncode == 1 and "no running service" in gone.stderr
