"""Matplotlib's backend in a sandbox: figures that are shown become `figure-1.png` and so on in the output folder.

It draws as Agg does. What `show` would have blocked on is saved and closed; what was shown without blocking is saved when it is closed;
what is still open when the program ends is saved then, unless the program itself has saved it by `savefig`.
"""

import atexit
import io
import os
import sys

import matplotlib
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

MOST_FIGURES = 50
MOST_PIXELS = 50_000_000

_process = os.getpid()
_saved = 0
_told = set()


class FigureManager(FigureManagerBase):
    """A figure without a window."""

    waits = False
    """Whether it was shown, and has not been saved yet."""

    def show(self):
        """Note that a person would see the figure, as it is when it is closed."""
        self.waits = True

    def destroy(self):
        """Save what was shown and is closed now."""
        if self.waits:
            _save(self)
        super().destroy()

    @classmethod
    def pyplot_show(cls, *, block=None):
        """Save and close all figures; without blocking they stay open, and are saved later."""
        if block is None:
            block = not matplotlib.is_interactive()
        for manager in Gcf.get_all_fig_managers():
            manager.waits = True
            if block:
                Gcf.destroy(manager)


class FigureCanvas(FigureCanvasAgg):
    """Agg's canvas, which notes that the program saved its figure."""

    manager_class = FigureManager
    saved_by_program = False

    def print_figure(self, *args, **options):
        """Save the figure as `savefig` says."""
        result = super().print_figure(*args, **options)
        self.saved_by_program = True
        return result


def show(*args, block=None, **options):
    """Show as `plt.show` does; for releases of Matplotlib that do not ask the manager."""
    FigureManager.pyplot_show(block=block)


def _save(manager):
    """Save a figure under the next free name, within bounds."""
    global _saved
    manager.waits = False
    width, height = manager.canvas.figure.get_size_inches() * manager.canvas.figure.dpi
    if _saved >= MOST_FIGURES:
        return _tell(f"only the first {MOST_FIGURES} figures are saved")
    if width * height > MOST_PIXELS:
        return _tell(f"figures of more than {MOST_PIXELS} pixels are not saved")
    drawn = io.BytesIO()  # what cannot be drawn leaves no empty file
    manager.canvas.figure.savefig(drawn, format="png", dpi="figure")
    with _next_file() as file:
        file.write(drawn.getbuffer())
    _saved += 1
    return None


def _next_file():
    folder = os.environ.get("EMBERBOX_OUTPUT") or "output"
    os.makedirs(folder, exist_ok=True)
    number = _saved + 1
    while True:
        try:
            return open(os.path.join(folder, f"figure-{number}.png"), "xb")
        except FileExistsError:
            number += 1


def _tell(text):
    if text not in _told:
        _told.add(text)
        sys.stderr.write(f"emberbox: {text}\n")


@atexit.register
def _save_open():
    """Save what is open at the end, and leave the program's exit code alone."""
    if os.getpid() != _process:
        return
    for manager in Gcf.get_all_fig_managers():
        if not isinstance(manager, FigureManager) or (manager.canvas.saved_by_program and not manager.waits):
            continue
        try:
            _save(manager)
        except Exception as error:
            _tell(f"a figure could not be saved: {type(error).__name__}: {error}")
