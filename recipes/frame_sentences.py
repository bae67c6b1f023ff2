"""Openings and closings of frames for a question that says nothing personal, and sentences that a frame may not bring.

The frames of `consult` answer a distressed question, in its own words. A plain question ("What is glaucoma?") gives no
such words; these openings, twelve an emotion, and closings are for it. They teach the packaged writer, and both kinds
of sentences teach the reader of frames.
"""

from collections.abc import Iterator

OPENINGS = {
    "fear": """
A question like this is frightening to ask, and you asked it all the same.
It makes sense that this frightens you.
I can hear the fear in your question, and it is welcome here.
Being afraid of what an answer brings is something I understand well.
Anyone would feel some fear with a question like this in mind.
This is a scary thing to carry about with you, and I am glad you wrote.
Fear often comes with not knowing, and it is hard to sit with that.
I understand that this scares you, and I take the fear seriously.
There is a lot of fear behind some questions, and I hear it behind this one.
You sound frightened, and that is a heavy feeling to have alone.
Of course you are afraid, and I hear how much this means to you.
It takes courage to ask while you are this scared.
""",
    "anxiety": """
I can hear how worried you are, and your question is a fair one.
Worry like this is tiring, and it makes sense that it brought you here.
It is understandable that you worry and that your thoughts keep turning to this.
Not knowing is hard, and it is no wonder that you feel anxious.
This has clearly been weighing on you, and I understand the worry.
An open question like this one is loud at night, and I hear your worry in it.
You are worried, and you have every right to ask.
I am glad you brought this worry here and did not keep it to yourself.
Anxious thoughts are hard to carry, and I hear them in what you write.
It sounds as though this has left you uneasy for a while.
I hear how nervous this makes you.
Your worry shows how much this matters to you.
""",
    "sadness": """
I am so sorry; there is a lot of sadness in this question.
It is sad to have to ask this at all, and I hear that.
Some questions come with a heavy heart and with sorrow, and I hear it in this one.
I can hear the sadness in what you write, and I am sorry you carry it.
Being sad about this is only human.
It hurts to think about this, and your sorrow has a place here.
This is a sad thing to face, and I am glad you did not face it without a word.
Your sadness is understandable, and there is room for it.
I hear how much this saddens you.
Tears belong to a question like this, and your sadness is welcome.
It makes sense that this leaves you sad and tired.
There is real sorrow in asking this, and I do not overlook it.
""",
    "anger": """
You have every right to be angry, and I hear it.
It is frustrating to be left with a question like this.
I understand the anger in your question, and it does not put me off.
Being left without an answer would make most people angry.
No wonder you are frustrated; you wanted a clear word about this much earlier.
Your anger makes sense to me, and you can say it plainly here.
It is infuriating to have to ask this yourself.
I hear how annoyed you are, and I do not find it unreasonable.
This is an irritating thing to be left alone with, and I understand that.
There is anger in this question, and behind it somebody who wants to be heard.
It is only fair to be cross about this.
I can see why this makes you so angry.
""",
    "guilt": """
I can hear that you feel guilty, and how hard you are on yourself.
Guilt is heavy to carry, and it speaks loudly in a question like this.
You blame yourself, and behind that I hear how much you care.
It makes sense that this weighs on your conscience.
Feeling guilty about this shows what kind of heart you have.
That reproach has been with you for a while, I think, and it hurts.
I understand the guilt, and I do not think less of you for it.
It is hard to ask something with so much guilt in it.
You carry a lot of blame about this, and you carried it here.
Guilt often comes to those who care most, and I hear it in your words.
I hear the reproach that you make yourself.
A bad conscience is a heavy thing, and I am glad you told me.
""",
    "shame": """
There is nothing shameful in this question, though I know it feels embarrassing.
It can feel embarrassing to ask this, and you asked it well.
I understand that you feel ashamed, and I do not see you that way.
Shame makes a question like this hard to write, and you wrote it.
You feel embarrassed, and here nobody looks down on you.
It takes courage to ask something that feels this awkward.
I can hear the shame in it, and I am glad you asked me.
Being ashamed of a question like this is very human.
Nobody here is judging you, though the shame is real and it hurts.
I know how humiliating this can feel, and your question is welcome.
This is an awkward thing to say out loud, and you said it honestly.
Shame wants you to be silent, and you spoke all the same.
""",
    "helplessness": """
It is hard to feel so helpless in front of a question like this.
I hear how overwhelmed you are, and that is a hard place to be.
Feeling powerless is tiring, and it makes sense that you feel it now.
This is a lot to face, and no wonder it overwhelms you.
You sound as though you are at a loss, and I am glad you asked.
There is so much to take in here, and feeling overwhelmed by it is human.
I understand that you feel helpless, and you do not face this without company.
Not knowing where to turn is a helpless feeling, and I hear it.
So many questions at once are overwhelming, and I understand that.
That powerless feeling is heavy, and you have carried it all the way here.
It makes sense to feel stuck with a question like this.
I can hear that this is too much at the moment, and I am with you in it.
""",
    "loneliness": """
It is lonely to carry a question like this with nobody to share it.
I hear how alone you feel with this, and I am glad you wrote.
Some questions make a person feel very lonely, and I hear it in this one.
Being alone with this is hard, and I am here to hear it.
You sound lonely with this, and now somebody knows of it.
It makes sense to feel isolated when nobody near you asks the same.
There is a lot of loneliness in having to ask this of a stranger.
I understand how lonely this feels.
Carrying this alone is heavy, and your words have been heard.
A question without anybody to talk to is a lonely thing.
You must have felt lonely with this, and I am glad you asked.
You sound isolated, and it is good to hear from you.
""",
}
CLOSINGS = """
You are not alone with this.
I am glad you asked, and I am here.
Your question was worth asking.
It took courage to ask, and I am glad you did.
What you feel has a place here.
You carried a heavy question here, and it was heard.
Thank you for your trust.
You are welcome here with every question.
I hear you, and I am with you.
There is room here for what you feel.
Nobody here thinks less of you for asking.
You do not have to carry this on your own.
Whatever you feel about this, you can say it here.
I am with you in this, as far as words reach.
It is good that you brought this here.
You have been heard, every word of it.
Thank you for telling me what is on your mind.
I do not find your question too small or too big.
You asked kindly and clearly, and I thank you for it.
That was hard to write, and I noticed.
A question like yours deserves a kind ear.
I am here, and there is room for all of it.
Every thought that is left is welcome here, too.
Here you do not have to be brave.
Whoever asks like this cares a great deal, and that is you.
I am glad we are looking at this together.
Your feelings are not too much for me.
It says a lot about you that you asked.
You can bring the next question too, and the one after it.
I have read every word, and I take it seriously.
I am listening to all that you want to say.
You matter in this, and so does what you feel.
None of what you feel makes you difficult.
Thank you for not keeping this to yourself.
I would be glad to hear how you are.
You have company in these lines.
This feeling is allowed here for as long as it stays.
You were right to ask, and you asked it well.
I am sorry that this is so hard for you.
There is no wrong way to feel about this.
"""

