"""Elements, attributes and text of an HTML page, for tests."""

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Elements, attributes and text of a page, and whether its elements nest."""

    def __init__(self, text):
        super().__init__()
        self.shape, self.values, self.text, self.open, self.ids = set(), [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.shape.add((tag, None))
        self.shape |= {(tag, name) for name, _ in attrs}
        self.values += [(name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
