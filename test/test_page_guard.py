"""Nobody but a browser that shows this very page is answered; what the page is made of keeps its word, without one."""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from bag_data import make_episode, many_bags

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.bags.index import BROKEN, CLOSED, RECORDING, EpisodeIndex, same_index
from am_ros.bags.playback import read_playback
from am_ros.bags.relabel import delete_bag, set_label
from am_ros.bags.writer import EpisodeBag
from am_ros.episode import EpisodeInfo
from am_ros.errors import AmRosError
from am_ros.page.config import PageConfig
from am_ros.page.frames import Frames
from am_ros.page.guard import COOKIE, MAX_BODY, read_token
from am_ros.page.operators import Operators
from am_ros.page.parts import esc

SPACE = ActionSpace()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    for number in range(3):
        write_episode(make_episode(f"e{number}", steps=4, size=32), folder / "bags", SPACE)
    return folder


def serve(folder, *options):
    """A page in a process of its own; returns it and the line that it prints."""
    command = [sys.executable, "-m", "am_ros.cli", "page", str(folder), "--page-port", "0", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = process.stdout.readline()
    assert line.startswith("page: "), line + process.stdout.read()
    return process, line.split()[1].rstrip(";")


@pytest.fixture(scope="module")
def address(folder):
    process, address = serve(folder)
    yield address
    process.terminate()
    assert process.wait(60) == 0


def test_another_site_another_name_and_a_request_without_origin_are_refused(address):
    host = address.split("/")[2]
    port = host.split(":")[1]
    assert httpx.get(address).status_code == 200
    assert httpx.post(address + "stop", headers={"Origin": f"http://{host}"}).status_code == 409  # no arm here
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"https://{host}"}):
        answer = httpx.post(address + "stop", headers=headers)
        assert answer.status_code == 403 and "refused" in answer.text, headers
    for name in ("evil.example", f"evil.example:{port}", "localhost:1", f"localhost.evil.example:{port}", ""):
        assert httpx.get(address, headers={"Host": name}).status_code in (400, 403), name
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert httpx.get(address + "page/page.js", headers=cross).status_code == 403


@pytest.mark.parametrize("path", ["live/camera", "_nicegui_ws/socket.io/?EIO=4&transport=websocket"])
def test_a_websocket_of_another_site_is_refused(address, path):
    host = address.split("/")[2]
    for origin, status in (("http://evil.example", b"403"), (None, b"403"), (f"http://{host}", b"101")):
        name, port = host.split(":")
        with socket.create_connection((name, int(port)), 5) as connection:
            lines = [f"GET /{path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]  # fmt: skip
            lines += [f"Origin: {origin}"] if origin else []
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            assert connection.recv(100).split(b" ")[1] == status, origin


def test_nothing_is_uploaded_and_no_path_of_the_browser_is_one(address, folder):
    host = address.split("/")[2]
    own = {"Origin": f"http://{host}"}
    assert httpx.post(address + "stop", content=b"x" * (MAX_BODY + 1), headers=own).status_code == 413
    assert httpx.post(address + "_nicegui/client/1/upload/2", content=b"x", headers=own).status_code == 405
    assert httpx.put(address + "stop", content=b"x", headers=own).status_code == 405
    for path in ("page/..%2f__init__.py", "page/%2e%2e/source.py", "picture/goal/..%2f..%2fetc%2fpasswd",
                 "picture/episode/0/..%2f", "picture/episode/99/0", "picture/evaluation/0/-1"):  # fmt: skip
        answer = httpx.get(address + path)
        assert answer.status_code in (404, 422) and "root:" not in answer.text, path
    response = httpx.get(address)
    assert response.headers["x-frame-options"] == "DENY" and "set-cookie" not in response.headers
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed one, by the openssl command."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=cell"], capture_output=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("openssl cannot make a certificate here")
    return cert, key


