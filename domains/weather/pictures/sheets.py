"""Sheets of panels of one size: where panels, labels and colour bars stand, in inches; how a sheet is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.domains.weather.pictures.maps import INK
from refine.storage.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

DPI = 120
GREY = "#69707a"
MARGIN, HEAD, CAPTION, GAP, BAR = 0.12, 0.66, 0.24, 0.08, 0.95  # inches


class Sheet:
    """Rows and columns of panels under a title, each with a caption above it.

    Args:
        rows, columns: of panels.
        size: width and height of a panel.
        title, subtitle: of the sheet.
        left: room for row labels.
        right: room for a colour bar beside each row.
        foot: room for one below all.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        size: tuple[float, float],
        title: str,
        subtitle: str,
        left: float = 0.0,
        right: float = 0.0,
        foot: float = 0.0,
    ) -> None:
        from matplotlib.figure import Figure

        self.size, self.columns, self.left, self.foot = size, columns, left, foot
        self.width = 2 * MARGIN + left + columns * (size[0] + GAP) - GAP + right
        self.height = MARGIN + HEAD + rows * (size[1] + CAPTION + GAP) + foot
        self.figure: Figure = Figure((self.width, self.height), dpi=DPI, facecolor="white")
        self.title = title
        _headline(self.figure, title, subtitle, MARGIN)

    def panel(self, row: int, column: int, caption: str = "", strong: bool = False) -> Axes:
        """An empty panel."""
        w, h = self.size
        x, y = self._corner(row, column)
        ax = self.figure.add_axes((x / self.width, y / self.height, w / self.width, h / self.height))
        ax.set_title(caption, fontsize=9, color=INK, pad=3, weight="bold" if strong else "normal")
        return ax

    def label(self, row: int, text: str) -> None:
        """Words before a row."""
        y = (self._corner(row, 0)[1] + self.size[1] / 2) / self.height
        x = (MARGIN + self.left - 0.12) / self.width
        self.figure.text(x, y, text, fontsize=9.5, color=INK, ha="right", va="center", linespacing=1.4)

    def bar_beside(self, row: int, image: ScalarMappable, label: str, extend: str = "both") -> None:
        """A colour bar at the right of a row."""
        x = MARGIN + self.left + self.columns * (self.size[0] + GAP) + 0.08
        y, h = self._corner(row, 0)[1], self.size[1]
        self._bar((x, y + 0.08 * h, 0.12, 0.84 * h), image, label, "vertical", extend)

    def bar_below(self, image: ScalarMappable, label: str, extend: str = "both") -> None:
        """One colour bar at the foot of the sheet."""
        w = min(5.0, self.width - 4 * MARGIN)
        self._bar(((self.width - w) / 2, self.foot - 0.16, w, 0.12), image, label, "horizontal", extend)

    def _bar(self, box: tuple[float, ...], image: Any, label: str, orientation: Any, extend: str) -> None:
        x, y, w, h = box
        ax = self.figure.add_axes((x / self.width, y / self.height, w / self.width, h / self.height))
        bar = self.figure.colorbar(image, cax=ax, orientation=orientation, extend=extend)
        bar.set_label(label, fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8, color=INK, labelcolor=INK, length=2.5)
        bar.outline.set_linewidth(0.6)
        bar.locator = _few_ticks()
        bar.update_ticks()

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        w, h = self.size
        top = self.height - MARGIN - HEAD - row * (h + CAPTION + GAP) - CAPTION
        return MARGIN + self.left + column * (w + GAP), top - h

    def save(self, path: Path, caption: str) -> Path:
        """Write the sheet as PNG; see :func:`save_figure`."""
        return save_figure(self.figure, path, self.title, caption)


def save_figure(figure: Figure, path: Path, title: str, caption: str) -> Path:
    """Write a PNG whose title and caption are in it, where the report finds them."""
    with atomic_write(path) as temporary:
        metadata = {"Title": title, "Description": caption}
        figure.savefig(temporary, format="png", dpi=DPI, metadata=metadata)
    return path


