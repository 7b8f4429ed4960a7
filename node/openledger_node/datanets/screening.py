"""Personal data and secrets in a row's text, and characters that nobody sees.

Keys and tokens of services are found by the patterns of `detect-secrets`. Its guesses by entropy are left out,
because they take every long number for a secret. Personal data is found by rules, with a checksum where there is one.
Names of people and postal addresses are not found.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

SECRETS: Final = (
    ("aws", "AWSKeyDetector"),
    ("azure_storage_key", "AzureStorageKeyDetector"),
    ("basic_auth", "BasicAuthDetector"),
    ("discord", "DiscordBotTokenDetector"),
    ("github_token", "GitHubTokenDetector"),
    ("gitlab_token", "GitLabTokenDetector"),
    ("jwt", "JwtTokenDetector"),
    ("mailchimp", "MailchimpDetector"),
    ("npm", "NpmDetector"),
    ("openai", "OpenAIDetector"),
    ("private_key", "PrivateKeyDetector"),
    ("pypi_token", "PypiTokenDetector"),
    ("sendgrid", "SendGridDetector"),
    ("slack", "SlackDetector"),
    ("square_oauth", "SquareOAuthDetector"),
    ("stripe", "StripeDetector"),
    ("telegram_token", "TelegramBotTokenDetector"),
    ("twilio", "TwilioKeyDetector"),
)
"""Module and class of each detector; those that ask a service on the network are only read for their patterns."""

EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@((?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})\b")
NOBODYS_HOST: Final = re.compile(r"(^|\.)example\.(com|org|net)$|\.(example|test|invalid)$", re.IGNORECASE)
PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:(?:\+|00)[1-9]\d{0,3}[ ./()-]{0,2}(?:\d[ ./()-]{0,2}){6,12}\d"
    r"|\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[.-]\d{4}|\(?0\d{2,5}\)?[ /-]{1,3}\d{4,9})(?![\w-])"
)
IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD: Final = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-])")
SOCIAL_SECURITY: Final = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
CONTROL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Control characters except tab and line feed, marks that reorder text, and invisible tags."""

ZERO_WIDTH: Final = re.compile(
    "[\u200b\u2060\ufeff\u00ad]|(?<=[\x00-\u02ff])[\u200c\u200d]|[\u200c\u200d](?=[\x00-\u02ff])"
)
"""Characters without width, which web pages and word processors leave in texts.

Between the letters of scripts that need joiners, and in emoji, joiners stay."""

MORE_SECRETS: Final = (
    ("Google API Key", re.compile(r"\bAIza[\w-]{35}")),
    ("Hugging Face Token", re.compile(r"\bhf_[A-Za-z]{34}\b")),
    ("Anthropic Token", re.compile(r"\bsk-ant-[\w-]{24,}")),
)
"""Tokens that `detect-secrets` does not know."""

BANK_MODULUS: Final = 97


def personal_data(text: str) -> list[str]:
    """Name the kinds of personal data in a text."""
    return [name for name, pattern, is_right in _personal_rules() if any(map(is_right, pattern.finditer(text)))]


def mask_private(text: str) -> str:
    """Replace personal data and secrets by their kinds in brackets, for people who review a text."""
    for name, pattern, is_right in _personal_rules():
        text = pattern.sub(_masker(name, is_right), text)
    for name, patterns in _patterns():
        for pattern in patterns:
            text = pattern.sub(f"[a secret: {name}]", text)
    return text


def _masker(name: str, is_right: Callable[[re.Match[str]], bool]) -> Callable[[re.Match[str]], str]:
    return lambda found: f"[{name}]" if is_right(found) else found[0]


def _personal_rules() -> tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], bool]], ...]:
    return (
        ("an e-mail address", EMAIL, lambda found: not NOBODYS_HOST.search(found[1])),
        ("a bank account (IBAN)", IBAN, lambda found: _is_iban(found[0])),
        ("a card number", CARD, lambda found: _is_card(found[0])),
        ("a social security number", SOCIAL_SECURITY, bool),
        ("a phone number", PHONE, bool),
    )


def secrets_in(text: str) -> list[str]:
    """Name the kinds of secrets in a text."""
    return [f"a secret ({name})" for name, patterns in _patterns() if any(each.search(text) for each in patterns)]


def without_zero_width(text: str) -> str:
    """Remove characters without width, with which a copy would look like its source and compare as another text."""
    return ZERO_WIDTH.sub("", text)


def acting_characters(text: str) -> str | None:
    """Return the first character that is invisible or reorders text, by its number; None if there is none."""
    found = CONTROL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, tuple[re.Pattern[str], ...]], ...]:
    from importlib import import_module

    found = []
    for module, name in SECRETS:
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
        found.append((detector.secret_type, tuple(detector.denylist)))
    return (*found, *((name, (pattern,)) for name, pattern in MORE_SECRETS))


def load_patterns() -> None:
    """Import what `secrets_in` needs, before the process gives up opening files."""
    _patterns()


def _is_iban(text: str) -> bool:
    letters = text.replace(" ", "")
    turned = letters[4:] + letters[:4]
    return int("".join(str(int(each, 36)) for each in turned)) % BANK_MODULUS == 1


def _is_card(text: str) -> bool:
    """Check the digits of a card by Luhn's sum."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [
        each if place % 2 == 0 else (2 * each - 9 if each > 4 else 2 * each)
        for place, each in enumerate(digits[::-1])
    ]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1