def test_any_other_address_needs_a_certificate_and_a_token(folder, tmp_path):
    with pytest.raises(AmRosError, match="parameter page_certificate: page_address 0.0.0.0"):
        PageConfig(page_address="0.0.0.0")
    with pytest.raises(AmRosError, match="parameter page_address: 'cell' is neither"):
        PageConfig(page_address="cell")
    cert, key = certificate(tmp_path)
    file = tmp_path / "token"
    options = ("--page-address", "0.0.0.0", "--page-certificate", cert, "--page-key", key, "--page-token-file", file,
               "--page-names", "cell.lab")  # fmt: skip
    process, address = serve(folder, *options)
    try:
        assert address.startswith("https://cell.lab:") and "?token=" in address
        token = file.read_text().strip()
        assert file.stat().st_mode & 0o777 == 0o600 and address.endswith(token)
        port = address.split(":")[2].split("/")[0]
        here = f"https://127.0.0.1:{port}/"
        with httpx.Client(verify=False) as client:
            asked = client.get(here)
            assert asked.status_code == 401 and "Token" in asked.text
            assert client.get(here + "?token=wrong").status_code == 401
            assert client.get(here + "picture/episode/0/0").status_code == 401
            assert client.post(here + "stop", headers={"Origin": here.rstrip("/")}).status_code == 401
            given = client.get(here + f"?token={token}")
            assert given.status_code == 303 and given.headers["location"] == "/"
            cookie = given.headers["set-cookie"]
            assert cookie.startswith(f"{COOKIE}={token}") and "SameSite=Strict" in cookie
            assert "HttpOnly" in cookie and "Secure" in cookie
            assert client.get(here).status_code == 200
            assert client.get(here, headers={"Host": f"evil.example:{port}"}).status_code == 403
            assert client.get(here, headers={"Host": f"cell.lab:{port}"}).status_code == 200
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            httpx.get(here.replace("https", "http"))
    finally:
        process.terminate()
        process.wait(60)
    assert read_token(str(file)) == (token, False)  # it is printed once, and kept
    file.chmod(0o644)
    with pytest.raises(AmRosError, match=f"{file} can be read by others: chmod 600"):
        read_token(str(file))


