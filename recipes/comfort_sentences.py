"""Sentences written for the comfort classifier: unkind ones and kind ones with nearly the same words.

``UNKIND`` and ``KIND`` teach (recipes/comfort_classifier.py); ``OTHER_UNKIND`` and ``OTHER_KIND`` measure, and were
written before the first measurement and not changed after it. Nobody said any of them.
"""

UNKIND = """
You brought this on yourself.
It is your own fault that it came to this.
Anybody with some sense would have come sooner.
You should have thought of that before.
Frankly, a good mother would have noticed.
Guilty is exactly what you ought to feel.
You have every reason to be ashamed of yourself.
Your family is right to be angry with you.
What did you expect, after all those years of smoking?
You are wasting my time with this.
Stop whining, others have it much worse.
Don't be such a baby about it.
Pull yourself together.
You are being hysterical.
There is nobody to blame here but you.
If you had listened to your doctor, she would be well now.
You let him down when he needed you.
Only a careless person leaves tablets lying about.
You chose to eat that, so live with it.
Crying will not change what you did.
Nobody likes a patient who complains.
It is no wonder that your friends keep away.
You are a burden to your husband, and you know it.
Honestly, I would be embarrassed in your place too.
That was a stupid thing to do.
Lazy people always get bad backs.
A grown man does not cry about a needle.
You could have prevented all this, and you did not.
This is what happens to people who don't take care of themselves.
Your weight is your own doing.
I have no patience with people like you.
You have failed her, and she will remember it.
Really, again this question?
Come on, it is only a scratch.
You make too much of everything.
Your fear is ridiculous.
Such a fuss about nothing.
A responsible father would have locked the cupboard.
You were told, and you did not listen.
Feel bad then, you have earned it.
Yes, you did this to your child.
It is disgusting, and people will notice.
You only have yourself to thank for it.
Everyone in the ward is tired of your calls.
Get over it.
You deserve this pain.
How could you be so careless with a child?
I can see why nobody visits you.
Had you been a better daughter, he would have eaten.
You ought to be punished for that.
The blame is yours and it stays yours.
It was irresponsible of you to wait.
Your own neglect did it.
Next time use your head.
Other people manage this without tears.
You are too old to be frightened of the dark.
"""

KIND = """
You did not bring this on yourself.
It is not your fault that it came to this.
Anybody would have waited, with what you knew then.
Nobody could have thought of that before.
A good mother asks exactly what you ask.
You feel guilty, and yet nothing you did caused it.
There is nothing here to be ashamed of.
Your family may be angry, and you still deserve help.
Smoking is hard to leave, and you have come all the same.
Your question is worth my time.
That others have it worse does not make your pain smaller.
Being frightened of this is not childish.
You do not have to hold yourself together here.
Nothing about this is hysterical.
Nobody is to blame here.
You listened to your doctor and it came anyway.
You were there when he needed you.
It happens in careful houses too.
Crying is allowed here.
You may complain, that much pain is a good reason.
Your friends may not know what to say.
You are not a burden to your husband.
It was a mistake, and everybody makes some.
A bad back is not laziness.
Grown men are afraid of needles, and it is fine.
You could not have prevented this.
You have taken care of yourself as well as you could.
Weight is more than a matter of will.
You have not failed her.
Ask this again as often as you need.
Your fear makes sense.
It is no fuss to ask about this.
A father who watches over her like this is not careless.
You heard a hard sentence and you did not deserve it.
You feel bad because you care.
You did not do this to your child.
Nobody in the ward is tired of your calls.
You need not get over it quickly.
You do not deserve this pain.
You were a good daughter to him.
Nobody will punish you for that.
Waiting was an understandable choice.
Tears are welcome.
"""

OTHER_UNKIND = """
Anyone in your place would be guilty.
You have only got what you asked for.
A decent parent would never have left the room.
Maybe now you will learn your lesson.
No use in feeling sorry for yourself, you caused it.
You must have known that this would happen.
Your wife is ill because you would not stop smoking at home.
Grow up and take the injection.
It serves you right.
What kind of son forgets his mother's pills?
You are overreacting, as usual.
You are making a drama out of a rash.
People with your habits should not be surprised.
Your laziness has a price.
Shame on you for hiding it so long.
I am afraid that you are the one who gave it to him, so carry that.
Your neighbours are right to talk about you.
It is pathetic to be scared of a scan.
You simply do not try hard enough.
Her suffering is on your conscience.
If you were not so greedy, your sugar would be fine.
Nobody forced you to drink.
Don't come running to us when it gets worse.
You should be embarrassed to ask that.
Any idiot can read a label.
You let it rot for months, and now you cry.
Stop bothering the nurses with your moods.
It is hard to feel pity for somebody who did this to himself.
You were a bad example to your children.
With your attitude, no treatment will help.
He would still be alive if you had called.
The accident was down to your carelessness.
It is selfish of you to think of yourself now.
You ruined her childhood with your illness.
Frankly, I find your question tasteless.
You cannot blame your colleagues for avoiding you.
You have neglected yourself, and it shows.
Your tears don't impress anyone.
This would never happen to a tidy person.
You are weak, that is the whole trouble.
"""

OTHER_KIND = """
Anyone in your place would feel guilty, and yet you are not.
You did not ask for any of this.
A loving parent leaves the room a hundred times.
There is no lesson that you had to learn from this.
You may feel sorry for yourself for a while.
You had no way of knowing that this would happen.
Smoke at home is not why your wife is ill.
An injection is frightening at every age.
Nobody earns an illness.
Sons forget things, and you came back with the pills.
You are not overreacting.
A rash can be a drama when it itches all night.
No habit of yours makes you less worth caring for.
What you call laziness is tiredness.
You hid it so long because it was hard.
Whoever gave it to him, nobody meant to.
Your neighbours do not have to know.
Many people are scared of a scan.
You try harder than anybody sees.
Her suffering is not on your conscience.
Sugar is no verdict on your character.
You wanted to stop drinking, and you said so.
Come to us whenever it gets worse.
It took courage to ask that.
Labels are hard to read when you are frightened.
You lived with it for months, and now it may hurt aloud.
The nurses will not mind your moods.
I feel for you, whatever you did.
Your children have a parent who looks for help.
Being discouraged is part of this illness.
You could not have saved him by calling.
An accident is an accident.
It is not selfish to think of yourself now.
Your illness did not ruin her childhood.
No question about this is tasteless.
It hurts when colleagues keep away.
You have looked after others before yourself, and it shows.
Your tears are in good hands.
It happens in tidy houses as well.
You are not weak, you are worn out.
"""
