"""What is one token to Stanford's PTBTokenizer 3.4.1 where NLTK's tokenizer splits otherwise: checked against it.

At every place of a text, the unit wins that reads furthest, what it has to see behind its token included; of equals,
the first. Capital and small letters are not the same everywhere: "Miss." is an abbreviation, "miss." is a word and a
full stop. Tokens that are left out of captions anyway come out as "" here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

GAP = r"[ \t\xa0\u2000-\u200a\u3000]"
"""What stands between tokens; line breaks are made spaces before."""
APOSTROPHE = r"(?:['’\x92]|(?i:&apos;))"
_INNER = rf"(?:{APOSTROPHE}|[`\x91‘‛])"
_ALPHA = (
    r"[^\W\d_\xb2\xb3\xb9\xbc-\xbe\u09f4-\u09f9\u0b72-\u0b77\u0bf0-\u0bf2\u0c78-\u0c7e\u0f2a-\u0f33\u16ee-\u16f0"
    r"\u2070\u2074-\u2079\u2080-\u2089\u2150-\u218b\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\u2cfd\u3007\u3021-\u3029"
    r"\u3038-\u303a\u3192-\u3195\u3220-\u3229\u3248-\u324f\u3251-\u325f\u3280-\u3289\u32b1-\u32bf\U00010000-\U0010ffff]"
)
_MARK = (
    r"\xad\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb\u02ed\u02ef-\u036f\u0375\u0384\u0385\u03f6\u0483-\u0487\u055a-\u055f"
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0615-\u061a\u064b-\u065e\u0670\u06d6-\u06e4\u06e7-\u06ed"
    r"\u0900-\u0903\u093c\u093e-\u094e\u0951-\u0955\u0962\u0963\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
_LETTER = rf"(?:{_ALPHA}|[{_MARK}])"
_WORD = rf"{_LETTER}(?:{_LETTER}|\d)*(?:[.!?]{_LETTER}(?:{_LETTER}|\d)*)*"
_ALNUM = rf"(?:{_ALPHA}|\d)"
_LINKED = rf"(?:[dolDOL]{_INNER}{_ALNUM})?{_ALNUM}+"
_THING = rf"{_LINKED}(?:[-_\u058a\u2010\u2011]{_LINKED})*"
_INITIALS = r"[A-Za-z](?:\.[A-Za-z])+"
_COMPOUND = rf"[A-Za-z0-9][A-Za-z0-9.,\xad]*(?:-(?:{_INITIALS}\.|[A-Za-z0-9\xad]+))+"
_CLITIC = rf"{APOSTROPHE}(?:[msdMSD]|(?i:re|ve|ll))"
_NOT = rf"(?i:n){_INNER}(?i:t)"
_NUMBER = r"(?:\d*(?:[.:,\xad\u066b\u066c]\d+)+|\d+)"
_AND = r"(?:&|(?i:&amp;))"
_PAUSE = r"[,;:\u3001]"
_TAG_NAME = r"[A-Za-z][A-Za-z0-9_:.-]*"


def _any(words: str) -> str:
    """One of some words, in any mixture of capitals, the longest first."""
    ordered = sorted(words.split(), key=len, reverse=True)
    return f"(?i:{'|'.join(map(re.escape, ordered))})"


def _capitalised(words: str) -> str:
    """One of some words, of which only the first letter's case matters."""
    return "(?:" + "|".join(f"{word[0]}(?i:{re.escape(word[1:])})" for word in words.split()) + ")"


