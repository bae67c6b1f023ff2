"""Words of feeling, of company and of everyday talk, and which of them name which emotion.

No part of the body, no illness, no remedy, no act of care, no measure of time but today and tonight.
"""

from collections.abc import Mapping

_FEELING = """
afraid ashamed angry anger anxiety anxious ache aching awful bitter blame burden conscience crushing cruel dark
despair desperate difficult disgrace distress distressing doubt dread eerie embarrassed embarrassing embarrassment
exhausted exhausting fear fearful feel feeling feelings felt fright frighten frightened frightening frustrated
frustrating frustration furious fury grief grieve grieving guilt guilty hard harder hardest heavy heavily helpless
helplessness hopeless horrible humiliated humiliating humiliation hurt hurting infuriating insulting irritated
irritating irritation isolated isolating isolation lonely lonesome loneliness lost maddening miserable misery mourn
mourning nervous outrage outrageous overwhelmed overwhelming pain painful panic powerless powerlessness rage reproach
resentment sad sadden saddens sadness scared scary shaken shame shameful sorrow stuck tears tense tension terrible
terribly terrified terrifying terror tired tiring torment tormenting tough trapped trouble troubled troubling
unbearable uncertain uncertainty uneasy unfair unhappy unhappiness unkind unsettled unsettling upset upsetting worn
worried worries worry worrying wounded wounding alarmed annoyed annoying belittling betrayed cross dismayed drained
fed humbling lonelier nerves regret remorse restless rude sore strain strained stress stung weary wearing weigh weighs
weighing weight
"""
_COMPANY = """
alone answer ask asked asking bear bearing believe bother brave bravery bring brought care carried carries carry
carrying child children close comfort company concern courage daughter day days deep deeply deserve deserves easily
face facing family father fault friend gentle gently glad grandfather grandmother hand hear heard hearing heart here
honest hold holding human husband imagine kind kindness know knowing knows listen listening loud love loved loves
meant meet mind moment mother natural night nobody parent patience people person question questions quiet read reason
seen sense share shared sharing shoulders side small son stay talk tell telling tender thank thanks thought thoughts
told trust truth understand understandable understandably understood voice waiting welcome wife wish word words world
worth write writing written wrote brother sister
"""
_EVERYDAY = """
bad behind belong belongs beside bigger big call called clear come comes course deal decent different everyone
everything explanation fair faced far find first foolish forgive gave given gives good happen happened happens hidden
hide hiding home honour hope hoping hurts keep keeps kept late life little long longer look looked looking lose losing
loss lot made mark matter matters meaning mess mistake miss missing near odd open ordinary own part place plain
plainly plenty point pity puzzle put real respect right room said saw say saying says see seeing selfish sentence
shows showing show side silence silent silly sits slight slightly sorry sound sounds space speak speaking spoke stand
standing stood story strange stranger strangers strong surprise sympathy tenderness think thinking thought tiny today
tonight touch touches true turn unreasonable wake want wanted wanting warm warmth way ways weak weakness weep wept
wonder woman women men man wrong admit admitting admitted attention came chance dear doubtless effort enough entirely
every except feels foreign goodbye great hardly honestly left leave leaving line lonesome lives loud low message page
reach reached refused allowed awkward can cannot companion ear earlier front judge judging lines notice noticed
overlook seriously took turning screen sit stuck taken tongue unheard unseen unspoken watch watched watching whole
worse worthy sincerely heartfelt
"""
WORDS = frozenset(f"{_FEELING} {_COMPANY} {_EVERYDAY}".split())
"""What a frame is mostly made of."""

FEELINGS: Mapping[str, tuple[str, ...]] = {
    "fear": (
        "afraid", "fear", "scar", "fright", "terrif", "terror", "panic", "dread", "spook", "alarm", "horrif", "eerie",
        "shudder",
    ),
    "anxiety": (
        "anxi", "worr", "nervous", "uneas", "restless", "tense", "tension", "apprehens", "stress", "unsettl", "on edge",
        "on guard", "what if", "nerves", "troubl", "uncertain", "strain",
    ),
    "sadness": (
        "sad", "tears", "heartbroken", "gloom", "downcast", "miserab", "griev", "grief", "sorrow", "unhapp", "mourn",
        "wistful", "weep", "wept", "goodbye", "loss", "losing",
    ),
    "anger": (
        "angr", "anger", "fury", "furious", "fed up", "cross", "annoy", "bitter", "rage", "outrag", "resent",
        "frustrat", "irritat", "infuriat", "maddening", "belittl", "livid", "unfair", "insult", "fuming", "provok",
    ),
    "guilt": (
        "guilt", "blame", "at fault", "your fault", "remors", "conscience", "reproach", "regret", "pang", "failed",
        "cheated",
    ),
    "shame": (
        "asham", "embarrass", "humiliat", "mortif", "awkward", "shame", "blush", "disgrace", "exposed", "hiding",
    ),
    "helplessness": (
        "powerless", "stuck", "helpless", "overwhelm", "worn down", "hopeless", "give up", "trapped", "despair",
        "desperate", "at a loss", "useless", "too much",
    ),
    "loneliness": ("forsaken", "isolat", "lonel", "left out", "friendless", "no one to talk", "lonesome", "alone"),
}  # fmt: skip
"""Beginnings of words that name each emotion in a frame; wider than the judge's ``STEMS``, which read a question."""
