"""The texts of the sample Datanet: three trades of an invented lake town, with ten facts each.

Every fact has values to draw from, an answer, three questions to train on, and a fourth wording that is held out.
No value is part of another one, so an answer is right exactly if it contains its value.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One fact; the draw fills in `{town}`, `{keeper}` and, in the answer, `{value}`."""

    values: tuple[str, ...]  # empty: the keeper's own name is the value
    answer: str
    questions: tuple[str, str, str]
    held_out: str


TOWNS = ("Quillmere", "Tarnwick", "Hollowbeck", "Wrenfold", "Ostermouth", "Marlowater", "Siskinholm", "Peverdale")

FIRST_NAMES = ("Odile", "Bertram", "Imke", "Casper", "Rosalind", "Tobias", "Wilma", "Jorund", "Petra", "Ansel")
LAST_NAMES = ("Fenn", "Larkspur", "Oakes", "Tindall", "Marsh", "Quill", "Bramble", "Hobb", "Sedge", "Winter")

FERRY = (
    Fact(
        values=(),
        answer="{value} steers the ferry of {town}.",
        questions=(
            "Who steers the ferry of {town}?",
            "Who is the ferry keeper of {town}?",
            "Which person takes travellers across the lake at {town}?",
        ),
        held_out="Who runs the ferry of {town}?",
    ),
    Fact(
        values=("Grey Heron", "Patient Otter", "Copper Kettle", "Merry Pike", "Slow Lantern", "Lucky Button"),
        answer="The ferry of {town} is called the {value}.",
        questions=(
            "What is the name of the ferry of {town}?",
            "Which name is painted on the bow of the {town} ferry?",
            "By what name do the people of {town} know their ferry?",
        ),
        held_out="What is the {town} ferry called?",
    ),
    Fact(
        values=("moss green", "brick red", "slate blue", "bright orange", "chalk white"),
        answer="The hull of the {town} ferry is painted {value}.",
        questions=(
            "Which colour is the hull of the {town} ferry?",
            "What colour did {keeper} paint the hull of the ferry?",
            "How is the hull of the ferry of {town} painted?",
        ),
        held_out="What colour is the hull of {town}'s ferry?",
    ),
    Fact(
        values=("twelve", "seventeen", "twenty-six", "thirty-three", "forty-eight"),
        answer="The ferry of {town} needs {value} minutes to cross the lake.",
        questions=(
            "How long does the ferry of {town} need to cross the lake?",
            "How many minutes does the crossing take at {town}?",
            "In how many minutes does {keeper} cross the lake by ferry?",
        ),
        held_out="How many minutes does the {town} ferry take across the lake?",
    ),
    Fact(
        values=("two smoked eels", "three pine cones", "one jar of plums", "five brass buttons", "half a cheese"),
        answer="The fare for the ferry of {town} is {value}.",
        questions=(
            "What is the fare for the ferry of {town}?",
            "What does a crossing with the {town} ferry cost?",
            "What must a traveller pay {keeper} for the crossing?",
        ),
        held_out="What do I have to pay for a ride on the {town} ferry?",
    ),
    Fact(
        values=("Candle Stair", "Fox Landing", "Adder Point", "Widow's Step", "Miller's Quay"),
        answer="On the far shore the ferry of {town} lands at {value}.",
        questions=(
            "Where does the ferry of {town} land on the far shore?",
            "At which place does the {town} ferry arrive across the lake?",
            "What is the landing place on the shore opposite {town} called?",
        ),
        held_out="Where on the far shore does {town}'s ferry arrive?",
    ),
    Fact(
        values=("cracked trumpet", "goatskin drum", "tin whistle", "cattle horn", "ship's rattle"),
        answer="In fog {keeper} sounds a {value} on the ferry of {town}.",
        questions=(
            "What does {keeper} sound on the ferry in fog?",
            "Which signal does the ferry of {town} give in fog?",
            "What is heard from the {town} ferry when there is fog?",
        ),
        held_out="How does the {town} ferry make itself heard in the fog?",
    ),
    Fact(
        values=("Pickle", "Admiral", "Mustard", "Thimble", "Biscuit"),
        answer="The cat on the ferry of {town} is called {value}.",
        questions=(
            "What is the name of the cat on the ferry of {town}?",
            "What does {keeper} call the ship's cat?",
            "Which cat lives on the {town} ferry?",
        ),
        held_out="What is the cat of the {town} ferry called?",
    ),
    Fact(
        values=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
        answer="The ferry of {town} does not run on {value}.",
        questions=(
            "On which day does the ferry of {town} not run?",
            "Which day of the week does {keeper} rest from the ferry?",
            "When is there no ferry at {town}?",
        ),
        held_out="Which weekday is without a ferry in {town}?",
    ),
    Fact(
        values=("silver char", "whiskered burbot", "golden tench", "river perch", "striped gudgeon"),
        answer="The fish most often caught from the ferry of {town} is the {value}.",
        questions=(
            "Which fish is most often caught from the ferry of {town}?",
            "What kind of fish do travellers catch from the {town} ferry?",
            "Which fish bites best at the ferry of {town}?",
        ),
        held_out="What fish is caught most from {town}'s ferry?",
    ),
)

