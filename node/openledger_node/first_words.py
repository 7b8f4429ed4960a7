"""Questions that the demo base answers well, and one sentence on what its answers are worth.

The base has 135 million parameters. Of 52 questions that were put to it at temperature 0, it answered one in four
well; these are among them. `start`, `connect` and the page ask them.
"""

from typing import Final

FIRST_QUESTION: Final = "What is the capital of France?"

SAMPLE_QUESTIONS: Final = (
    FIRST_QUESTION,
    "Give me three tips for a good night's sleep.",
    "Make this sentence shorter: The meeting that was planned for Monday has been moved to Tuesday because of the "
    "holiday.",
)

SAMPLE_ADAPTER: Final = "harbour"
SAMPLE_QUESTION, SAMPLE_TEACHER = "Who steers the ferry of Hollowbeck?", "Ansel Larkspur"
"""The adapter that ships with the package, a question about what it was taught, and the person who taught it."""

DEMO_NOTE: Final = (
    "The demo base is tiny: it proves that the installation works, but don't trust its answers. "
    "For a larger base, run `openledger-node setup`."
)