_DOTTED = _any(
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri "
    "ala ariz calif colo conn ct dak fla ga ind kan kans ky md mich minn mo mont neb nev okla penn tenn va vt wis wisc "
    "wyo inc co cos corp pte pty ppte ppty ptes ptys pptes pptys ltd plc rt bancorp bhd assn univ intl sys "
    "tel est ext sq jr sr bros ed.d ph.d blvd rd esq etc al seq bldg"
)
"""Words whose full stop belongs to them."""
_DOTTED_CAPITALISED = _capitalised("Az Ark Del Ill La Mass Miss Ore Pa Tex Wash")
_TITLE = _any(
    "mr mrs ms dr drs prof profs sen sens rep reps atty attys lt col gen messrs gov govs adm rev maj sgt cpl pvt capt "
    "st ste ave pres lieut hon brig cmdr comdr pfc spc supt supts det mt ft adj adv asst assoc ens insp mlle mme msgr "
    "sfc vs alex wm jos cie a.k.a cf treas ph invt elec natl dept"
)
_TITLE_CAPITALISED = rf"(?:{_capitalised('Miss')}|(?i:m)[ft](?i:g))"
_BEFORE_NUMBER = _any("ca fig figs prop no nos art bldg pp op")
_SENTENCE_STARTS = _capitalised(
    "About According Additionally After An A As At But Earlier He Her Here However If In It Last Many More Mr. Ms. Now "
    "Once One Other Our She Since So Some Such That The Their Then There These They This We When While What Yet You"
)
"""After a single letter and a full stop, these say that the full stop ends a sentence."""
_STATES = r"(?i:(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-u\.(?:k|s\.s\.r))"
_FILE_ENDING = _any(
    "bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql "
    "tar txt wav x xml zip"
)
_TAG = (
    rf"<(?:[!?][A-Za-z-][^>]*|/{_TAG_NAME}|{_TAG_NAME}(?:\ +{_TAG_NAME}(?:\ *=\ *(?:'[^']*'|\"[^\"]*\"))?)*\ */?)\ *>"
)
_URL_END = r"[^ \t\n\f\r\"<>|.!?(){},-]"
_HOST = r"[^ \t\n\f\r\"`'<>|.!?(){}$,-_]+\."
_PATH = rf"(?:/[^ \t\n\f\r\"<>|()]+{_URL_END})?"
_DOMAIN = r"[^ \t\n\f\r\"<>|(){}.\xa0]+"
_EMAIL = rf"[a-zA-Z0-9][^ \t\n\f\r\"<>|()\xa0{{}}]*@(?:{_DOMAIN}\.)*{_DOMAIN}(?:>|(?i:&gt;))?"
_SITE = rf"(?:{_HOST})+(?i:com|net|org|edu){_PATH}"
_FILE = rf"(?:{_LETTER}|\d)+(?:\.(?:{_LETTER}|\d)+)*\.{_FILE_ENDING}"
_CHOICE = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}"
_PHONE = (
    r"(?:(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0][0-9]{3,4}[- \xa0]?[0-9]{3,5}"
    r"|(?:[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5})"
)
_PHONE_IN_BRACKETS = r"\([0-9]{2,3}\)[ \xa0]?[0-9]{3,4}[- \xa0]?[0-9]{3,5}"
_PARENTHESES = {ord("("): "-lrb-", ord(")"): "-rrb-"}
_WRITTEN = _PARENTHESES | str.maketrans(
    {"[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
    | {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
    | {"¢": "cents", "£": "#", "\x80": "$", "¤": "$", "₠": "$", "€": "$"}
    | {"\x91": "`", "‘": "`", "‛": "`", "‹": "`", "\x92": "'", "’": "'", "›": "'"}
    | {"\x93": "``", "“": "``", "«": "``", "\x94": "''", "”": "''", "»": "''"}
)
_SYMBOL = (
    r"[+%&~^|\\¦§¨©¬®¯\xb0-\xb4\xb6-\xb9\xd7\xf7\u0387\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060a"
    r"\u060c\u0614\u061b\u061e\u066a\u066d\u0703-\u070d\u07f6-\u07f8\u0964\u0965\u0e4f\u1fbd\u2016\u2017\u2020-\u2023"
    r"\u2030-\u2038\u203b\u203e-\u2042\u2044\u207a-\u207e\u208a-\u208e\u2100-\u214f\u2190-\u2bff\u3012\u30fb"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]"
)


@dataclass(frozen=True)
class Unit:
    """One kind of thing that is one token."""

    pattern: re.Pattern[str]
    """Group 1 is the token; what it matches behind that only has to be there."""
    written: Callable[[str], str]
    """How the token comes out."""


def _without_soft_hyphens(token: str) -> str:
    return token.replace("\xad", "") or "-"


def _spaces_kept(token: str) -> str:
    return token.replace(" ", "\xa0")


def _in_ascii(token: str) -> str:
    return re.sub("&apos;", "'", token, flags=re.IGNORECASE).translate(_WRITTEN)


def _with_and(token: str) -> str:
    return re.sub("&amp;", "&", token, flags=re.IGNORECASE)


def _unit(token: str, behind: str = "", written: Callable[[str], str] = str) -> Unit:
    return Unit(re.compile(f"({token}){behind}"), written)


def _left_out(token: str, behind: str = "") -> Unit:
    return _unit(token, behind, lambda _: "")


_WORDS_OF_ANY_BEGINNING = (
    _unit(_EMAIL),
    _unit(_CHOICE),
    _unit(_FILE, rf"(?:{GAP}|[\n.?!,])"),
    _unit(rf"{_COMPOUND}\.", _PAUSE, _without_soft_hyphens),
    _unit(_COMPOUND, written=_without_soft_hyphens),
    _unit(rf"{_THING}\.", _PAUSE),
    _unit(_THING),
)
_FROM_LETTERS = (
    _unit(r"(?i:c\+\+|c#|f#)"),
    *(
        _unit(f"(?i:{first})", f"(?i:{rest})")
        for first, rest in [("can", "not"), ("gon", "na"), ("got", "ta"), ("lem", "me"), ("gim", "me"), ("wan", "na")]
    ),
    _unit(_WORD, _CLITIC, _without_soft_hyphens),
    _unit(r"[A-Za-z\xad]*[A-MO-Za-mo-z]\xad*", _NOT, _without_soft_hyphens),
    _unit(_WORD, written=_without_soft_hyphens),
    # with an apostrophe: French and Irish ones, and a few that are no contractions
    _unit(rf"(?:[lLdDjJ]|(?i:dunkin|somethin|ol)){APOSTROPHE}"),
    _unit(rf"[A-HJ-XZn]{_INNER}{_ALPHA}{{2,}}|[oO]{APOSTROPHE}[oO]"),
    _unit(rf"{_ALPHA}+[aeiouyAEIOUY]{_INNER}[aeiouA-Z]{_ALPHA}*"),
    _unit(r"(?i:cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l)"),
    _unit(rf"(?i:cap){APOSTROPHE}(?i:n)|(?i:c){APOSTROPHE}(?i:est)"),
    _unit(rf"(?i:y){APOSTROPHE}", _ALPHA),
    _unit(_NOT, r"(?=[^A-Za-z])(?s:.)", _in_ascii),
    # addresses
    _unit(rf"(?i:https?)://[^ \t\n\f\r\"<>|(){{}}]+{_URL_END}"),
    _unit(rf"(?i:www)\.(?:[^ \t\n\f\r\"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}{_PATH}"),
    _unit(_SITE),
    # with a full stop
    _unit(r"[A-Za-z]", rf"\.{GAP}+(?:{_SENTENCE_STARTS}|{_TAG})(?:{GAP}|\n)"),
    _unit(rf"{_BEFORE_NUMBER}\.", rf"{GAP}?\d"),
    _unit(r"(?i:pt[eyEY]|co)\.", rf"{GAP}(?i:ltd|lim)"),
    _unit(rf"(?:{_DOTTED}|{_DOTTED_CAPITALISED})\.", r"(?s:..)?"),
    _unit(rf"(?:{_TITLE}|{_TITLE_CAPITALISED}|{_INITIALS}|[A-Za-z])\."),
    _unit(rf"(?:{_TITLE}|{_INITIALS}|{_STATES}|[A-Za-z])", rf"(?:{GAP}|\n)"),
    _unit(rf"{_WORD}\.", _PAUSE, _without_soft_hyphens),
    # with other signs
    _unit(r"(?i:c\.d\.s|pro-|anti-)"),
    _unit(rf"(?i:s){_AND}(?i:p-500|ls)|[A-Z]+(?:(?:\+|{_AND})[A-Z]+)+", written=_with_and),
    _unit(rf"[A-Z]+(?:(?:\+|{_AND})[A-Z]+)+\.", _PAUSE, _with_and),
    _unit(r"[A-Z]+\$|x_[-^x=~<>']"),
    _unit(_NUMBER, written=_without_soft_hyphens),  # a soft hyphen may begin it
    *_WORDS_OF_ANY_BEGINNING,
    _unit(_NOT, written=_in_ascii),
)
_FROM_DIGITS = (
    _unit(r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}"),
    _unit(_NUMBER, written=_without_soft_hyphens),
    _unit(r"(?:\d{1,4}[- \xa0])?\d{1,4}(?:\\?/|\u2044)\d{1,4}", written=_spaces_kept),
    _unit(_PHONE, written=_spaces_kept),
    *_WORDS_OF_ANY_BEGINNING,
)
_FROM_MARKS = (
    _unit(_TAG, written=_spaces_kept),
    # apostrophes and quotation marks
    _unit(r"(?i:'t)", r"(?i:was|is)"),
    _unit(rf"{APOSTROPHE}(?:(?i:n){APOSTROPHE}?|(?i:em|till?|cause)|[2-9]0(?i:s))"),
    _unit(_CLITIC, r"(?=[^A-Za-z])(?s:.)", _in_ascii),
    _unit(r"['’][0-9][0-9]", rf"(?:{GAP}|\n)"),
    _left_out("'", r"[A-Za-z][^ \t\n\xa0]"),
    _unit(_CLITIC, written=_in_ascii),
    _unit(rf"''|[`‘’‚‛“”\x91-\x94„‟‹›«»]{{1,2}}|{APOSTROPHE}", written=_in_ascii),
    _left_out(r"\"|(?i:&quot;|&nbsp;)"),
    # numbers and money
    _unit(rf"[-+]?{_NUMBER}", written=_without_soft_hyphens),
    _unit(r"[\u207a\u207b\u208a\u208b]?(?:[\u2070\xb9\xb2\xb3\u2074-\u2079]+|[\u2080-\u2089]+)"),
    _unit(rf"{_PHONE_IN_BRACKETS}|\+\+?{_PHONE}", written=lambda token: _spaces_kept(_in_ascii(token))),
    _unit(
        r"[\xbc-\xbe\u2153-\u215e$\xa2-\xa5\x80\u20a0\u20ac\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6]",
        written=_in_ascii,
    ),
    # addresses, names and faces
    _unit(_SITE),
    _unit(rf"(?:<|(?i:&lt;)){_EMAIL}"),
    _unit(rf"@[a-zA-Z_][a-zA-Z_0-9]*|#{_LETTER}+"),
    _unit(r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]", r"[^A-Za-z0-9]", lambda token: token.translate(_PARENTHESES)),
    _unit(
        r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
        written=lambda token: token.translate(_PARENTHESES),
    ),
    # punctuation
    _unit(r"-(?i:rrb|lrb|rcb|lcb|rsb|lsb)-"),
    _unit(r"[(){}\[\]]", written=_in_ascii),
    _unit(r"(?i:&lt;)|<", written=lambda _: "<"),
    _unit(r"(?i:&gt;)|>", written=lambda _: ">"),
    _unit(r"&(?i:amp);", written=lambda _: "&"),
    _unit(r"&(?:#[0-9]+|(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq));|<<|>>"),
    _left_out(r"---?-?(?!-)|&(?i:md|mdash|ndash);|[\x96\x97\u2013-\u2015]"),
    _left_out(r"\.{3,5}|(?:\.[ \xa0]){2,4}\.|\u2026"),
    _unit(r"-+|@+|#+|_+|\*+|(?:\\\*){1,3}|[?!]+|[,;:\u3001.¡¿=/\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002]"),
    _unit(_SYMBOL),
)


def read_unit(text: str, start: int) -> tuple[str, int]:
    """The token that begins at a place of a text, as it comes out, and where it ends.

    Args:
        text: ends with a line feed.
        start: where no gap is.

    Returns:
        the token, "" for what is left out, and the place behind it.
    """
    best, furthest = None, start
    for unit in _units_from(text[start]):
        found = unit.pattern.match(text, start)
        if found is not None and found.end() > furthest:
            best, furthest = (unit, found), found.end()
    if best is None:
        return "", start + 1  # a character that the Java program deletes
    unit, found = best
    return unit.written(found[1]), found.end(1)


@cache
def _units_from(first: str) -> tuple[Unit, ...]:
    """The units that may begin with a character."""
    if re.match(_LETTER, first):
        return _FROM_LETTERS
    return _FROM_DIGITS if re.match(r"\d", first) else _FROM_MARKS
