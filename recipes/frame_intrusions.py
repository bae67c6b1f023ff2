"""200 sentences that a frame may not bring, written one by one to measure the verifier, never to make its rules.

They were written after the rules and the reader were fixed, and nothing was changed by what they showed. Half of them
speak in the words of one dialogue of the test part (its id stands before the bar), the others fit any. Two earlier
sets, of which 182 and 191 of 200 were caught, made the rules stricter; they stand with the sentences that teach.
"""

from collections.abc import Iterator

PLANTED = {
    "fact": """
068d3df6 | Your knee lies still and the machine does the rest.
08dfa0ce | Only one country in that region has no dengue.
0cb17667 | The shoulder freezes, stays stiff, and thaws.
1185b7ad | You breathe past the tube through your nose.
1b61712a | Every third family with small children has had those.
3f92fce0 | What you see by the roses is made in the brain.
43b07903 | Alcohol reaches the baby within minutes.
56589693 | Hair cells in the ear do not grow back.
5f7cd4cf | Nobody can catch psoriasis from a towel.
6ee0522b | A flu vaccination warms the body for a day or two.
745b3eb7 | Old men wake early.
76abc2c2 | Blood without pain comes from the bladder or the kidney.
8a745ebb | Nine of ten nodules are benign.
99d8d93c | HIV tests look for two things at once.
It grows where the skin is thin.
This is a common reason for a bad night.
Fear makes the blood rush to the heart.
You lose a hundred hairs a day.
The pain moves because the nerve is long.
It is the left side that does the work.
Both of them carry it, the mother and the father.
Women wait longer for this answer than men.
The test only tells what was there that day.
A child feels pain from the first day on.
Grief takes a year.
Many lose weight with it.
What hurts is the skin over the bone.
Nobody knows where it comes from.
The first sign is a change in the voice.
""",
    "drug or dose": """
1a9c8583 | Chloramphenicol drops clear a sticky eye in two days.
1cf3521d | The tablets thin the blood and nothing else.
28749358 | The brown inhaler belongs to the morning.
4a4cdba0 | There is a vaccine against HPV.
53b70269 | A spray of salt water does the same as those pills.
54cd5147 | Bisoprolol slows the heart, and so it pauses.
5662961f | Ibuprofen suits an ear.
56cc21c2 | Her insulin goes in before each meal.
83b826fa | Olanzapine made my uncle sleep all day.
aaf9e512 | A little melatonin helps her find her bed.
b0ec3415 | On valproate you drive again in a year.
d39eaa43 | Salicylic acid takes a wart off.
dd6b6e33 | The tablets are kind to milk.
995a8c02 | Twelve weeks of tablets clear hepatitis C.
The cream comes in two strengths.
Half of it is sugar.
Cortisone makes the face round.
The pill stays with you for a night.
You are on the highest dose there is.
It is a mild drug.
They give morphine at the end.
One before bed.
Your tablets are to blame for the tears.
Insulin is a hormone.
Diazepam is what they take for fear.
It comes as a patch, too.
The new drug is no better than the old one.
Nobody needs more than three a day.
Tramadol on top would be too much.
""",
    "advice": """
03abd0c3 | A mother with such pictures belongs with somebody who treats them.
0b9a28a3 | Patches on the good eye are worth the tears.
15f956ec | The chemist can stick a sun and a moon on your boxes.
3bb1ef5b | Sitting with the group is better than staying away.
3f046ed7 | I should ring them back.
46106224 | Someone other than Mama offers the bottle best.
4b8cec06 | Looking at the wall is half the trick.
51dc9e87 | A family can stop pouring and start living.
5861fbe0 | The kindest thing is to look past it.
5cb1dfb3 | Pelvic floor training is where most women begin.
7d11bc8f | A call every evening at six keeps you in the family.
9fe40b25 | Talking clocks are made for people like you.
d3b369e3 | It is right to tell him.
e62addd0 | Paper and tape get the little balls.
It is fine to say no.
Why not speak with your sister?
It is a matter for the doctor.
A little walk before you read on?
The sooner somebody sees it, the better.
With a friend beside you it is half as hard.
Writing to the clinic is an open door.
Some of that weight belongs on other shoulders.
A night away from it all is no sin.
Your husband deserves to know.
It is your right to see the notes.
I am for waiting.
People in your place ask for a second look.
It is never wrong to get it seen.
What you want is rest.
""",
    "diagnosis": """
13a70805 | Your eyes are dry from the lenses.
1744fa29 | That thirst is in the mouth and not in the body.
4fee678a | You mourn before there is anything to mourn.
53b70269 | It is a cold, and your pressure is the trouble.
71136ec5 | You bite too hard.
752d3ec1 | Your body has not come back from COVID.
7f0b4920 | Sweating like yours has a name.
8b7d8b5e | It is age, and only age.
91cf6b1c | A clean break of the wrist.
99d8d93c | What you have caught is fear.
9df5047b | Yes, that is fungus.
aacb321e | You have gum disease.
d5f5d55b | His heart has a small hole.
fe13c7c7 | You took no harm that day.
This is shingles.
You have what your mother had.
It is stress.
It is not stress.
She has lost the child.
Your heart skips because you are afraid.
That is a stroke.
You are in the change.
So it is cancer.
There is nothing in your blood.
It sounds to me as though the gall is full.
He is on the spectrum, I think.
The nerve is dead.
This is a broken heart and nothing else.
""",
    "promise": """
068d3df6 | You are out of the tube before you know it.
0b9a28a3 | She reads with both eyes before she is ten.
10d6c86f | Your mother goes in peace.
14572f31 | You grow old with your wife.
2e41b096 | He plays like any boy.
3513b4b4 | Next time you know what to do, and he comes round.
4a4cdba0 | They take a little piece, and you are done with it.
5cb1dfb3 | You laugh again without fear.
6e359d2a | Your father knows you again tomorrow.
83b826fa | One day he thanks you.
b5fab208 | She sleeps away without pain.
c5764c6b | Next month you know half the town.
cab1ab4d | You keep your job.
dce0ac7c | She forgets it all.
You are saved.
It is over now.
They do not let you fall.
I am sure of you.
You feel well again.
The worry leaves you tonight.
What you fear does not come.
They make you well.
Your child is in the best of hands.
You get your life back.
You have years.
All this has a good end, I feel it.
It is a matter of days.
I know a good answer is on its way.
""",
    "instruction": """
03abd0c3 | Hold him near the window, and see.
08dfa0ce | Get the vaccine before you pack.
13a70805 | Out with the lenses, and into the glasses.
1b61712a | Tell the school before the poster does.
4a6cb2ad | Lift nothing and smoke nothing.
5662961f | Bring her in again if the ear runs.
695352ec | Show them the card next time.
6ee0522b | Lie down and drink something warm.
8b7d8b5e | Buy the glasses and thread on.
9379863e | Ask him to stand on it.
ae9b7430 | Wash less, not more.
bfb4ff32 | Tell them on the phone that you cannot bear a needle.
ed2a7220 | Cut it straight.
e6c63568 | Carry your notes with you on the plane.
Tell no one yet.
Hear me out first.
Come in on Monday.
Keep your chin up.
Ask her what she feels.
Face it.
Say yes to the operation.
Thank your doctor and leave.
First things first, so sit down.
You stay where you are.
Hands where I can see them, and breathe.
Never mind the others.
Let it hurt.
Read it twice before you answer.
""",
    "false reassurance": """
03abd0c3 | A mother with such pictures never hurts her baby.
0cb17667 | A shoulder is not a heart.
13a70805 | One night in lenses is no drama.
1cf3521d | Old women like you do well on it.
3f046ed7 | An hour is too short to catch it.
4a4cdba0 | The C word is not on that paper.
53b70269 | One bottle of it has never killed anybody.
5f7cd4cf | It is only skin.
6e359d2a | They all get like that after a hip.
695352ec | Your gut has forgotten it by tomorrow.
71136ec5 | You have time.
99d8d93c | You did not catch a thing.
9df5047b | Nobody looks at your toes.
d39eaa43 | A wart has never hurt a soul.
It is what people have at this age.
You see it darker than it is.
Doctors ask for this all the time.
What you read is written to frighten people.
Things like this pass.
There is nothing to it.
Your fear is much bigger than you.
You carry a small thing like a big one.
It hurts, and that is a good sign.
Nobody is ill here.
Pain like this is good pain.
Your heart is good.
The answer is no, and you are well.
So many ask this, and all of them are well.
That is natural, and it stays small.
""",
}


def planted() -> Iterator[tuple[str, str, str]]:
    """Kind, id of the dialogue in whose words it speaks (empty if it fits any), and sentence, of each."""
    for kind, text in PLANTED.items():
        for line in text.strip().splitlines():
            dialogue, bar, sentence = line.partition(" | ")
            yield (kind, dialogue, sentence) if bar else (kind, "", line)
