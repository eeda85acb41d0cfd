"""The page as a person uses it: by keyboard, with what the real server says; where an answer must be this one, it is given."""

import itertools
import json
import math
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from specs.door import ROOT
from specs.page.served import NAME, serve

PICTURES = ROOT / ".kata" / "page"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
ENDLESS = 4000  # tokens: an answer takes half a minute, and is stopped
HTML = "<script>alert(1)</script><img src=x onerror=alert(2)><b>&amp;"

pytestmark = pytest.mark.timeout(120)


def setting(page, **values):
    for name, value in values.items():
        page.locator(f"[name={name}]").fill(str(value))


def write(page, prompt: str = "Once upon a time", **settings):
    """Fills the form, and sends it as the keyboard does."""
    setting(page, **settings)
    page.get_by_label("Prompt").fill(prompt)
    page.keyboard.press("Control+Enter")


def figures(page):
    return page.locator("#figures")


def done(page):
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def chunk(text: str = "", *tokens: str, finish: str | None = None) -> bytes:
    """An event with a part of an answer, each of its tokens 25% likely."""
    top = {"5": math.log(0.05), "60": math.log(0.6), "a": math.log(0.25)}
    logprobs = {"tokens": tokens, "token_logprobs": [top["a"]] * len(tokens), "top_logprobs": [top] * len(tokens)}
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
    return event(json.dumps({"model": "given", "choices": [choice]}, ensure_ascii=False))


def event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def answer(page, *events: bytes):
    """The server's next answers are these events."""
    page.route("**/v1/completions", lambda route: route.fulfill(content_type="text/event-stream", body=b"".join(events)))


def by_hand(page):
    """feed(i, events) sends them as the next part of the i-th answer. None of these answers hears that it was stopped."""
    page.evaluate(
        """() => {
            window.answers = [];
            const begun = (control) => answers.push(control);
            const models = { data: [{ id: "given" }] };
            window.fetch = async (path) =>
                path === "/v1/models" ? Response.json(models) : new Response(new ReadableStream({ start: begun }));
        }"""
    )

    def feed(number: int, events: bytes):
        page.wait_for_function("(number) => answers.length > number", arg=number)
        page.evaluate("([number, text]) => answers[number].enqueue(new TextEncoder().encode(text))", [number, events.decode()])

    return feed


def test_a_person_writes_by_keyboard_alone_and_sees_what_the_server_says(page):
    """Prompt and settings are reached by Tab, the tokens by Tab and arrows. Text and likelihoods are those of the API."""
    asked = {"prompt": "def f(x):", "max_tokens": 24, "temperature": 0.5, "top_p": 0.9, "seed": 7}
    want = page.request.post("/v1/completions", data=asked | {"model": NAME, "logprobs": 5}).json()["choices"][0]
    for label in ("Prompt", "Max tokens", "Temperature", "Top p", "Seed"):
        page.keyboard.press("Tab")
        focused = page.get_by_label(label)
        expect(focused).to_be_focused()
        assert focused.evaluate("(field) => getComputedStyle(field).outlineStyle") == "solid"
        page.keyboard.press("Control+A")
        page.keyboard.type(str(asked[label.lower().replace(" ", "_")]))
    page.keyboard.press("Enter")
    expect(figures(page)).to_have_text(
        re.compile(r"^24 tokens · \d[\d,.]* tokens/s · first after \d+ ms · max tokens reached$")
    )
    assert page.locator("#tokens").text_content() == want["text"]
    done(page)

    page.get_by_role("button", name="Write").focus()
    page.keyboard.press("Tab")
    logprobs, tops = (iter(want["logprobs"][name]) for name in ("token_logprobs", "top_logprobs"))
    for token in page.get_by_role("option").all():
        expect(token).to_be_focused()
        assert token.evaluate("(token) => getComputedStyle(token).outlineStyle") == "solid"
        shares = [
            said(line) for line in page.locator("#detail p").all_inner_texts()
        ]  # several, if they are parts of a character
        assert shares == near([next(logprobs) for _ in shares])
        assert said(token.get_attribute("aria-label")) == pytest.approx(math.prod(shares), rel=0.06, abs=1e-4)
        for others in page.locator("#detail ol").all():
            top = sorted(next(tops).values(), reverse=True)
            assert len(top) >= 5
            assert [said(other) for other in others.locator("li").all_inner_texts()] == near(top)
        page.keyboard.press("ArrowRight")
    for key, place in (("ArrowLeft", -2), ("Home", 0), ("ArrowLeft", 0), ("End", -1)):
        page.keyboard.press(key)
        expect(page.get_by_role("option").nth(place)).to_be_focused()
    assert next(logprobs, None) is None


def near(logprobs: list[float]):
    """The likelihoods, as far as the page shows their digits."""
    return pytest.approx([math.exp(logprob) for logprob in logprobs], rel=0.06, abs=1e-4)