def test_a_port_that_is_taken_and_a_folder_that_is_none_end_in_one_sentence(address, folder):
    port = address.split(":")[2].strip("/")
    for arguments, sentence in (
        ([folder, "--page-port", port], f"parameter page_port: 127.0.0.1:{port} cannot be listened on"),
        ([folder / "nowhere"], "nowhere: is not a folder"),
        ([folder, "--page-port", "99999"], "parameter page_port: 99999 is outside 0 ... 65535"),
    ):
        command = [sys.executable, "-m", "am_ros.cli", "page", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr


def test_one_browser_commands_and_the_others_look_on_until_one_takes_over():
    operators = Operators()
    operators.enter("ghost", "this host")  # asked for, and never there
    for name in ("a", "b"):
        operators.enter(name, "this host")
        operators.connected(name, True)
    assert operators.commands("a") and not operators.commands("b") and operators.count == 2
    with pytest.raises(AmRosError, match="browser 2 at this host commands: take over first"):
        operators.require("b")
    operators.take("b")
    operators.require("b")
    operators.connected("b", False)  # asleep: nobody commands now, and a only if it says so or is left alone
    assert operators.holder is None and operators.commands("a")
    operators.connected("b", True)
    assert not operators.commands("b")
    operators.leave("a")
    assert operators.commands("b")
    assert not Operators(read_only=True).commands("a")


def test_a_browser_that_is_slow_gets_the_newest_picture_and_nobody_listens_without_one():
    looked = []
    frames = Frames(lambda name, whether: looked.append((name, whether)))

    async def look() -> list[bytes]:
        frames.look("camera")
        seen, number = [], 0
        for batch in ((b"1", b"2", b"3"), (b"4",)):
            for data in batch:
                frames.put("camera", data)
            frame = await frames.next("camera", number, 1.0)
            seen, number = [*seen, frame.data], frame.number
        assert await frames.next("camera", number, 0.05) is None
        later = asyncio.get_running_loop().call_later(0.05, frames.put, "camera", b"5")
        seen.append((await frames.next("camera", number, 1.0)).data)
        later.cancel()
        frames.look_away("camera")
        return seen

    assert asyncio.run(look()) == [b"3", b"4", b"5"]
    assert looked == [("camera", True), ("camera", False)]


def test_an_index_follows_the_disk_and_names_what_is_wrong(tmp_path):
    bags = [write_episode(make_episode(f"e{number}", steps=3, size=16), tmp_path, SPACE) for number in range(3)]
    index = EpisodeIndex([tmp_path])
    index.look()
    first = index.changes(0, 2)
    assert len(first.rows) == 2 and first.total == 3
    rest = index.changes(first.revision, 2)
    assert len(rest.rows) == 1 and index.changes(rest.revision, 2).rows == []
    set_label(bags[0], "good")
    delete_bag(bags[1])
    (bags[2] / "metadata.yaml").write_text("rosbag2_bagfile_information: {storage_identifier: mcap}")
    EpisodeBag(tmp_path, EpisodeInfo("torn")).abandon()
    index.look()
    news = index.changes(rest.revision, 10)
    rows = {row.name: row for row in news.rows}
    assert rows[bags[0].name].label == "good" and rows[bags[0].name].steps == 3 and len(news.gone) == 1
    assert rows["torn"].state == BROKEN and "salvage" in rows["torn"].flaws[0]
    assert any("metadata.yaml" in flaw for row in rows.values() for flaw in row.flaws)
    with pytest.raises(AmRosError, match="its bag is not there any more"):
        index.row(news.gone[0])


def test_a_bag_that_is_closed_keeps_its_key_and_another_index_has_other_ones(tmp_path, monkeypatch):
    """Who chose an episode while it was recorded labels that one; a logger that was started again tells everything."""
    bag = EpisodeBag(tmp_path, EpisodeInfo("e0"))
    index = EpisodeIndex([tmp_path])
    index.look()
    (row,) = index.rows()
    seen = index.changes(0, 10).revision
    assert row.state == RECORDING
    bag.close()
    index.look()
    (news,) = index.changes(seen, 10).rows
    assert (news.key, news.state, news.name) == (row.key, CLOSED, "e0") and not index.changes(seen, 10).gone
    seen = index.changes(0, 10).revision
    monkeypatch.setattr(time, "time", lambda: float(2**31))
    other = EpisodeIndex([tmp_path])
    other.look()
    assert [one.name for one in other.changes(seen, 10).rows] == ["e0"]
    assert not same_index(other.changes(seen, 10).revision, seen) and other.rows()[0].key != row.key


def test_a_playback_has_every_picture_with_what_was_decided_on_it(tmp_path):
    episode = make_episode("e0", steps=4, size=32)
    moments = read_playback(write_episode(episode, tmp_path, SPACE))
    assert len(moments) == 5 and moments[-1].translation_m is None
    assert all(moment.picture.startswith(b"\xff\xd8") for moment in moments)
    assert moments[0].t_s == 0.0 and moments[1].gripper_opening == pytest.approx(float(episode.states[1][0]))
    with pytest.raises(AmRosError, match="does not exist"):
        read_playback(tmp_path / "nothing")


def test_text_is_escaped_wherever_it_stands():
    assert esc("<img src=x onerror='alert(1)'>\"") == "&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;&quot;"


@pytest.mark.slow
def test_ten_thousand_bags_are_listed_within_a_second_after_the_first_scan(tmp_path):
    """Of their metadata alone: the table looks at nothing else."""
    many_bags(tmp_path, 10_000)
    index = EpisodeIndex([tmp_path])
    index.look()
    began, cpu = time.perf_counter(), time.process_time()
    index.look()
    rows, since = [], 0
    while (changes := index.changes(since, 1000)).rows:
        rows, since = rows + changes.rows, changes.revision
    spent = time.process_time() - cpu
    assert len(rows) == 10_000
    assert spent < 1.0, f"{time.perf_counter() - began:.2f} s"
