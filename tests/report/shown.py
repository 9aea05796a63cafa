"""What a browser shows of a report: its figures, tables, notes and drawings."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

Attributes = dict[str, str]


class Shape(NamedTuple):
    """A rectangle, a line or a text of a drawing, with the title or text that goes with it."""

    tag: str
    attributes: Attributes
    text: str


class Page(HTMLParser):
    """Everything by its heading; drawings of tables stand in the place of their cell."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        # The widths of what succeeded and of what failed, for each row of a table that has bars.
        self.bars: dict[str, list[list[float]]] = {}
        self.notes: dict[str, str] = {}
        self.plot: Attributes = {}
        self.shapes: list[Shape] = []
        self.heading = self.text = self.title = ""
        self.id: str | None = None
        self.drawing = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "svg":
            self.begin_drawing(attributes)
        elif self.drawing:
            self.draw(tag, attributes)
        elif tag in ("h2", "th", "td", "dd", "p"):
            self.text, self.id = "", attributes.get("id")
        elif tag == "tr":
            self.tables.setdefault(self.heading, []).append([])

    def begin_drawing(self, attributes: Attributes) -> None:
        self.drawing = attributes.get("class", "legend")
        if self.drawing == "plot":
            self.plot = attributes
        elif self.drawing == "bar":
            self.bars.setdefault(self.heading, []).append([])

    def draw(self, tag: str, attributes: Attributes) -> None:
        if self.drawing == "bar":
            self.bars[self.heading][-1].append(float(attributes["width"]))
        elif self.drawing == "plot":
            if tag in ("title", "text"):
                self.title = ""
            if tag in ("rect", "line", "text"):
                self.shapes.append(Shape(tag, attributes, self.title))

    def handle_data(self, data: str) -> None:
        if self.drawing:
            self.title += data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "svg":
            self.drawing = ""
        elif tag == "text" and self.drawing == "plot":
            self.shapes[-1] = self.shapes[-1]._replace(text=self.title)
        elif tag == "h2":
            self.heading = self.text
        elif tag in ("th", "td"):
            self.tables[self.heading][-1].append(self.text)
        elif tag == "p":
            self.notes[self.heading] = self.notes.get(self.heading, "") + self.text
        elif tag == "dd" and self.id:
            self.figures[self.id] = self.text
