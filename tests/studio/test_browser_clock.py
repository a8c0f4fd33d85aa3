"""A browser shows at a second the frame that the suite reads there, of files as they are and of transcoded ones."""

import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.clips import SQUARES, numbered_frames, write_clip

NUM = 100
EVEN = [n * 24 for n in range(NUM)]  # of 600 a second
CLIPS = {
    "b_frames.mp4": (False, {"bframes": 3, "audio": True}),
    "vp9.webm": (False, {"codec": "libvpx-vp9"}),
    "variable.mp4": (False, {"pts": [n if n < 1200 else 2 * n - 1200 for n in EVEN]}),
    "late.mp4": (True, {"pts": [n + 240 for n in EVEN]}),  # its first frame is at 0.4 s
    "late.webm": (True, {"codec": "libvpx-vp9", "pts": [n + 240 for n in EVEN]}),
    "x265.mp4": (True, {"codec": "libx265"}),
    "mpeg4.avi": (True, {"codec": "mpeg4"}),
}
SHOWN = """async ([url, second, squares]) => {
  let video = document.querySelector("video") || document.body.appendChild(document.createElement("video"));
  if (!video.src.endsWith(url)) {
    video.src = url;
    await new Promise((done, failed) => { video.onloadeddata = done; video.onerror = () => failed(video.error); });
  }
  const shown = new Promise(done => video.requestVideoFrameCallback(done));  // none where the frame stays the same
  video.currentTime = second;
  await new Promise(done => { video.onseeked = done; });
  await Promise.race([shown, new Promise(done => setTimeout(done, 150))]);
  const canvas = Object.assign(document.createElement("canvas"), {width: video.videoWidth, height: video.videoHeight});
  const context = canvas.getContext("2d"), side = Math.floor(canvas.width / squares);
  context.drawImage(video, 0, 0);
  let number = 0;
  for (let bit = 0; bit < squares; bit++)
    number |= (context.getImageData(bit * side + side / 2, side / 2, 1, 1).data[0] > 127) << bit;
  return number;
}"""


pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser clock")]


@pytest.fixture(scope="module")
def opened(chromium, studio):
    """A client and a page of a studio."""
    page = chromium.new_page()
    page.goto(studio.url)
    yield studio.client, page
    page.close()


@pytest.mark.parametrize("name", CLIPS)
def test_a_browser_shows_the_frame_that_the_suite_reads(opened, tmp_path, name):
    client, page = opened
    transcoded, options = CLIPS[name]
    file = write_clip(tmp_path / name, numbered_frames(NUM, 96, 160), 25, **options)
    video = client.post("/api/videos", params={"name": name}, content=file.read_bytes()).json()
    assert video["transcoded"] is transcoded
    url, end = f"/api/videos/{video['id']}", time.monotonic() + 60
    while video["state"] == "preparing" and time.monotonic() < end:
        time.sleep(0.1)
        video = client.get(url).json()
    assert video["state"] == "ready"
    times = client.get(f"{url}/times").json()["times_s"] or [n / video["fps"] for n in range(NUM)]
    chosen = (0, 1, 7, 33, 50, 51, 70, NUM - 1)
    assert [page.evaluate(SHOWN, [f"{url}/media", times[n] + 0.004, SQUARES]) for n in chosen] == list(chosen)