class Chart:
    """Rows and columns of axes for curves, under a title and one legend for all.

    Args:
        rows, columns: of axes.
        size: width and height of one, in inches.
        title, subtitle: of the whole.
        shared: ``sharex`` or ``sharey``, as matplotlib has them.
    """

    def __init__(
        self, rows: int, columns: int, size: tuple[float, float], title: str, subtitle: str, **shared: Any
    ) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(dpi=DPI, facecolor="white")
        self.axes: Any = self.figure.subplots(rows, columns, squeeze=False, **shared)
        self.shape, self.size, self.title, self.subtitle = (rows, columns), size, title, subtitle
        for ax in self.axes.flat:
            tidy(ax)

    def each(self, count: int) -> list[Axes]:
        """The first so many axes; those left over are blank."""
        for ax in self.axes.flat[count:]:
            ax.set_axis_off()
        return list(self.axes.flat[:count])

    def save(self, path: Path, caption: str) -> Path:
        """Set titles and a legend of everything that has a label, and write as PNG; see :func:`save_figure`."""
        (rows, columns), (w, h), figure = self.shape, self.size, self.figure
        left, right, gap, foot, between, side = 0.8, 0.25, 0.62, 0.55, 0.68, 0.2  # inches
        width = left + columns * (w + gap) - gap + right
        named: dict[str, Any] = {}
        for ax in self.axes.flat:
            for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
                named.setdefault(name, handle)
        per_row = _fitting([0.62 + 0.07 * len(name) for name in named], width - 2 * side)
        head = 0.72 + 0.19 * -(-len(named) // per_row) + 0.33
        height = head + rows * (h + between) - between + foot
        figure.set_size_inches(width, height)
        figure.subplots_adjust(
            left / width, foot / height, 1 - right / width, 1 - head / height, wspace=gap / w, hspace=between / h
        )
        _headline(figure, self.title, self.subtitle, side)
        if named:
            figure.legend(
                named.values(), named, loc="upper left", bbox_to_anchor=(side / width, 1 - 0.68 / height),
                ncols=per_row, fontsize=8.5, frameon=False, borderaxespad=0, borderpad=0,
                columnspacing=1.6, handlelength=1.9,
            )  # fmt: skip
        return save_figure(figure, path, self.title, caption)


def columns_for(count: int, most: int) -> int:
    """How many of ``count`` panels stand in a row: at most ``most``, with few places left over in the last row."""
    return min(count, max(range(most // 2 + 1, most + 1), key=lambda columns: (-(-count % columns), columns)))


def _fitting(widths: list[float], room: float) -> int:
    """The most columns in which things of these widths, column after column, fit into ``room``."""
    for columns in range(len(widths), 1, -1):
        rows = -(-len(widths) // columns)
        if sum(max(widths[i : i + rows]) for i in range(0, len(widths), rows)) <= room:
            return columns
    return 1


def _headline(figure: Figure, title: str, subtitle: str, side: float) -> None:
    """Title and subtitle at the top left, small enough to fit."""
    width, height = figure.get_size_inches()
    room = (width - 2 * side) * 72
    for text, below, most, wide, (weight, colour) in (
        (title, 0.12, 14.0, 0.66, ("bold", INK)),
        (subtitle, 0.42, 10.0, 0.55, ("normal", GREY)),
    ):
        font = min(most, room / (wide * max(1, len(text))))
        figure.text(side / width, 1 - below / height, text, fontsize=font, va="top", weight=weight, color=colour)


def tidy(ax: Axes) -> None:
    """A quiet frame and grid for curves."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(labelsize=8.5, color=GREY, labelcolor=INK)
    ax.grid(color="#e3e6ea", linewidth=0.7)
    ax.set_axisbelow(True)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
