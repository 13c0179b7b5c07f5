"""A page of HTML as a test reads it, and an assertion that it loads only its own files."""

from html.parser import HTMLParser

from minitransformer.book.live import SCRIPTS

VOID = {"meta", "link", "br", "input"}
LOADING = {"src", "srcset", "data", "poster", "background", "action", "formaction", "xlink:href", "ping"}


class Page(HTMLParser):
    """A page, read: (tag, attributes) of its elements, its text; that its elements are properly nested is required."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.text, self.name = [], [], "", path.name
        self.feed(path.read_text("utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.text += text

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def links(self):
        return [attributes["href"] for tag, attributes in self.elements if tag == "a"]


def assert_loads_only_its_own(page, folder):
    for tag, attributes in page.elements:
        is_data = attributes.get("type") == "application/json"
        is_of_book = attributes.get("src") in SCRIPTS and (folder / attributes["src"]).is_file()
        assert tag != "script" or is_of_book or is_data or page.name in ("film.html", "index.html")
        assert tag not in ("iframe", "object", "embed", "base", "form", "img", "image", "use")
        loading = LOADING - {"src"} if is_of_book else LOADING
        assert not {name for name in attributes if name.startswith("on") or name in loading}
        assert "url(" not in attributes.get("style", "") and "http-equiv" not in attributes
        if tag == "link":
            assert (folder / attributes["href"]).is_file()
        elif "href" in attributes:
            assert tag == "a" and not attributes["href"].lower().startswith(("javascript:", "data:"))
