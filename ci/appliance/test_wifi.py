"""Wi-Fi with the kernel's virtual radios: the board gets into the network that its card names.

One radio is the board's own, set up from duplex.toml and nothing else. The other is made an access point by the same iwd; networkd, told so
by a file of this test, gives addresses there.
"""

from __future__ import annotations

import pytest

from device import wait_for

pytestmark = pytest.mark.lg_feature(["appliance", "wifi", "card"])

SSID, PASSPHRASE = "Werkstatt 2", "correct horse; battery"
SETTINGS = """hostname = "funker"
password = "a horse, a battery"
ssh-keys = ["{key}"]

[wifi]
ssid = "{ssid}"
passphrase = "{passphrase}"
country = "DE"
"""
ACCESS_POINT = """[Match]
Name={name}

[Network]
Address=10.99.0.1/24
DHCPServer=yes
LinkLocalAddressing=no

[DHCPServer]
EmitDNS=no
EmitRouter=no
"""


def test_it_gets_into_the_network_of_its_card(fresh) -> None:  # type: ignore[no-untyped-def]
    board = fresh("radio")
    key = board.key.with_suffix(".pub").read_text().strip()
    board.put("duplex.toml", SETTINGS.format(key=key, ssid=SSID, passphrase=PASSPHRASE))
    board.on(append="modules_load=mac80211_hwsim mac80211_hwsim.radios=2")
    board.wait_ready()
    radios = wait_for("two radios", lambda: names if len(names := board.ssh("ls /sys/class/net | grep wlan", check=False).split()) == 2 else None, 60, every=1)
    own, other = radios
    assert "Country=DE" in board.ssh("cat /run/duplex/iwd/main.conf")
    board.ssh(f"mkdir -p /run/systemd/network; cat > /run/systemd/network/10-access-point.network; networkctl reload", text=ACCESS_POINT.format(name=other))
    board.ssh(f"iwctl device {other} set-property Mode ap")
    wait_for("an access point", lambda: board.ssh(f"iwctl ap {other} start '{SSID}' '{PASSPHRASE}' 2>&1; iwctl ap {other} show", check=False).find("yes") >= 0, 60, every=2)
    address = wait_for("an address", lambda: board.ssh(f"ip -4 -o addr show dev {own} | grep -o '10\\.99\\.0\\.[0-9]*/' || true"), 180, every=2)
    shown = board.ssh(f"iwctl station {own} show")
    assert "connected" in shown and SSID in shown, shown
    print(f"{own}: {address} {shown}")
    board.shut_down()
    text, status = board.read("duplex.toml") or "", board.read("status/provision.txt") or ""
    assert 'passphrase = ""' in text and PASSPHRASE not in text + status and f'Wi-Fi: "{SSID}", country DE; its passphrase is blanked in the file.' in status, (text, status)
