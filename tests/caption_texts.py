"""Seeded captions of rooms with all that makes a tokenizer stumble, as tests and the bench compare tokenizers on."""

import random

_NOUNS = (
    "chair table couch sofa desk lamp tv monitor trash can cabinet bookshelf window door refrigerator "
    "microwave sink toilet bathtub pillow bed nightstand dresser whiteboard curtain blinds radiator "
    "backpack suitcase keyboard picture"
)
_LOOKS = (
    "brown dark-brown light white black grey red blue wooden L-shaped l-shaped t-shaped U-shaped "
    "four-legged 4-legged rectangular see-through tall medium-sized leather metal built-in 3-seater "
    "two-door queen-size 24-inch half-open"
)
_CONTRACTIONS = (
    "it's don't can't isn't there's that's what's I'm you're they've we'll he'd doesn't won't wouldn't "
    "couldn't aren't cannot gonna wanna gotta lemme gimme can't-miss o'clock rock'n'roll y'all 'tis 'twas "
    "ma'am it'd who's chair's chairs' James' boss's ain't let's wouldn't've should've d'oeuvre "
    "hors-d'oeuvre l'art c'mon ol' 'em 'n' 'til"
)
_NUMBERS = (
    "1 2 3 10 42 100 0.5 1.5 1,000 12,345.67 1/2 3/4 3-1/2 1st 2nd 3rd 21st 80's '80s 1980s 3D 2x4 5ft 5' "
    '6" 5\'6" 10cm 1.5m 30in. 60cm. 45° 90-degree 50% 12.5% $5 $4.99 £3 €20 50¢ #3 No.4 3:30 10:45pm 7:00 '
    "16:9 2019-05-12 5/12/2019 555-1234 1.2.3 1e5 3+4 -5 +3 4-5 2–3 1,2,3 ½ 1½ ¾ 10^2 m² 3×4 ~5"
)
_ABBREVIATIONS = (
    "Mr. Mrs. Dr. St. approx. etc. e.g. i.e. vs. ft. in. no. No. fig. a.m. p.m. U.S. T.V. t.v. A.C. a/c "
    "w/ w/o n/a Jan. Dec. Ave. Blvd. Co. Inc. Ltd. jr. sr. dept. misc. min. max. sq. cm. lb. oz. Ph.D. B. "
    "A. l. d. c. rt. mt. al."
)
_ODDITIES = (
    "<OBJ012> <OBJ003>. (<OBJ014>) <img> </s> <p>text</p> <unk> http://room.example/a?b=c www.room.com "
    "room.com, a@b.com @home #tag C++ c# AT&T R&B black&white salt&pepper R+D a+b x=y x_y snake_case "
    "__init__ file.txt image.jpg, 001.jpg IMG_1234.png v1.2 wi-fi Wi-Fi e-mail T-shirt x-ray mid-century "
    "co-worker and/or his/her black/white left/right/up 24/7 c/o wall!the wall.the wall?the chair.It "
    "chair,table chair;table chair:table end.Next no,yes table--the table—the table–the table---it "
    "desk…it ... .... .. . … -- — – - ----- * ** ~ ^ | \\ / // & && + = < > << >> :) :-) ;) :D :( :P ^_^ "
    "-_- !! ?? ?! !!! ?!?! &amp; &lt;b&gt; &quot;x&quot;"
)
_UNICODE = (
    "café naïve façade piñata Ångström Müller fiancée 中文 你好 椅子 стол καρέκλα 의자 いす 😀 👍 🛋️ ☺ ★ ✓ → ↔ ≤ ≈ × "
    "÷ ± ° µ ² ³ © ® ™ § ¶ • · † ‘x’ “chair” ‘ ’ “ ” « » „ ‚ ‹x› it’s don’t can’t chairs’ rock’n’roll "
    "o’clock ’80s ’tis co\u00adop a\u200bb fi ﬁ ⅓ ¥ ₹"
)
_BRACKETS = (
    "({}) [{}] {{{}}} \"{}\" '{}' ``{}'' “{}” ‘{}’ <{}> *{}* _{}_ **{}** `{}` |{}| ({}). \"{}.\" \"{}\", '{}', "
    "-{}- --{}-- \\{} /{}/"
)
NOUNS, LOOKS, CONTRACTIONS, ABBREVIATIONS, UNICODE, BRACKETS = (
    text.split() for text in (_NOUNS, _LOOKS, _CONTRACTIONS, _ABBREVIATIONS, _UNICODE, _BRACKETS)
)
NUMBERS = [*_NUMBERS.split(), "1 1/2", "2.5 ft", "no. 5", "8 a.m.", "5 p.m.", "(555) 123-4567", "555-123 4567"]
ODDITIES = [*_ODDITIES.split(), ". . .", "<OBJ 12>"]
PLACES = [
    "to the left of",
    "to the right of",
    "next to",
    "in front of",
    "behind",
    "under",
    "above",
    "on top of",
    "between",
    "near",
    "across from",
    "in the corner by",
    "2nd from the left of",
    "in the middle of",
    "at 3 o'clock from",
    "facing",
]
DETERMINERS = ["the", "a", "this", "that", "its", "an", "two", "The", "some"]
ENDS = [".", "", "!", "?", "..", "...", ". ", "!!", ",", ";", ":", " ", " .", " !", " ,", '."', ".)", ")."]


