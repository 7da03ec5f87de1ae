"""Draw the pictures, films and sounds that the emulator's models answer with.

What belongs where:

- `draws`: chance that repeats, from words.
- `palette`, `sketch`: what a picture shows, without pixels.
- `painting` (Pillow), `plain` (standard library): the same sketch in pixels.
- `film` (PyAV): frames to a file that browsers play.
- `speech`: a text to a WAV file.
- `studio`: picks what is installed; the models talk to it and to `speech`.

Nothing here knows of models, the queue or HTTP. Everything is drawn from a
prompt and a seed; there is no canned file.
"""
