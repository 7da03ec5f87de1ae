"""The video model's answer and the film behind it."""

import io

import av
import pytest

from falq.emulator.media.studio import FILM_FRAMES, FILM_HEIGHT, FILM_WIDTH, Studio
from falq.emulator.models import MODELS
from falq.emulator.models.checked import Checked
from falq.emulator.models.video import VIDEO, VideoWork

PROMPT = "A cat playing with a ball in slow motion"


@pytest.mark.slow
def test_the_film_decodes_to_its_last_frame(shelf):
    answer = MODELS["fal-ai/minimax/video-01"].run({"prompt": PROMPT}, seed=1, files=shelf)
    video = answer.body["video"]
    with av.open(io.BytesIO(shelf.read(video["url"]))) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    assert len(frames) == FILM_FRAMES
    assert (frames[0].width, frames[0].height) == (FILM_WIDTH, FILM_HEIGHT)
    assert video["content_type"] == "video/mp4"
    assert video["file_name"].endswith(".mp4")


def test_without_pyav_the_failure_names_the_extra(shelf):
    work = VideoWork(studio=Studio(without=frozenset({"av"})))
    answer = Checked(record=VIDEO, work=work).run({"prompt": PROMPT}, seed=1, files=shelf)
    assert answer.status_code == 500
    assert "pip install 'falq[video]'" in answer.body["detail"]
    assert answer.billable_units == 0


def test_a_rewritten_prompt_is_told_in_the_logs():
    model = MODELS["fal-ai/minimax/video-01"]
    assert model.logs({"prompt": "a"})[0] == "optimizing prompt"
    assert model.logs({"prompt": "a", "prompt_optimizer": False})[0].startswith("  0%")