WRITTEN_INTRUSIONS = {
    "fact": """
It is common and mostly harmless in the first year.
The kidneys clear this drug slowly.
One in three people has the same result.
This illness runs in families.
The virus dies within two days.
Women get it more often than men do.
Your blood carries less oxygen than it did.
Most of the pain comes from swelling.
The treatment has been known since 1950.
It is not contagious.
Smokers have it far more often.
Such tumours grow slowly.
The body makes new skin in a month.
Fear raises the heart rate, which is what you feel.
Your liver has lost a part of its strength.
The tablets stay in the body for a week.
Children often have this and grow out of it.
It is caused by a worn nerve.
No cure is known.
Pain of this kind comes at night and is felt in the heart.
""",
    "advice": """
You might try some warm tea in the evening.
I would ask another doctor about it.
It helps to walk a little every day.
A second opinion is worth having.
Perhaps a support group is something for you.
Rest is the best thing for now.
It is worth asking about a smaller dose.
A diary of your pain can be useful.
You could share this with somebody who is close to you.
Some find that a warm bath eases it.
The kindest thing is to let your child sleep.
It might be wise to wait with the operation.
Less salt does no harm.
You may want to think about the other tablets.
Talking to someone about your fear is a good start.
I recommend that you see a counsellor.
It is better to stay at home with it.
Sharing your worry with those who love you would help.
A calm evening without a screen is good against worry.
There is no need to take them any more.
""",
    "diagnosis": """
It sounds like a panic attack to me.
You are depressed.
This is only stress.
What you feel is all in your mind.
That is probably the menopause.
You have an anxious heart, that is all.
It seems that your nerves are inflamed.
I think that it is a migraine.
You may have an infection.
He has dementia, I fear.
This is grief and not an illness.
She is simply tired.
These are signs of burnout.
What you describe is irritable bowel.
It looks like shingles.
Your pain is from worry alone.
This points to the gallbladder.
You are suffering from exhaustion.
It can only be an allergy.
The trouble is your worry and not your heart.
""",
    "promise": """
Everything will be all right.
You will feel better soon.
I promise that it gets easier.
This goes away by itself.
Nothing bad can happen to you.
You are going to be fine.
The pain always ends.
They will find a cure for you.
Your child is safe.
It is certain that you will sleep again.
You will be home before you know it.
Soon this is only a memory.
I am sure that the result is good.
There is nothing to fear.
You are in no danger.
No harm comes of it.
All of this ends well.
We will be here whenever you call.
You have nothing to worry about.
Your heart is strong, and you get through this.
""",
    "instruction": """
Breathe in slowly and count to four.
Take the tablets with food.
Call the clinic tomorrow.
Do not read about it any more.
Please tell your doctor.
Stop smoking today.
Don't worry.
Drink plenty of water.
Put your feet up.
Stay in bed until it is over.
Ask for help.
Trust your doctor.
Write your worries in a book, and bring it along.
First, sit down.
You are not alone, so call a friend.
Keep your hand on your heart and wait.
Let your family carry a part of it.
Remember to take your medicine.
Try to think of something else.
Never carry this alone.
""",
    "drug or dose": """
Ibuprofen is kinder to the stomach than aspirin.
Two tablets at night bring sleep.
I know people who do well on half the dose.
A little more insulin covers a slice of cake.
Antibiotics are of no use against it.
Paracetamol takes the edge off within the hour.
The cream belongs on dry skin only.
Many leave the evening tablet out and sleep.
Metformin and wine get along.
Your tablets and your tears have nothing to do with each other.
Doctors often start with a low dose of sertraline.
A dose that was forgotten is not made up for.
The spray works for twelve hours.
Steroids make people weepy, so this is the tablets talking.
Iron on an empty stomach hurts.
""",
    "false reassurance": """
A lump like that is nearly always nothing.
Such spots come and go, and nobody dies of them.
People your age do not get that.
Your body knows what it is doing.
That kind of pain means nothing.
A strong boy like him gets over it.
Bleeding like this happens to everyone.
Your worry is bigger than the thing itself.
It sounds worse than it is.
The doctors would have called if it were serious.
You are far too young for that.
Nine times out of ten there is nothing behind it.
A racing heart is only love of life.
Nature takes care of this.
You worry too much about a small thing.
This can wait, so lean back.
""",
    "more facts": """
Skin of that kind burns quickly.
Old knees creak, and old hearts skip.
Grief lowers the defences of the body.
Babies cry most at six weeks.
A womb heals without a trace.
The liver forgives a great deal.
Men feel it in the arm and women in the back.
Bones knit faster in children.
Tears contain salt and calm the nerves.
The scar fades with the years.
Shame raises the pressure in the head.
Twins run on the mother's side.
What you saw on the scan was a shadow of the rib.
The test is wrong in one case of five.
Cancer of this kind sleeps for decades.
It was in your family long before you.
The illness chooses the tired ones first.
Sleep comes back on its own after a loss.
The doctor reads the picture the same day.
A fever is the body at work.
""",
    "more advice": """
A walk by the river works better than any pill.
Warm milk and an early night, that is what my mother did.
Someone in your place might look for another doctor.
The next appointment is the place for these questions.
Family first, and the tablets later.
Crying it out is the fastest cure.
There are good books on this.
Small meals, long nights, few screens.
A priest or a friend is the one to ask.
Leaving him alone with it for a day does both of you good.
Your sister could drive you there.
Less coffee, more company.
The phone is there for such moments.
It pays to write down every attack.
Another opinion never hurt anybody.
""",
    "more diagnosis": """
Your thyroid speaks through your moods.
That trembling is your nerves and nothing else.
Two things are at work here, your back and your sorrow.
Such a cough belongs to asthma.
I read this as a small stroke.
The boy has what his father had.
A slipped disc feels like this.
You describe a classic case of shingles.
What frightens you is an attack of gout.
There is an infection behind that shame.
Your womb is tired.
This must be the change of life.
That sort of forgetting is age.
I hear depression in your words.
Behind this there is usually an ulcer.
""",
    "more promises": """
A year from now you laugh about it.
He comes home with you on Friday.
The next scan shows it gone.
You two have many summers left.
This baby stays with you.
Nobody leaves you, and nothing breaks.
The doctors save her.
Your hair grows in thicker than it was.
Tomorrow the pain is a memory.
I give you my word that he wakes.
""",
    "more instructions": """
Not another word about it to your mother.
No more tablets from today.
Off to bed with you.
Eyes closed, shoulders down, and a long breath out.
Straight to the clinic with him.
First the stairs, then the shower, one thing at a time.
Up with your chin.
You take him to the hospital now.
Your job is to rest and nothing else.
Hands off the internet tonight.
""",
    "first trial, fact": """
Inside the tube it knocks loudly for twenty minutes.
Dengue comes with one kind of mosquito, by day.
A frozen shoulder thaws by itself in a year or two.
The tube goes into the gullet and leaves the windpipe free.
One man in a thousand gets it, and the ladies know that.
Sticky eyes pass from child to child by hands and towels.
Pinworms lay their eggs at night, and clever children have them too.
It travels on the mother's side, and boys get it.
The tendon knits within a season.
At seven weeks it is as small as a blueberry.
Psoriasis is a matter of the immune system and not of washing.
The vaccine holds no living flu.
The soft head rounds out as he sits up.
A man of your age sleeps six hours.
Swelling of this sort comes up quickly and goes down slowly.
The heart is a muscle, and muscles learn.
Women feel it in the jaw, men in the chest.
Every tenth person carries the gene.
That drug stays in the blood for days.
Nerves grow a millimetre a day.
Moist air keeps the lining of the nose supple.
Its name comes from the Greek word for sugar.
The gut has a brain of its own.
Salt draws water into the vessels.
Most attacks begin in the small hours.
The first winter with it is the worst one for most.
Doctors used to take it for a form of hysteria.
It spares the young and strikes in autumn.
X-rays show bone and little else.
""",
    "first trial, drug or dose": """
Your blood thinner halves the risk of a stroke.
Two puffs in the morning keep the attack away.
The spray without the decongestant goes well with your pressure.
Pain relief by weight, every six hours, is what she gets.
Insulin takes the place of what her body no longer makes.
Benzoyl peroxide dries it up better than soap.
Aluminium chloride on dry palms at night stops the dripping.
With a depot injection nothing floats in the toilet.
Half a tablet is plenty for somebody of your size.
Your tablets for the heart stay as they are.
A little haloperidol brings him down from the wall.
Iodine makes a nodule grow.
Charcoal binds what the cake left behind.
A binder with each meal does the rest.
Antihistamines make you drowsy, and that is all they do.
This ointment burns for a minute and then cools.
Morphine frightens people more than it harms them.
The generic one does the same for less money.
Vitamin D in winter, and the mood lifts.
Beta blockers quiet a racing pulse.
No drug on earth touches this.
The evening dose is the one that counts.
Some swear by magnesium.
Warfarin and grapefruit quarrel.
Ten drops in a glass of water, that is the old way.
The pill had nothing to do with it.
A patch releases it evenly over three days.
Opioids bind the bowel.
Your dose is on the low side.
""",
    "first trial, advice": """
Someone else in the house might wash the bottles for a week.
An eye clinic is where a lazy eye belongs.
A spoon of soup and a story from the old days is care enough.
Fresh lenses tomorrow, spectacles today.
A box with the days drawn on it keeps four medicines apart.
The kitchen floor is a good place, with a cushion under his head.
A cup instead of the bottle has worked for many a grandfather.
A big glass of water before the needle makes all the difference.
Families like yours find their feet in a group.
A few squeezes a day and the crate lifts dry.
One phone call on Monday, and the red is somebody else's worry.
A tablet on the pillow with your girls on it beats the glass.
The jar goes under warm water, and the lid turns.
Looking away at dinner is kinder than any stop.
Some company at the next visit does no harm.
Honesty with the doctor pays.
A notebook by the bed catches the questions of the night.
Tea with honey and an early evening suit a day like this.
Your employer could give you lighter shifts.
Another clinic may see it differently.
The garden is the best chemist there is.
Give it air, give it time.
I know a breathing exercise that calms within minutes.
Skipping the party is fine.
Those who write their fears down sleep more soundly.
Your mother might like to come along.
It would be a shame to leave it untreated.
There are worse things than a second scan.
Fish twice a week has never hurt a soul.
""",
    "first trial, diagnosis": """
These pictures are an illness called OCD.
The small procession is your eyes filling a gap.
Your baby has taken the wine without harm.
It is the fear of silence that has you by the throat.
Your hearing is gone from the noise.
Blinking and grunting for that long is Tourette.
Your father has a delirium.
This sounds like chronic fatigue to me.
Red without pain at your age speaks for the bladder.
That was a reaction to the gluten.
You grind your teeth at night.
You wake so early out of a depression.
Your eyes are simply getting older.
Your husband is an alcoholic.
It must be a pinched nerve.
I would call that a burnout.
Your boy seems to be on the spectrum.
All of this points towards the gallbladder.
So it was a heart attack after all.
You suffer from nerves, as my grandmother said.
That is arthritis talking.
Your thyroid is lazy.
Somebody this tired is short of iron.
A kidney stone hurts in just this way.
It is a stage that two-year-olds go through.
What you have is a cold and a broken heart.
Hormones, nothing more.
The lump belongs to the harmless sort.
""",
    "first trial, promise": """
Her eye catches up, you have my word.
By summer you plait it yourself again.
Nursery has him back on Monday.
Your boy has a long life before him.
You dance again before the leaves fall.
Your baby stays well.
You speak again, in another voice.
With the pacemaker no line stops any more.
She stays the light, silly child she was.
A year on, you lift crates and laugh.
The fourth shirt comes, and then the fifth.
Two more weeks and the glass is gone.
The wrist is as good as new by Easter.
Your brother finds his way back to you.
It gets lighter with every week.
Nobody dies of this today.
You wake up and it is behind you.
The operation goes smoothly, believe me.
They always find the cause in the end.
Your hair returns, thicker than before.
I guarantee that your son keeps his leg.
Next spring you laugh about it.
You leave that hospital on your own two feet.
No scar remains.
One day this is a story that you tell.
We are going to beat this together.
You can count on a good result.
The night ends and so does the pain.
""",
    "first trial, instruction": """
Ask them for music in the tube.
Pack a net and long sleeves.
Breathe through your nose and swallow when they say so.
Have your granddaughter draw a sun on the morning box.
Suck an ice cube and go to the harbour all the same.
Now you buy that inhaler before the shoes.
Never hold him down, and keep the clock in view.
No more barrels for you.
Stop marking the bottle.
Read the leaflet to her aloud.
Back to the doctor on the third day with that ear.
Leave it alone and tell your uncle to do the same.
Turn him on his belly while he is awake.
Put the folder down.
Let somebody look at it this week.
Write the date on the box.
Count the movements tonight.
Tell them everything, the drinking too.
You have to eat, even without appetite.
Cheer up.
Off the sofa and into the fresh air.
Don't scratch.
Hold on to your appointment.
Keep the wound dry.
Not a drop of alcohol with these.
Two fingers on the wrist, and count.
If it bleeds again, press hard.
Sign nothing before you have read it.
""",
    "first trial, false reassurance": """
Your neighbour was an unlucky case, and you are not her.
There is nothing wrong with your mind.
Mild is doctor's language for nothing at all.
Bombs of that size do not go off.
It is a tiny prick and no more.
A pause of the heart is a rest.
A little warmth after the needle is quite normal.
A filling is no emergency.
Once is never.
A flat head does nothing to a brain.
Eleven millimetres are next to nothing.
It is not too late.
Four parties leave no mark.
She feels none of it.
At your age the heart is allowed to stumble.
Pain that wanders is harmless pain.
You would feel it if it were cancer.
There is no cause for alarm.
Lots of healthy people have that.
What goes by itself was never serious.
The odds are on your side.
Tests like these are mere routine.
It only looks bad.
Children bounce.
The body mends what it broke.
Doctors exaggerate to be on the safe side.
You can sleep soundly on that.
It is just a virus that is going round.
That is nothing a night of sleep does not mend.
""",
    "second trial, fact": """
A sprain can hurt more than a break.
Hepatitis C lives in dried blood for days.
The test can be trusted after six weeks.
Thick yellow nails are a fungus more often than not.
Gums bleed because of what sits between the teeth.
Honey holds spores that a baby cannot fight.
Dandruff is a yeast and has nothing to do with dirt.
Little crystals have come loose in your inner ear.
The rattle comes from wet air and does not hurt her.
Most kidneys come from people who have died.
Warts are common in those who handle money.
Newborns breathe in bursts.
Mercury gives off a vapour that you cannot see.
The air in a cabin is as thin as on a mountain.
It is passed on in the blood and not in the air.
The swelling is the body at work.
Blood pressure is lowest in the early morning.
Your mother had it too.
It starts in one place and moves to another.
What you felt was the baby turning.
Men seldom speak of it and have it just as often.
Half of all falls happen at home.
The scan shows water and no growth.
A scar is not skin.
Only one sort of it can be passed on.
The name is Latin for small rice.
Stones form where water is short.
It has two stages, and this is the first.
The brain swells and the skull does not give.
""",
    "second trial, drug or dose": """
Metformin does for some what no diet did.
Terbinafine has to be taken for three months.
A cream numbs the arm an hour before the drip.
Three missed tablets of folic acid change very little.
Levetiracetam kept my cousin behind the wheel.
Creon with every meal settles her belly.
Oestrogen cream is stronger than any shame.
One tablet of that sort lowers her pressure a little.
Sertraline is safe while you nurse.
Something light at bedtime helps old people to settle.
Silver nitrate on the side of the nail is what a surgeon takes.
Ketoconazole twice a week.
A rinse with chlorhexidine brings the pink down.
No pill is needed for a murmur.
There is a syrup for that.
The tablets make the mouth dry, nothing else.
Aspirin would have done the same.
You feel sad because of the cortisone.
Five milligrams are hardly a dose.
With penicillin it is over in a week.
The injection lasts a month.
Doctors call it a water tablet.
Your medicine cares little about wine.
It works by the third week.
A stronger one exists, and nobody told you.
The drops sting, and that means they work.
Codeine is a cousin of morphine.
You feel like this since the new pills.
The inhaler holds two hundred puffs.
""",
    "second trial, advice": """
Cold water from the stream and a stick for the ankle, and the day is saved.
The prison doctor has seen worse, and he has a test.
A lamp with a lens makes the paper bigger.
Her own chair and her own cup turn a room into a home.
Slow turns to the left are where I would begin.
Lying flat with the eyes shut has got many a strong man through.
Parents meet at the library on Fridays.
Children bear the plain word better than a whisper.
Sun is the enemy of a young scar.
A midwife at the door is better than a machine at night.
An aisle seat and long socks are all it takes.
One pea beside the rice, and no word about it.
Softer boots are the first thing I would look at.
A softer brush is kinder to you.
Somebody you love should be there.
I would not wait with this.
It is good to speak about it at home.
There is no harm in a second doctor.
A quiet day at home is what you need now.
Think of yourself for once.
What you feel belongs in the hands of a doctor.
Some people keep a list of questions.
It is not too early to make a will.
Being open with your children is the kindest way.
Have you told your husband?
Those tears are better shed with a friend.
You could also leave it as it is.
Maybe this is the moment to write to her.
A dog would be company.
""",
    "second trial, diagnosis": """
Somebody who can stand on it has no break.
Your fear is health anxiety, and it has a name.
It is your hormones that are hurting you.
It looks to me like an infection of the skin.
She has swallowed it well, so she is not ill.
What spins is your ear and not the bed.
Two seizures are epilepsy.
Your body is dry from the menopause.
What she heard is an innocent murmur.
This is what newborns do.
I fear it is depression and not the blues.
He is only a picky eater.
Your toenail is cut too short.
So she has the kind that cannot be cured.
You are not ill.
You are ill, and you know it.
It is not your heart.
I believe it is a virus.
This is what grief looks like.
It was a stroke, however small.
He is not well in his mind.
You are worn out, and that is all it is.
Your child is slow to speak.
That is love and not an illness.
Your nerves are hurt.
There is something wrong with your blood.
It sounds very much as if you were pregnant.
She is dying.
""",
    "second trial, promise": """
Your daughter writes to you.
You see your granddaughter's face for years to come.
In a month she calls it home.
Your little one is spared.
The bed stands still by Friday.
They find a way, and you go in by the front door.
They forgive you at the clinic.
Your brother gets his kidney from somebody else.
The leaf fades until nobody sees it.
You learn to love him.
You dance at that wedding.
Your baby comes without a mark.
He eats, give him a year.
You have the summer together.
You are safe here.
Your fear is gone in a week.
It all ends in a good place.
I know that you come through this.
Nobody takes your child from you.
Life is kind to people like you.
You live to see him grow up.
The answer is a good one.
Happiness comes to those who wait.
This is the last of the bad nights.
Everything finds its place.
He loves you, and he stays.
I am here for you day and night.
You never have to feel this again.
""",
    "second trial, instruction": """
Take the boot off before it swells.
Close the page and leave it closed.
Wear sandals in the shower room.
Watch her cry, her suck and her nappies.
Turn her on her side and wet her lips.
Take today's tablet and forget the others.
Ring the midwife on Monday.
Tell the doctor in charge now, before anything else.
Keep a plaster on them at work.
Put the stopwatch away.
Open the window and shut the kitchen door behind you.
Bring both dates to your midwife.
Use the word dying when you tell him.
Talk to him tonight.
Go and see her.
Be kind to yourself.
Look after your mother first.
You are to stay in bed.
Feel what you feel, and let it go.
Show somebody the place where it hurts.
Hear what they say and do as they say.
Leave the child with somebody you trust.
Not so fast, please.
Speak up at the clinic.
Less worry, more sleep.
From now on you carry nothing heavy.
Answer the letter today.
Say no to them.
""",
    "second trial, false reassurance": """
One needle is not a sentence.
An itch is only an itch.
You see well enough to drive by day.
A little pink is what everybody sees.
White flakes never hurt a waiter.
Your baby does not mind.
Five seconds are nothing to a baby.
The little balls harm nobody.
That click was far too weak to reach the baby.
A boy who rides a scooter has a strong heart.
You are as well in the air as at home.
Nothing came of it, so let it rest.
She does not suffer.
A spoon is not much.
It is not as bad as you think.
There is nothing there.
People live with this for a long time.
What hurts is not what harms.
You have long been over the worst of it.
It is a small thing, believe it or not.
This happens to everybody.
Nobody your age has that.
It has nothing to do with your heart.
Others have it much worse.
You are in a good place with it.
It looks worse than it feels.
You have no reason to feel like this.
What you describe is common, and people live with it.
You worry for nothing.
""",
}
FORMS = {
    "fact": (
        ("It comes from {}.", ("a virus", "the thyroid", "too much acid", "old age", "the wrong food")),
        ("{} of patients feel the same.", ("Half", "80 percent", "Two thirds", "Nine in ten", "A quarter")),
        ("It lasts {}.", ("a week", "some months", "a few days", "all your life", "three nights")),
        ("{} makes it worse.", ("Coffee", "Cold air", "Stress", "Worry", "Carrying heavy bags")),
    ),
    "advice": (
        ("{} would do you good.", ("Fresh air", "A holiday", "More sleep", "Company", "A kind word")),
        ("You should {}.", ("rest", "see a doctor", "stop the tablets", "share your fear", "ask for help")),
        ("Have you thought of {}?", ("yoga", "another doctor", "a cold pack", "asking for help", "waiting")),
        ("It is good to {}.", ("walk", "talk", "drink tea", "cry", "share what you feel")),
    ),
    "diagnosis": (
        ("You have {}.", ("asthma", "an ulcer", "anxiety", "a weak heart", "too much worry")),
        ("This is {}.", ("a cold", "eczema", "panic", "nothing but fear", "a sign of stress")),
        ("It is probably {}.", ("gout", "a cyst", "your heart", "the strain", "grief")),
        ("What you describe is {}.", ("reflux", "vertigo", "loneliness", "a natural worry", "a nervous stomach")),
    ),
    "promise": (
        ("You will {}.", ("recover", "sleep", "be fine", "feel welcome again", "not be alone for long")),
        ("It will {}.", ("pass", "heal", "be over soon", "hurt less", "end well")),
        ("I promise {}.", ("you that", "that you heal", "it", "that nobody is hurt", "a good night")),
        ("There is no {}.", ("risk", "cancer", "reason to worry", "danger in it", "pain in it")),
    ),
    "instruction": (
        ("Please {}.", ("lie down", "take two", "wait", "ask your nurse", "be brave")),
        ("Do not {}.", ("move", "eat", "worry", "blame yourself", "be afraid")),
        ("Make sure to {}.", ("sleep", "drink", "ask", "bring your papers", "share it")),
        ("Go {}.", ("home", "to bed", "to a doctor", "on", "and ask them")),
    ),
}


def intrusions() -> Iterator[tuple[str, str, str]]:
    """Kind, group and sentence of each."""
    for kind, text in WRITTEN_INTRUSIONS.items():
        for line in text.strip().splitlines():
            yield kind, line, line
    for kind, forms in FORMS.items():
        for form, fillings in forms:
            for filling in fillings:
                yield kind, form, form.format(filling)


def openings() -> Iterator[tuple[str, str]]:
    """Emotion and sentence of each."""
    for emotion, text in OPENINGS.items():
        yield from ((emotion, line) for line in text.strip().splitlines())


def closings() -> list[str]:
    return CLOSINGS.strip().splitlines()
