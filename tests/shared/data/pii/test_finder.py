from __future__ import annotations

import time
from functools import cache

import pytest

from tuneline.data.pii.finder import REGIONS, PiiFinder, redact
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import UserError
from tuneline.llm.control_tokens import neutralise


@cache
def finder() -> PiiFinder:
    return PiiFinder()


def kinds(text: str) -> dict[str, str]:
    return {text[found.start : found.end]: found.kind for found in finder().find(text)}


FOUND = {
    "Write to anna.müller+work@mail.example.org, please.": {"anna.müller+work@mail.example.org": "EMAIL"},
    "anna (at) example (dot) com": {"anna (at) example (dot) com": "EMAIL"},
    "ｆｏｏ＠ｅｘａｍｐｌｅ．ｏｒｇ": {"ｆｏｏ＠ｅｘａｍｐｌｅ．ｏｒｇ": "EMAIL"},
    "ze\u200bro@example.org": {"ze\u200bro@example.org": "EMAIL"},
    "Reach me at +49 30 901820.": {"+49 30 901820": "PHONE"},
    "Dial (415) 555-2671 or 020 7946 0958 or 06 12 34 56 78": {
        "(415) 555-2671": "PHONE", "020 7946 0958": "PHONE", "06 12 34 56 78": "PHONE",
    },
    "my phone: 2128675309": {"2128675309": "PHONE"},
    "Card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00.": {
        "4111 1111 1111 1111": "CREDIT_CARD", "DE89 3704 0044 0532 0130 00": "IBAN",
    },
    "192.168.10.4, 2001:db8::ff00:42:8329 and 00:1B:44:11:3A:B7": {
        "192.168.10.4": "IP_ADDRESS", "2001:db8::ff00:42:8329": "IP_ADDRESS", "00:1B:44:11:3A:B7": "MAC_ADDRESS",
    },
    "SSN 078-05-1121; NHS number 943 476 5919": {"078-05-1121": "NATIONAL_ID", "943 476 5919": "NATIONAL_ID"},
    "Mi DNI es 12345678Z.": {"12345678Z": "NATIONAL_ID"},
    "Meine Steuer-ID: 86095742719": {"86095742719": "NATIONAL_ID"},
    "Numéro de sécu 1 84 12 76 451 089 46": {"1 84 12 76 451 089 46": "NATIONAL_ID"},
    "I was born on the 12th of May 1984.": {"12th of May 1984": "DATE_OF_BIRTH"},
    "Geburtsdatum: 03.04.1971": {"03.04.1971": "DATE_OF_BIRTH"},
    "I live at 221 Baker Street, NW1 6XE": {"221 Baker Street": "ADDRESS", "NW1 6XE": "POSTCODE"},
    "Musterstraße 12, 10115 Berlin": {"Musterstraße 12, 10115 Berlin": "ADDRESS"},
    "12 rue de la Paix, 75002 Paris": {"12 rue de la Paix, 75002 Paris": "ADDRESS"},
    "key sk-ant-api03-abcdefghijklmnop1234": {"sk-ant-api03-abcdefghijklmnop1234": "SECRET"},
    "AKIAIOSFODNN7EXAMPLE and ghp_abcdefghijklmnopqrstuvwx": {
        "AKIAIOSFODNN7EXAMPLE": "SECRET", "ghp_abcdefghijklmnopqrstuvwx": "SECRET",
    },
    "password: correcthorse": {"correcthorse": "SECRET"},
    "My password is Tr0ub4dor&3": {"Tr0ub4dor&3": "SECRET"},
    "postgres://bob:s3cret@db/x": {"bob:s3cret": "SECRET"},
    "My PIN is 4821": {"4821": "SECRET"},
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq": {"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq": "CRYPTO"},
}  # fmt: skip


@pytest.mark.parametrize("text", FOUND)
def test_what_has_a_form_is_found_in_any_language(text: str) -> None:
    assert kinds(text) == FOUND[text]