def captions(seed: int, count: int) -> list[str]:
    """Captions and short answers as people and models write them, with slips of the keyboard."""
    drawn = random.Random(seed)
    return [_slipped(drawn, _sprinkled(drawn, _sentence(drawn))) + drawn.choice(ENDS) for _ in range(count)]


def mixtures(seed: int, count: int) -> list[str]:
    """Words of every kind in no order, run together here and there."""
    drawn = random.Random(seed)
    kinds = (NOUNS, LOOKS, CONTRACTIONS, NUMBERS, ABBREVIATIONS, ODDITIES, UNICODE)
    glue = ["", ".", ",", "-", "'", "/", "!", " - "]
    found = []
    for _ in range(count):
        text = ""
        for _ in range(drawn.randrange(1, 14)):
            word = drawn.choice(drawn.choice(kinds))
            word = drawn.choice(BRACKETS).format(word) if drawn.random() < 0.1 else word
            text += word + (drawn.choice(glue) if drawn.random() < 0.25 else " ")
        found.append(text)
    return found


def noise(seed: int, count: int) -> list[str]:
    """Characters in no order, those that mean something to a tokenizer more often."""
    drawn = random.Random(seed)
    characters = (
        "abcdeintsmxyABCDNTSZ0123456789      ....,,''''\"\"--!?()[]{}<>/\\:;&%$#@*+=_~^|`’‘“”–—…é°½\u00ad\u00a0"
    )
    return ["".join(drawn.choices(characters, k=drawn.randrange(40))) for _ in range(count)]


def _thing(drawn: random.Random) -> str:
    words = [drawn.choice(DETERMINERS)]
    if drawn.random() < 0.6:
        words.append(drawn.choice(LOOKS))
    if drawn.random() < 0.1:
        words.append(drawn.choice(NUMBERS))
    owned = "'s " + drawn.choice(NOUNS) if drawn.random() < 0.06 else ""
    return " ".join([*words, drawn.choice(NOUNS)]) + ("s" if drawn.random() < 0.2 else "") + owned


def _sentence(drawn: random.Random) -> str:
    if drawn.random() < 0.15:
        short = ["yes", "no", "brown", "2", "on " + _thing(drawn), "black and white", "4 chairs", drawn.choice(NUMBERS)]
        return drawn.choice(short)
    begins = ["There is", "This is", "It is", "it's", "That's", "The object is", "You can see", "there are", ""]
    joins = [
        " ",
        " , ",
        ", ",
        ". It is ",
        " and it is ",
        "; ",
        ": ",
        " - ",
        " -- ",
        "!It is ",
        ".it's ",
        ",which is ",
        " (",
    ]
    text = f"{drawn.choice(begins)} {_thing(drawn)}{drawn.choice(joins)}{drawn.choice(PLACES)} {_thing(drawn)}"
    if drawn.random() < 0.4:
        ties = [", ", " and ", ". ", " with ", "/", " or "]
        text += f"{drawn.choice(ties)}{drawn.choice(NUMBERS + LOOKS + CONTRACTIONS)} {drawn.choice(NOUNS)}"
    if drawn.random() < 0.3:
        units = ["m", "ft", "ft.", "cm", "in.", "inches", "%", '"', "'", "x 3", "feet tall"]
        about = drawn.choice(["about", "approx.", "roughly", "~", "at"])
        text += f" {about} {drawn.choice(NUMBERS)}{drawn.choice(['', ' '])}{drawn.choice(units)} "
    return text


def _sprinkled(drawn: random.Random, text: str) -> str:
    words = text.split(" ")
    for kind, share in ((CONTRACTIONS, 0.15), (NUMBERS, 0.1), (ABBREVIATIONS, 0.1), (ODDITIES, 0.08), (UNICODE, 0.06)):
        if drawn.random() < share:
            words.insert(drawn.randrange(len(words) + 1), drawn.choice(kind))
    if drawn.random() < 0.15:
        at = drawn.randrange(len(words))
        words[at] = drawn.choice(BRACKETS).format(words[at])
    return " ".join(words)


def _slipped(drawn: random.Random, text: str) -> str:
    at, slip = drawn.randrange(len(text) + 1), drawn.random()
    if slip < 0.05:
        return text[:at] + text[at + 1 :]
    if slip < 0.08:
        return text[:at] + drawn.choice("'\"-.,!?()/ :;&%$#@*") + text[at:]
    if slip < 0.11:
        return text.replace(" ", "  ", 1)
    if slip < 0.14:
        return text.upper()
    if slip < 0.17:
        return text.title()
    gap = text.find(" ", at) if slip < 0.2 else -1
    return text[:gap] + text[gap + 1 :] if gap >= 0 else text
