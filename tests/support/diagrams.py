"""
Create the diagrams of the documentation; the command is ``python tests/support/diagrams.py``.

Each is an SVG file with its own background and colours for light and dark pages, so it can be read on GitHub and on the
site.  Text is at least 14 pixels high at its natural width.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parents[2] / "docs" / "_static"

_LIGHT: Final = {
    "page": "#ffffff",
    "text": "#1b2733",
    "note": "#4a5663",
    "line": "#55626f",
    "box": "#eef3fb",
    "edge": "#3b6ea8",
    "good": "#e3f4e6",
    "good-edge": "#2f7d43",
    "bad": "#fbe9e7",
    "bad-edge": "#b0443a",
}
_DARK: Final = {
    "page": "#171b20",
    "text": "#eef2f6",
    "note": "#b9c4cf",
    "line": "#9aa7b4",
    "box": "#1f2f45",
    "edge": "#79a9e0",
    "good": "#1c3a25",
    "good-edge": "#6fc487",
    "bad": "#45231f",
    "bad-edge": "#e58b81",
}
_CLASSES: Final = """\
    svg { font: 14px system-ui, sans-serif }
    .page { fill: var(--page) }
    .box { fill: var(--box); stroke: var(--edge); stroke-width: 1.5 }
    .good { fill: var(--good); stroke: var(--good-edge) }
    .bad { fill: var(--bad); stroke: var(--bad-edge) }
    .line { fill: none; stroke: var(--line); stroke-width: 1.5; marker-end: url(#tip) }
    .tip { fill: var(--line) }
    .name { fill: var(--text); font-weight: 600; text-anchor: middle }
    .note { fill: var(--note); text-anchor: middle }"""

_CHART_CLASSES: Final = """
    .grid { fill: none; stroke: var(--line); stroke-width: 0.5 }
    .graph { fill: none; stroke: var(--edge); stroke-width: 2.5 }
    .graph.good { stroke: var(--good-edge) }
    .graph.bad { stroke: var(--bad-edge) }
    .left { fill: var(--text); text-anchor: start }"""

_LINE_HEIGHT: Final = 20


class Box(NamedTuple):
    """A box with a name, and lines of text below the name."""

    x: int
    y: int
    width: int
    height: int
    name: str
    lines: tuple[str, ...] = ()
    kind: str = ""

    def draw(self) -> str:
        """Return its elements."""
        middle = self.x + self.width // 2
        top = self.y + self.height // 2 - _LINE_HEIGHT * len(self.lines) // 2 + 5
        texts = [_text("name", middle, top, self.name)]
        texts += [
            _text("note", middle, top + _LINE_HEIGHT * number, line) for number, line in enumerate(self.lines, start=1)
        ]
        kinds = f"box {self.kind}".rstrip()
        size = f'x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}"'
        return "".join([f'<rect class="{kinds}" {size} rx="8"/>', *texts])


class Arrow(NamedTuple):
    """An arrow along a path of SVG, and its label at a place."""

    path: str
    label: str = ""
    x: int = 0
    y: int = 0

    def draw(self) -> str:
        """Return its elements."""
        label = _text("note", self.x, self.y, self.label) if self.label else ""
        return f'<path class="line" d="{self.path}"/>{label}'


class Note(NamedTuple):
    """A line of text."""

    x: int
    y: int
    text: str
    kind: str = "note"

    def draw(self) -> str:
        """Return its element."""
        return _text(self.kind, self.x, self.y, self.text)


class Curve(NamedTuple):
    """Straight lines between points."""

    points: tuple[tuple[float, float], ...]
    kind: str

    def draw(self) -> str:
        """Return its element."""
        return f'<polyline class="{self.kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)}"/>'


class Diagram(NamedTuple):
    """A diagram: its size, its title for screen readers, and its parts."""

    width: int
    height: int
    title: str
    parts: tuple[Box | Arrow | Note | Curve, ...]
    classes: str = _CLASSES

    def draw(self) -> str:
        """Return the SVG document."""
        parts = "\n".join(f"  {part.draw()}" for part in self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" role="img">\n'
            f"  <title>{escape(self.title)}</title>\n"
            f"  <style>\n    svg {{ {_variables(_LIGHT)} }}\n"
            f"    @media (prefers-color-scheme: dark) {{ svg {{ {_variables(_DARK)} }} }}\n{self.classes}\n  </style>\n"
            '  <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>\n'
            f'  <rect class="page" width="{self.width}" height="{self.height}" rx="8"/>\n{parts}\n</svg>\n'
        )


def _variables(colours: dict[str, str]) -> str:
    return "; ".join(f"--{name}: {colour}" for name, colour in colours.items())


def _text(kind: str, x: int, y: int, text: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


_LIFE_OF_A_JOB: Final = Diagram(
    800,
    330,
    "A job is queued, dispatched to pollers, acknowledged by one worker, and ends in a success, a failure or a timeout."
    " A success with a continuation token leads to a new job.",
    (
        Box(20, 130, 120, 48, "Queued"),
        Box(230, 130, 120, 48, "Dispatched"),
        Box(460, 130, 120, 48, "InProgress"),
        Box(670, 50, 110, 48, "Succeeded", kind="good"),
        Box(670, 130, 110, 48, "Failed", kind="bad"),
        Box(670, 210, 110, 48, "TimedOut", kind="bad"),
        Arrow("M140 154h88", "poll", 185, 146),
        Arrow("M350 154h108", "acknowledge", 404, 146),
        Arrow("M580 142c46 0 40-68 88-68", "success", 600, 88),
        Arrow("M580 154h88", "failure", 624, 148),
        Arrow("M580 166c46 0 40 68 88 68", "no result", 592, 226),
        Arrow("M290 178c0 60-210 60-210 2", "not acknowledged: offered again", 185, 248),
        Arrow("M725 50C725 0 80 0 80 128", "with a continuation token: a new job of the same action", 452, 58),
        Note(520, 200, "the handler works"),
        Note(400, 306, "Only the worker that acknowledged the job reports a result. A job has one accepted result."),
    ),
)

_WORKER_AND_JOURNAL: Final = Diagram(
    800,
    400,
    "A worker polls CodePipeline, writes each step of a job to its journal before it takes the step, runs the handler,"
    " and reports the result. After a crash another worker continues from the journal.",
    (
        Box(20, 40, 160, 320, "CodePipeline"),
        Box(300, 20, 200, 44, "1 poll, read details"),
        Box(300, 92, 200, 44, "2 acknowledge"),
        Box(300, 164, 200, 44, "3 run the handler", kind="good"),
        Box(300, 236, 200, 44, "4 report the result"),
        Box(300, 328, 200, 52, "another worker", ("after a crash",)),
        Box(620, 40, 160, 320, "Journal", ("SqliteJournal",)),
        Arrow("M300 42H182", "offer, details", 240, 35),
        Arrow("M300 114H182", "nonce", 240, 107),
        Arrow("M300 258H182", "result", 240, 251),
        Arrow("M300 354H182", "result", 240, 347),
        Arrow("M500 106h118", "CLAIMING", 560, 99),
        Arrow("M500 124h118", "RUNNING", 560, 142),
        Arrow("M500 250h118", "RESULT", 560, 243),
        Arrow("M500 268h118", "DONE", 560, 286),
        Arrow("M620 354H502", "takes over", 560, 347),
        Arrow("M400 64v26"),
        Arrow("M400 136v26"),
        Arrow("M400 208v26"),
    ),
)

_SECRETS: Final = Diagram(
    800,
    420,
    "The customer enters configuration values, which CodePipeline sends to the worker with artifact credentials."
    " You keep the client tokens in a token store. Only ids go to the journal, the log and other processes.",
    (
        Box(20, 30, 200, 76, "Customer", ("configuration values",)),
        Box(300, 30, 200, 76, "CodePipeline", ("client token, values,", "artifact credentials")),
        Box(580, 30, 200, 76, "S3 of the customer", ("artifacts",)),
        Box(20, 180, 200, 76, "Your token store", ("client tokens",)),
        Box(300, 180, 200, 76, "Worker", ("in memory only:", "all of these")),
        Box(580, 180, 200, 76, "Handler", ("job.configuration,", "job.artifacts")),
        Box(20, 330, 200, 60, "Journal", ("ids, states, results",), "good"),
        Box(300, 330, 200, 60, "Logs, events", ("ids, names, masks",), "good"),
        Box(580, 330, 200, 60, "Other processes, Dask", ("ids of jobs",), "good"),
        Arrow("M220 68h78", "values", 259, 60),
        Arrow("M400 106v72", "job details", 446, 147),
        Arrow("M220 218h78", "token", 259, 210),
        Arrow("M500 218h78", "job", 539, 210),
        Arrow("M606 180v-72", "credentials of the job", 696, 147),
        Arrow("M340 256L160 328"),
        Arrow("M400 256v72"),
        Arrow("M460 256L640 328"),
        Note(444, 309, "no secret"),
    ),
)

_WHICH_EXECUTOR: Final = Diagram(
    800,
    420,
    "Threads are the default. Use processes(n) if handlers may hang or crash, a process pool if many short handlers"
    " compute, and Dask if one machine is not enough.",
    (
        Box(20, 20, 340, 60, "May a handler hang, crash,", ("or use very much memory?",)),
        Box(20, 120, 340, 60, "Does it need", ("more than one machine?",)),
        Box(20, 220, 340, 60, "Does it compute in Python,", ("not wait for something else?",)),
        Box(20, 330, 340, 64, "Threads", ("the default: no executor=",), "good"),
        Box(460, 20, 320, 60, "A process for each job", ("executor=processes(8)",), "good"),
        Box(460, 120, 320, 60, "Dask", ("executor=client.get_executor",), "good"),
        Box(460, 220, 320, 60, "A process pool", ("executor=partial(ProcessPoolExecutor, ...)",), "good"),
        Arrow("M360 50h98", "yes", 409, 42),
        Arrow("M360 150h98", "yes", 409, 142),
        Arrow("M360 250h98", "yes", 409, 242),
        Arrow("M190 80v38", "no", 208, 104),
        Arrow("M190 180v38", "no", 208, 204),
        Arrow("M190 280v48", "no", 208, 309),
    ),
)

_WHICH_ENTRY_POINT: Final = Diagram(
    800,
    420,
    "Use JobWorker for a process that runs all the time, JobProcessor for one poll or one job at a time such as in"
    " Lambda, the clients for a loop of your own, and the command line for a look by hand.",
    (
        Box(20, 20, 340, 60, "Does a process of yours", ("run all the time?",)),
        Box(20, 120, 340, 60, "Does something else start you,", ("such as a schedule or a notebook?",)),
        Box(20, 220, 340, 60, "Do you write", ("the loop yourself?",)),
        Box(20, 330, 340, 64, "cp-thirdparty", ("the command line, to look by hand",), "good"),
        Box(460, 20, 320, 60, "JobWorker", ("polls, claims, runs, reports; journal",), "good"),
        Box(460, 120, 320, 60, "JobProcessor", ("one job or one poll, without a journal",), "good"),
        Box(460, 220, 320, 60, "ThirdPartyJobClient", ("or AsyncThirdPartyJobClient",), "good"),
        Arrow("M360 50h98", "yes", 409, 42),
        Arrow("M360 150h98", "yes", 409, 142),
        Arrow("M360 250h98", "yes", 409, 242),
        Arrow("M190 80v38", "no", 208, 104),
        Arrow("M190 180v38", "no", 208, 204),
        Arrow("M190 280v48", "no", 208, 309),
    ),
)


def _read_figures() -> list[dict[str, float]]:
    """Return the rows of the table that ``tests/benchmarks/run.py scale`` prints, from the page that shows it."""
    page = (FOLDER.parent / "explanation" / "scale.md").read_text(encoding="utf-8")
    lines = page[page.index("| customers |") :].split("\n\n")[0].splitlines()
    titles, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    figures = []
    for row in rows:
        cells = dict(zip(titles, row, strict=True))
        workers, slots = cells["workers x slots"].split(" x ")
        numbers = {name: float(cells[name].replace(",", "")) for name in ("customers", "busiest", "calls/s")}
        figures.append({**numbers, "slots": float(workers) * float(slots)})
    return figures


def _draw_capacity() -> Diagram:
    """Create a chart with logarithmic axes of the figures."""
    figures = _read_figures()
    left, right, top, bottom = 80, 560, 30, 330
    customers = [figure["customers"] for figure in figures]
    highest, lowest = 10_000.0, 0.1

    def place(number: float, value: float) -> tuple[float, float]:
        across = math.log(number / customers[0]) / math.log(customers[-1] / customers[0])
        up = math.log(value / lowest) / math.log(highest / lowest)
        return left + across * (right - left), bottom - up * (bottom - top)

    parts: list[Box | Arrow | Note | Curve] = []
    for value in (0.1, 1, 10, 100, 1_000, 10_000):
        _, y = place(customers[0], value)
        parts += [Curve(((left, y), (right, y)), "grid"), Note(left - 36, round(y) + 5, f"{value:,}")]
    for number in customers:
        x, _ = place(number, lowest)
        parts += [Curve(((x, top), (x, bottom)), "grid"), Note(round(x), bottom + 22, f"{number:,.0f}")]
    parts.append(Note((left + right) // 2, bottom + 46, "customers"))
    # The last two points of slots and jobs are so near that their labels must not be beside them.
    for name, kind, label, below in (
        ("slots", "graph good", "slots of all workers", -4),
        ("busiest", "graph", "jobs at the busiest moment", 16),
        ("calls/s", "graph bad", "calls a second", 5),
    ):
        points = tuple(place(figure["customers"], figure[name]) for figure in figures)
        parts += [Curve(points, kind), Note(right + 10, round(points[-1][1]) + below, label, "left")]
    return Diagram(
        800,
        390,
        "Slots, jobs at a time and calls a second grow with the number of customers, from 10 to 100,000.",
        tuple(parts),
        _CLASSES + _CHART_CLASSES,
    )


DIAGRAMS: Final = {
    "capacity": _draw_capacity(),
    "life-of-a-job": _LIFE_OF_A_JOB,
    "secrets": _SECRETS,
    "which-entry-point": _WHICH_ENTRY_POINT,
    "which-executor": _WHICH_EXECUTOR,
    "worker-and-journal": _WORKER_AND_JOURNAL,
}


def create(folder: Path) -> None:
    """Write each diagram to its file."""
    for name, diagram in DIAGRAMS.items():
        (folder / f"{name}.svg").write_text(diagram.draw(), encoding="utf-8")


if __name__ == "__main__":
    create(FOLDER)
