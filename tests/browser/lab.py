"""JupyterLab of a seat as its student sees it: what is on the page, and what can be clicked. Every wait is for a condition."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import Jupyter
from playwright.sync_api import Browser, Error, Locator, Page, expect

from tests.browser.chromium import LIMIT
from tests.support.classroom import ROOT

PICTURES = ROOT / "test-results" / "browser"
SCREEN = {"width": 1280, "height": 900}
# Writes down every dialog and pop-up there ever is, also one that is gone before anybody looks.
WATCH = """
window.interruptions = [];
new MutationObserver(records => {
  for (const node of records.flatMap(record => [...record.addedNodes])) {
    if (node.nodeType !== Node.ELEMENT_NODE) continue;
    const found = [node, ...node.querySelectorAll("*")].filter(one => one.matches(".jp-Dialog, .Toastify__toast"));
    window.interruptions.push(...found.map(one => one.innerText));
  }
}).observe(document, {childList: true, subtree: true});
"""


@dataclass
class Lab:
    """One page of a browser, at the address of one seat."""

    page: Page
    url: str

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def open(self) -> None:
        """Type the address that the table of seats tells."""
        self.page.goto(self.url)

    def give(self, password: str) -> None:
        """Fill in the login page, and send it."""
        self.page.locator("input[name=password]").fill(password)
        self.page.get_by_role("button", name="Log in").click()

    @property
    def files(self) -> Locator:
        return self.page.locator(".jp-DirListing-itemText")

    def open_file(self, path: str) -> None:
        """Double-click from folder to folder, and at last the file."""
        for name in Path(path).parts:
            self.files.get_by_text(name, exact=True).dblclick()

    @property
    def notebook(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    @property
    def numbers(self) -> Locator:
        """What stands before each cell of code: [ ], [*], then the number of its execution."""
        return self.notebook.locator(".jp-CodeCell .jp-InputPrompt")

    @property
    def resources(self) -> Locator:
        """What the kernels and terminals use, in the status bar."""
        return self.page.get_by_title("Current resource usage")

    def wait_for_notebook(self, cells: int) -> None:
        """Wait until all cells of code are there and the kernel is idle; its own mark says idle before there is a kernel."""
        expect(self.numbers).to_have_count(cells)
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle")

    def run_all_cells(self) -> None:
        """Choose Run, Run All Cells, and wait until each has its number."""
        numbers = [re.compile(rf"\[{number + 1}\]:") for number in range(self.numbers.count())]
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        expect(self.numbers).to_have_text(numbers)

    @property
    def output(self) -> Locator:
        return self.notebook.locator(".jp-CodeCell .jp-OutputArea-output")

    @property
    def errors(self) -> Locator:
        return self.notebook.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")

    def interruptions(self) -> list[str]:
        return self.page.evaluate("window.interruptions")


@contextmanager
def at_lab(browser: Browser, url: str, name: str) -> Iterator[Lab]:
    """Open a fresh profile, as on a student's first day; where the test fails, keep a picture of what was seen then."""
    with browser.new_context(viewport=SCREEN) as context:
        context.set_default_timeout(LIMIT * 1000)
        context.add_init_script(WATCH)
        lab = Lab(context.new_page(), url)
        try:
            yield lab
        except BaseException as error:
            with suppress(Error):  # a page that is gone has no picture, and must not hide why
                lab.picture(f"failure-{name}")
                error.add_note(f"on {lab.page.url}, dialogs and pop-ups so far: {lab.interruptions()}")
            raise


@contextmanager
def untouched(server: Jupyter, notebooks: list[str]) -> Iterator[None]:
    """Begin with no open tabs; afterwards end new kernels, forget new tabs, and undo what JupyterLab saves by itself every two minutes."""
    sessions = {one["id"] for one in server.api("GET", "sessions")}
    texts = {notebook: text(server, notebook) for notebook in notebooks}
    forget_tabs(server)
    try:
        yield
    finally:
        for one in server.api("GET", "sessions"):
            if one["id"] not in sessions:
                server.api("DELETE", f"sessions/{one['id']}")
        for notebook, before in texts.items():
            if text(server, notebook) != before:
                server.api("PUT", f"contents/{notebook}", json={"type": "file", "format": "text", "content": before})
        forget_tabs(server)


def text(server: Jupyter, notebook: str) -> str:
    return server.api("GET", f"contents/{notebook}?type=file&format=text")["content"]


def forget_tabs(server: Jupyter) -> None:
    """Delete what JupyterLab remembers of the tabs that were open; an absent one answers 404."""
    assert server.ask("DELETE", "lab/api/workspaces/default").status_code in (204, 404)
