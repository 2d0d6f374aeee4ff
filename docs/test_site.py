"""The site that `make docs` built is whole: links lead somewhere, pages open without an error.

`make site-tests` runs this in headless Chromium, which reaches nothing but this machine.
"""

import shutil
import threading
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

SITE = Path(__file__).parents[1] / "build" / "docs" / "html"
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html"))
PAGES = [path for path in PAGES if not path.startswith("_static/")]  # templates of the theme
SEEN = [
    "index.html",
    "benchmarks.html",
    "guide/draws.html",
    "api/generated/sk_mcdropout.MCDropoutRegressor.html",
    "auto_examples/index.html",
    "auto_examples/plot_dropout_sampling.html",
]


# -- the files by themselves -------------------------------------------------------------------


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that links may lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed((SITE / path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Note what one tag says."""
        attributes = dict(attributes)
        self.places.add(attributes.get("id"))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        elif tag == "link" and "stylesheet" in attributes.get("rel", ""):
            self.loads.append(attributes["href"])
        elif tag in ("img", "script", "source", "iframe") and attributes.get("src"):
            self.loads.append(attributes["src"])


page_at = cache(Page)


def fault(path, link):
    """Return what is wrong with a link of a page, or None."""
    target = urlsplit(urljoin(path, link))
    if target.scheme:
        return None
    file = SITE / unquote(target.path)
    if not file.is_file():
        return f"{link}: no such file"
    if target.fragment and file.suffix == ".html":
        places = page_at(str(file.relative_to(SITE))).places
        return None if unquote(target.fragment) in places else f"{link}: no such place"
    return None


def test_the_site_has_the_pages_that_are_opened_here():
    assert set(SEEN) <= set(PAGES)


@pytest.mark.parametrize("path", PAGES)
def test_the_links_of_a_page_lead_somewhere(path):
    page = page_at(path)
    assert [what for link in page.links + page.loads if (what := fault(path, link))] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere(path):
    assert [url for url in page_at(path).loads if urlsplit(url).netloc] == []


def test_programs_find_what_they_read_first():
    text = (SITE / "llms.txt").read_text(encoding="utf-8")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert [what for link in links if (what := fault("llms.txt", link))] == []
    assert len(links) > 10


# -- in a browser ------------------------------------------------------------------------------


class Quietly(SimpleHTTPRequestHandler):
    """Answer without a line for each request."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def address():
    """Serve the site to this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quietly, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """Start Debian's Chromium, for which there are no other machines."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options, service)
    yield browser
    browser.quit()


BROKEN_PICTURES = """
const pictures = [...document.images];
pictures.forEach(picture => picture.loading = "eager");
return Promise.allSettled(pictures.map(picture => picture.decode()))
    .then(() => pictures.filter(picture => !picture.naturalWidth).map(picture => picture.src));
"""


CUT_OFF = """
return [...document.querySelectorAll(".bd-article :is(h1, h2, p, li, dt, img)")]
    .filter(part => !part.closest("table, pre"))
    .filter(part => part.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map(part => part.outerHTML);
"""


def check(browser):
    """Check that the page which is open has no error and all of its pictures."""
    assert browser.execute_script(BROKEN_PICTURES) == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("path", SEEN)
def test_a_page_opens_whole_and_fits_the_window(path, width, browser, address):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(f"{address}/{path}")
    check(browser)
    assert browser.execute_script(CUT_OFF) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_reader_walks_from_home_to_an_example(browser, address):
    browser.set_window_size(1400, 900)
    browser.get(f"{address}/index.html")
    check(browser)
    for link in (
        ".bd-article a[href='guide/index.html']",
        ".bd-article a[href='draws.html']",
        ".bd-header a[href$='api/index.html']",
        ".bd-article a[href*='sk_mcdropout.estimators.html']",
        ".bd-article a[href*='MCDropoutRegressor.html']",
        ".sphx-glr-thumbcontainer a[href*='plot_dropout_sampling.html']",
    ):
        element = browser.find_element(By.CSS_SELECTOR, link)
        browser.get(element.get_attribute("href"))
        check(browser)
    assert "Where the net is unsure" in browser.title


def test_a_reader_finds_a_word(browser, address):
    browser.get(f"{address}/search.html?q=conformal")
    results = WebDriverWait(browser, 30).until(
        lambda browser: browser.find_elements(By.CSS_SELECTOR, "#search-results li a")
    )
    browser.get(results[0].get_attribute("href"))
    check(browser)
    assert "conformal" in browser.find_element(By.CSS_SELECTOR, "article").text.lower()
