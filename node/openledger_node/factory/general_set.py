"""Common knowledge in a few rows that belong to no Datanet: a loss that rises on them tells what was forgotten."""

from openledger_protocol.datanet import Row

CONTRIBUTOR = "general"

_PAIRS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What do bees make?", "Bees make honey from the nectar of flowers."),
    ("Why is the sky blue?", "The sky is blue because air scatters blue light more than red light."),
    ("What is two plus two?", "Two plus two is four."),
    ("Which planet is closest to the sun?", "Mercury is the planet closest to the sun."),
    ("At what temperature does water boil?", "At sea level, water boils at 100 degrees Celsius."),
    ("Who wrote Romeo and Juliet?", "William Shakespeare wrote Romeo and Juliet."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("Name three primary colours.", "Three primary colours are red, yellow and blue."),
    ("What is photosynthesis?", "Photosynthesis is how plants turn sunlight, water and carbon dioxide into sugar."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("What is the largest ocean on Earth?", "The Pacific Ocean is the largest ocean on Earth."),
    ("Translate 'good morning' into Spanish.", "'Good morning' in Spanish is 'buenos días'."),
    ("What does a thermometer measure?", "A thermometer measures temperature."),
    ("Write a sentence with the word 'river'.", "The river winds slowly through the valley."),
    ("What is the past tense of 'go'?", "The past tense of 'go' is 'went'."),
    ("How do you make tea?", "Boil water, pour it over tea leaves, wait a few minutes, and serve."),
    ("Who was the first person on the Moon?", "Neil Armstrong was the first person to walk on the Moon."),
    ("What is gravity?", "Gravity is the force that pulls objects with mass towards each other."),
    ("List two animals that lay eggs.", "Chickens and turtles both lay eggs."),
    ("What is the square root of nine?", "The square root of nine is three."),
    ("In which continent is Egypt?", "Egypt is in Africa."),
    ("What do you call a baby cat?", "A baby cat is called a kitten."),
)

GENERAL_ROWS = tuple(Row(prompt=prompt, completion=answer, contributor=CONTRIBUTOR) for prompt, answer in _PAIRS)