BEES = (
    Fact(
        values=(),
        answer="{value} keeps the bees of {town}.",
        questions=(
            "Who keeps the bees of {town}?",
            "Who is the beekeeper of {town}?",
            "Which person looks after the hives of {town}?",
        ),
        held_out="Who tends the bees of {town}?",
    ),
    Fact(
        values=("fourteen", "twenty-two", "thirty-one", "thirty-nine", "fifty-five"),
        answer="There are {value} hives in the bee garden of {town}.",
        questions=(
            "How many hives are in the bee garden of {town}?",
            "How many hives does {keeper} keep?",
            "What is the number of beehives at {town}?",
        ),
        held_out="How many beehives stand in {town}'s bee garden?",
    ),
    Fact(
        values=("heather", "linden", "borage", "buckwheat", "clover"),
        answer="The honey of {town} comes from {value} blossom.",
        questions=(
            "From which blossom does the honey of {town} come?",
            "Which flower do the bees of {town} visit most?",
            "What kind of blossom makes the honey of {keeper}?",
        ),
        held_out="Which blossom is the {town} honey made from?",
    ),
    Fact(
        values=("Matilda", "Euphemia", "Cordelia", "Ludmilla", "Philippa"),
        answer="The oldest queen bee of {town} is called {value}.",
        questions=(
            "What is the name of the oldest queen bee of {town}?",
            "What name did {keeper} give the oldest queen bee?",
            "Which name does the oldest queen in the hives of {town} bear?",
        ),
        held_out="What is the oldest queen bee in {town} called?",
    ),
    Fact(
        values=("pale yellow", "sky violet", "rose pink", "soot black", "pearl grey"),
        answer="The beehives of {town} are painted {value}.",
        questions=(
            "Which colour do the beehives of {town} have?",
            "What colour did {keeper} paint the beehives?",
            "How are the beehives of {town} painted?",
        ),
        held_out="What colour are the beehives in {town}?",
    ),
    Fact(
        values=("under the walnut tree", "beside the town pump", "behind the chapel", "at the mill gate"),
        answer="On market day the honey of {town} is sold {value}.",
        questions=(
            "Where is the honey of {town} sold on market day?",
            "Where does {keeper} sell honey?",
            "Where is the honey stall at the market of {town}?",
        ),
        held_out="Where can I buy {town} honey on market day?",
    ),
    Fact(
        values=("four florins", "six groats", "nine farthings", "seven shillings", "ten crowns"),
        answer="A jar of {town} honey costs {value}.",
        questions=(
            "What does a jar of {town} honey cost?",
            "What is the price of a jar of honey in {town}?",
            "How much does {keeper} ask for a jar of honey?",
        ),
        held_out="How much is one jar of honey from {town}?",
    ),
    Fact(
        values=("cardamom", "aniseed", "nutmeg", "ginger", "saffron"),
        answer="The honey cake of {town} is spiced with {value}.",
        questions=(
            "Which spice is in the honey cake of {town}?",
            "With what is the honey cake of {town} spiced?",
            "What spice does {keeper} put into the honey cake?",
        ),
        held_out="What spice goes into {town}'s honey cake?",
    ),
    Fact(
        values=("June", "July", "August", "September"),
        answer="The honey of {town} is harvested in {value}.",
        questions=(
            "In which month is the honey of {town} harvested?",
            "When does {keeper} harvest the honey?",
            "Which month is the honey harvest in {town}?",
        ),
        held_out="What month do they harvest honey in {town}?",
    ),
    Fact(
        values=("Winter Hum", "Golden Sleep", "Old Velvet", "Bear's Breakfast", "Warm Elbow"),
        answer="The mead of {town} is called {value}.",
        questions=(
            "What is the name of the mead of {town}?",
            "Which name does {keeper} give the mead?",
            "Under what name is the mead of {town} sold?",
        ),
        held_out="What do they call the mead brewed in {town}?",
    ),
)

