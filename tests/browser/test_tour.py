"""The README's JavaScript, in the console of the page."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Person
from tests.test_readme import blocks


@pytest.mark.browser
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_javascript_tour_works(person: Callable[..., Person]) -> None:
    window = person("Ann").enter()
    (tour,) = blocks("js")
    message = window.evaluate(f"(async () => {{ {tour} return message; }})()")
    assert message["content"] == "hello from JavaScript"
    expect(window.get_by_test_id("message-content")).to_have_text("hello from JavaScript")