def said(text: str) -> float:
    return float(re.search(r"([\d.]+)%( likely)?$", text)[1]) / 100


def test_an_answer_is_seen_while_it_is_written_and_stopped(page):
    """Text and figures grow. Stop ends it, the button as well as Esc, and what was written stays."""
    tokens = page.get_by_role("option")
    for stop in (lambda: page.keyboard.press("Escape"), lambda: page.get_by_role("button", name="Stop").press("Enter")):
        write(page, max_tokens=ENDLESS)
        expect(figures(page)).to_have_text(re.compile(r"^\d\d+ tokens · \d.* tokens/s"))
        stop()
        done(page)
        expect(figures(page)).to_have_text(re.compile(r"stopped$"))
        count = tokens.count()
        page.wait_for_timeout(300)
        assert tokens.count() == count >= 10
    expect(page.get_by_role("button", name="Write")).to_be_focused()


def test_a_new_answer_replaces_one_that_is_being_written(page):
    """Nothing of the first answer comes into the second, even if it is already on its way."""
    feed = by_hand(page)
    write(page)
    feed(0, chunk("old", "old"))
    write(page)
    feed(1, chunk("new", "new"))
    feed(0, chunk("late", "late"))
    feed(1, chunk("er", "er", finish="stop") + event("[DONE]"))
    done(page)
    expect(page.locator("#tokens")).to_have_text("newer")


def test_the_speed_is_that_of_the_tokens_after_the_first(page):
    """What comes before the first token is told by itself."""
    page.clock.install()
    page.clock.pause_at("2100-01-01")
    feed = by_hand(page)
    write(page)
    for tokens in (["a"], ["b", "c"], ["d", "e"]):
        page.clock.run_for(500)
        feed(0, chunk("".join(tokens), *tokens))
    expect(figures(page)).to_have_text("5 tokens · 4 tokens/s · first after 500 ms")


def test_alternatives_stand_by_their_likelihood(page):
    """The most likely comes first."""
    answer(page, chunk("a", "a"), event("[DONE]"))
    write(page)
    page.get_by_role("option").hover()
    told = page.locator("#detail li").all_inner_texts()
    assert [other.split() for other in told] == [["60", "60%"], ["a", "25%"], ["5", "5%"]]


@pytest.mark.parametrize(("name", "value", "sent"), [("temperature", "-1", -1), ("max_tokens", "many", "many")])
def test_an_error_is_the_servers_own_message(page, name, value, sent):
    """The page judges nothing by itself, and the message goes when the next answer comes."""
    alert = page.get_by_role("alert")
    refused = page.request.post("/v1/completions", data={"model": NAME, "prompt": "a", name: sent})
    write(page, "a", **{name: value})
    expect(alert).to_have_text(refused.json()["error"]["message"])
    setting(page, **{"temperature": 1, "max_tokens": ENDLESS})
    page.keyboard.press("Enter")
    expect(page.get_by_role("option").first).to_be_visible()
    assert alert.is_hidden()
    page.keyboard.press("Escape")
    done(page)


def test_a_server_that_wants_a_key_is_given_one(visit, folder):
    """The field for it appears when the server asks."""
    with serve(folder, KATA_API_KEYS="sesame") as address:
        page = visit(address)
        key = page.get_by_label("API key")
        expect(key).to_be_hidden()
        write(page, max_tokens=3)
        expect(key).to_be_focused()
        assert page.get_by_role("alert").inner_text()
        page.keyboard.type("sesame")
        page.keyboard.press("Enter")
        expect(figures(page)).to_have_text(re.compile("^3 tokens"))


def test_settings_are_sent_as_they_were_typed(page):
    """Stop strings stand one a line, with \\n for a line break. What is empty is not sent."""
    answer(page, event("[DONE]"))
    setting(page, max_tokens="", temperature="0.50", top_p="", seed="12345678901234567890", stop="\\n\\n\nEnd.\n")
    with page.expect_request("**/v1/completions") as sent:
        write(page, "a\nb")
    want = {"model": NAME, "prompt": "a\nb", "stream": True, "logprobs": 5, "temperature": 0.5, "seed": "12345678901234567890"}
    assert sent.value.post_data_json == want | {"stop": ["\n\n", "End."]}