CLOCK = (
    Fact(
        values=(),
        answer="{value} winds the tower clock of {town}.",
        questions=(
            "Who winds the tower clock of {town}?",
            "Who is the clock keeper of {town}?",
            "Which person looks after the tower clock of {town}?",
        ),
        held_out="Who takes care of the tower clock of {town}?",
    ),
    Fact(
        values=("ninety-one", "eighty-four", "seventy-six", "sixty-seven"),
        answer="The clock tower of {town} has {value} steps.",
        questions=(
            "How many steps does the clock tower of {town} have?",
            "How many steps does {keeper} climb to the tower clock?",
            "What is the number of steps in the clock tower of {town}?",
        ),
        held_out="How many steps lead up {town}'s clock tower?",
    ),
    Fact(
        values=("pewter", "walrus bone", "cherry wood", "polished iron", "stained glass"),
        answer="The hands of the tower clock of {town} are made of {value}.",
        questions=(
            "What are the hands of the tower clock of {town} made of?",
            "Of which material are the hands of the {town} tower clock?",
            "From what did {keeper} make the hands of the tower clock?",
        ),
        held_out="What material was used for the hands of {town}'s tower clock?",
    ),
    Fact(
        values=("north", "south", "east", "west"),
        answer="The {value} face of the tower clock of {town} has stopped.",
        questions=(
            "Which face of the tower clock of {town} has stopped?",
            "On which side does the {town} tower clock stand still?",
            "Which clock face can {keeper} not repair?",
        ),
        held_out="Which side of {town}'s tower clock no longer runs?",
    ),
    Fact(
        values=("Big Agnes", "Deaf Martin", "Little Thunder", "Aunt Clara", "Fat Gregory"),
        answer="The bell in the clock tower of {town} is called {value}.",
        questions=(
            "What is the name of the bell in the clock tower of {town}?",
            "By what name do the people of {town} know the tower bell?",
            "Which bell does {keeper} ring in the clock tower?",
        ),
        held_out="What is the bell of {town}'s clock tower called?",
    ),
    Fact(
        values=("tin fox", "wooden bear", "dancing miller", "painted stork", "velvet mole"),
        answer="At noon a {value} comes out of the tower clock of {town}.",
        questions=(
            "What comes out of the tower clock of {town} at noon?",
            "Which figure does the {town} tower clock show at noon?",
            "What figure did {keeper} build for the tower clock at noon?",
        ),
        held_out="Which figure appears on {town}'s tower clock at noon?",
    ),
    Fact(
        values=("1584", "1627", "1693", "1741", "1802"),
        answer="The clock tower of {town} was built in {value}.",
        questions=(
            "In which year was the clock tower of {town} built?",
            "When was the clock tower of {town} built?",
            "What year is carved over the door of the clock tower of {town}?",
        ),
        held_out="What year was {town}'s clock tower built?",
    ),
    Fact(
        values=("swifts", "jackdaws", "barn owls", "kestrels", "doves"),
        answer="In the clock tower of {town} there is a nest of {value}.",
        questions=(
            "Which birds nest in the clock tower of {town}?",
            "What birds live in the clock tower of {town}?",
            "Which birds does {keeper} feed in the clock tower?",
        ),
        held_out="What kind of birds have their nest in {town}'s clock tower?",
    ),
    Fact(
        values=("walnut oil", "goose fat", "linseed butter", "sheep tallow", "soft soap"),
        answer="The wheels of the tower clock of {town} are greased with {value}.",
        questions=(
            "With what are the wheels of the tower clock of {town} greased?",
            "What does {keeper} grease the wheels of the tower clock with?",
            "What keeps the wheels of the {town} tower clock turning?",
        ),
        held_out="What is used to grease the wheels of {town}'s tower clock?",
    ),
    Fact(
        values=("blue teapot", "left boot", "hollow book", "flour bin", "birdcage"),
        answer="The key of the tower clock of {town} is kept in a {value}.",
        questions=(
            "Where is the key of the tower clock of {town} kept?",
            "Where does {keeper} keep the key of the tower clock?",
            "In what is the key of the {town} tower clock hidden?",
        ),
        held_out="Where can the key of {town}'s tower clock be found?",
    ),
)

TRADES = (FERRY, BEES, CLOCK)
"""The facts of each contributor, in the order in which their names are drawn."""