ORDINARY = (
    "Order 12345 of 12 May 2024 cost 1,299.00 euro, at 10:30, in chapter 3.4.",
    "My password is wrong and I forgot my PIN. I was born in Berlin.",
    "Invoice 2024-000123, tracking number 20240512001, 1000000 people, on 2024-05-12.",
    "It is 50 degrees on Main Street; call me later. Version 1.2.3, 100 %.",
    "def f(x): return x[0:3] + 0x1f  # see https://example.org/a?b=1",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert kinds(text) == {}


def test_a_name_is_not_found_without_a_model_and_a_model_that_is_not_there_is_refused_by_name() -> None:
    assert kinds("My name is Anna Lindqvist.") == {}
    with pytest.raises(UserError, match=r"pii_model.*en_nosuch"):
        PiiFinder(model="en_nosuch")


def test_only_the_regions_that_are_named_know_their_numbers() -> None:
    few = PiiFinder(("us",))
    assert not few.find("Steuer-ID 86095742719")
    assert few.find("SSN 078-05-1121")
    assert {"us", "uk", "de", "es"} <= set(REGIONS)


def talk(*texts: str, name: str = "t", system: str | None = None, persona: str | None = None) -> Transcript:
    return Transcript(name, tuple(Exchange(user, "Fine.") for user in texts), system, persona)


def test_a_value_has_one_placeholder_all_over_a_transcript() -> None:
    said = ("I am eva@example.org", "or Bob@example.org", "yes, EVA@example.org", "+49 30 901820 or +49 (30) 901820")
    changed, counts = redact(talk(*said, system="For bob@example.org", persona="eva@example.org"), finder())
    assert [exchange.user for exchange in changed.exchanges] == [
        "I am [EMAIL_1]", "or [EMAIL_2]", "yes, [EMAIL_1]", "[PHONE_1] or [PHONE_1]",
    ]  # fmt: skip
    assert (changed.system, changed.persona) == ("For [EMAIL_2]", "[EMAIL_1]")
    assert counts == {"EMAIL": 5, "PHONE": 2}


def test_redacting_twice_changes_nothing_and_a_placeholder_that_is_written_there_is_not_given_again() -> None:
    once, _ = redact(talk("The form says [EMAIL_1].", "password: hunter22, a@example.org"), finder())
    assert once.exchanges[1].user == "password: [SECRET_1], [EMAIL_2]"
    twice, counts = redact(once, finder())
    assert (twice, counts) == (once, {})


def test_a_placeholder_is_no_control_token_and_stays_as_it_is() -> None:
    changed, _ = redact(talk("a@example.org, password: hunter22"), finder())
    assert neutralise(changed.exchanges[0].user) == changed.exchanges[0].user


def test_an_id_that_is_an_address_is_replaced_by_its_hash_and_an_ordinary_number_stays() -> None:
    assert redact(talk("Hi", name="4155552671"), finder()).transcript.id == "4155552671"
    changed, counts = redact(talk("Hi", name="eva@example.org"), finder())
    assert changed.id.startswith("id-") and "eva" not in changed.id and counts == {"EMAIL": 1}


@pytest.mark.parametrize("before", [0, 7_000, 7_190, 7_999, 8_000, 15_500])
def test_where_a_long_message_is_cut_nothing_is_lost(before: int) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA0123456789+/\n" * 300 + "-----END RSA PRIVATE KEY-----"
    token = "eyJ" + "a" * 1500 + "." + "b" * 1500 + "." + "c" * 300
    for secret in (key, token, "eva@example.org", "+49 30 901820"):
        text = "so " * (before // 3) + " " + secret + " and more words" * 900
        found = finder().find(text)
        covered = {place for f in found for place in range(f.start, f.end)}
        start = text.index(secret)
        assert covered == set(range(start, start + len(secret)))


@pytest.mark.parametrize(
    "unit", ["a", "1 ", "a@", "(", ":", "ab:", "a.", "http://a:b@", "password: ", "eyJaaaaaaaa.", "-"]
)
def test_no_text_takes_more_than_its_length_in_time(unit: str) -> None:
    finder().find("warm")
    times = []
    for length in (10_000, 40_000):
        start = time.process_time()
        finder().find((unit * length)[:length])
        times.append(time.process_time() - start)
    assert times[1] < 12 * times[0] + 1.5  # the slowest kind takes 26 s if it is looked at as a whole