def test_html_is_text(page):
    """Prompt, answer, alternatives and messages are shown as they are."""
    answer(page, chunk(HTML, HTML), event(json.dumps({"error": {"message": HTML}})))
    write(page, HTML)
    for shown in ("#given", "#tokens", "#error"):
        expect(page.locator(shown)).to_have_text(HTML)
    page.get_by_role("option").hover()
    expect(page.locator("#detail bdi").first).to_have_text(HTML.replace(" ", "␣"))
    assert page.locator("main img, main b, main script").count() == 0


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_may_be_cut_anywhere(page, end):
    """Whatever bytes come together, the events are the same. A line ends with CR, LF or both, and not with U+2028."""
    data = ["é😀", "a\u2028b\u2029c\x85d", "one\ntwo", "[DONE]"]
    stream = ": a comment\n\n" + "".join("".join(f"data: {line}\n" for line in text.split("\n")) + "\n" for text in data)
    found = page.evaluate(
        """async (bytes) => {
            const found = [];
            for (let first = 0; first <= bytes.length; first++) {
                for (const size of [1, 2, 3, bytes.length]) {
                    const cuts = [bytes.slice(0, first)];
                    for (let at = first; at < bytes.length; at += size) cuts.push(bytes.slice(at, at + size));
                    const stream = new ReadableStream({ start(control) {
                        for (const cut of cuts) control.enqueue(new Uint8Array(cut));
                        control.close();
                    }});
                    const got = [];
                    for await (const data of events(stream)) got.push(data);
                    found.push(got);
                }
            }
            return found;
        }""",
        list(stream.replace("\n", end).encode()),
    )
    assert all(got == data for got in found)
    assert len(found) > 4 * len(stream)


def test_text_and_tokens_that_come_apart_are_put_together(page):
    """Half a character comes with the rest of it; a text that might have become a stop string comes before its token."""
    parts = [
        chunk("a", "a"),
        chunk("😀", "bytes:\\xf0\\x9f", "bytes:\\x98\\x80"),
        chunk("b"),
        chunk("c d", "bc", " d"),
        chunk("\ufffde", "bytes:\\x80", "e"),
        chunk("f", finish="stop"),
    ]
    answer(page, *parts, event("[DONE]"))
    write(page, "")
    expect(figures(page)).to_have_text(re.compile("^7 tokens .* ended$"))
    expect(page.get_by_role("option")).to_have_text(["a", "😀", "bc", "d", "\ufffd", "e", "f"])
    labels = [token.get_attribute("aria-label") for token in page.get_by_role("option").all()]
    assert labels == ["a, 25%", "😀, 6.3%", "bc, 25%", "d, 25%", "\ufffd, 25%", "e, 25%", None]
    page.get_by_role("option").nth(1).hover()
    assert page.locator("#detail p").all_inner_texts() == ["bytes:\\xf0\\x9f was 25% likely", "bytes:\\x98\\x80 was 25% likely"]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([event(json.dumps({"error": {"message": "The engine failed."}}))], "The engine failed."),
        ([], "The connection ended before the answer did."),
    ],
)
def test_an_answer_that_breaks_off_says_so(page, events, message):
    """What came before the error stays."""
    answer(page, chunk("half", "half"), *events)
    write(page)
    expect(page.get_by_role("alert")).to_have_text(message)
    expect(page.locator("#tokens")).to_have_text("half")
    done(page)


def test_a_server_that_is_gone_is_an_error(page):
    """The page says so in place of an answer."""
    page.route("**/v1/completions", lambda route: route.abort())
    write(page)
    expect(page.get_by_role("alert")).to_have_text(re.compile("^The connection failed"))


def test_the_end_is_announced_and_no_token_before_it(page):
    """What a screen reader speaks by itself: that it is being written, and at the end all of it."""
    page.evaluate(
        """() => {
            window.spoken = [];
            const status = document.querySelector("[role=status]");
            new MutationObserver(() => spoken.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    write(page, max_tokens=12)
    expect(figures(page)).to_have_text(re.compile("reached$"))
    begun, ended = page.evaluate("spoken")
    assert begun == "Writing."
    assert ended.endswith(page.locator("#tokens").text_content())
    assert page.locator("[aria-live], [role=log]").count() == 0


@pytest.mark.parametrize(("size", "scheme"), itertools.product(SIZES, ["light", "dark"]))
def test_every_state_can_be_seen_by_everyone(visit, address, size, scheme):
    """axe finds nothing, and no state is wider than the window. The pictures are for people."""
    width, height = SIZES[size]
    page = visit(address, color_scheme=scheme, viewport={"width": width, "height": height}, has_touch=size == "phone")

    def look(state: str):
        page.screenshot(path=PICTURES / f"{size}-{scheme}-{state}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not (found := Axe().run(page)).violations_count, found.generate_report()

    look("empty")
    write(page, "The for statement is used", max_tokens=ENDLESS, seed=1)
    expect(page.get_by_role("option").nth(30)).to_be_visible()
    page.screenshot(path=PICTURES / f"{size}-{scheme}-writing.png")
    page.keyboard.press("Escape")
    write(page, "The for statement is used", max_tokens=100)
    expect(figures(page)).to_have_text(re.compile("reached$"))
    look("done")
    page.get_by_role("option").nth(40).focus()
    look("token")
    write(page, top_p=2)
    expect(page.get_by_role("alert")).to_be_visible()
    page.locator("#locked").evaluate("(field) => { field.hidden = false }")
    look("error")
