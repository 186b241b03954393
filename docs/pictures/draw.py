"""Draw all pictures of this folder anew: `python docs/pictures/draw.py`."""

from pathlib import Path

import rooms
import stories

FOLDER = Path(__file__).parent
PICTURES = {
    "faces": stories.faces,
    "miss": stories.miss,
    "connection": stories.connection,
    "outage": stories.outage,
    "rooms": rooms.rooms,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
