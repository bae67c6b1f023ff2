"""English words without a medical fact, which a rewrite may add, drop or exchange.

    FUNCTION   function words: grammar, no content
    ORDINARY   everyday and comforting words: content, but not names

A word in neither list counts as a name (of a drug, a disease, a relative) and must be kept in a rewrite. The lists are
written by hand. A missing word makes the fact check stricter; a superfluous word makes it miss errors.
"""

_FUNCTION = """
a able about above across actually after again against ago ah all allow allows almost along already also
although altogether am among an and another any anybody anyone anything anyway are around as aside at away back
based be because been before began begin being below beside besides between beyond both but by called came come
comes consist consists contain contains could d did do does doing done down due during e each eg either else
elsewhere enough especially et etc even ever every everybody everyone everything except far few first firstly
for former from further furthermore g generally get gets getting give given gives go goes going gone got had has
have having he hence her here hers herself him himself his how however i ie if in include included includes
including indeed instead into involve involves is it its itself just keep keeps kept known largely last latter
least less let let's like likely ll m made mainly make makes making many may maybe me mean means meanwhile might
mine more moreover most mostly much must my myself namely near nearly neither never nevertheless next no nobody
none nonetheless nor normally not nothing now nowhere of off often oh ok okay on once one only onto or other
others otherwise ought our ours ourselves out over overall own part particular particularly partly per perhaps
please plus possible possibly put quite rather re really refer refers regarding respectively s same say second
secondly see seem seemed seems seen several shall she should simply since so some somebody someone something
sometimes somewhat somewhere soon still such t take taken takes taking than that the their theirs them
themselves then there thereby therefore these they thing things third this those though through throughout thus
till to together too toward towards typically under unless until up upon us use used useful uses using usually
various ve very via was way ways we well went were what whatever when whenever where whereas wherever whether
which while who whoever whole whom whose why will with within without would yes yet you your yours yourself
yourselves
"""
_ORDINARY = """
able about accept accordingly ache across act action add addition additionally address adult advice afraid
afternoon age agree ahead air alone amount anger angry animal answer anxiety anxious apart appear appointment
approach area arm ashamed ask asked asking asleep aspect ate attempt average avoid awake aware awful baby bad
balance basic basis bear beautiful become bed begin behave behavior behaviour belief believe belong beneath
benefit benefits besides best better big birth bit blame body book born bother boy brave break breath breathe
breathing bright bring brought build building burden busy buy calm calmly can care cared careful carefully
caring carried carry case catch cause caused causes cautious center central certain certainly chance change
changed changes check child children choice choose classify clean clear clearly clinic close clothes cold
combination combine comfort comforting common commonly community companion company compare compared comparison
complete completely complicated component concept concern concerned concerning concerns conclude condition
conditions conduct confidence confident confirm confused connect consequence consequences consequently consider
considerable consideration constant continue control conversation cope coping could count country couple courage
course cover create critical cry crying cup current currently daily dark data date day days deal dear decide
decision deep deeply define definition degree demand depend depends describe deserve design despite detail
details determine develop developed development die difference differences different difficult difficulty direct
discover discovery discuss disease disorder distinct distress distribution divide doctor doctors door double
doubt dream drink drive drop dry eager earlier early ease easier easily easy eat effect effective effects
efficient effort elderly element embarrassed emerge emotion emotional empathy enable encounter encourage end
enjoy entire environment equal estimate estimated evaluate evening event eventually evidence evident exact
exactly examine example excellent exercise exist existing expect expected experience experiment expert explain
explanation explore express extend extent external extra extreme extremely eye eyes face fact factor factors
facts failure fair faith fall familiar family fault favor fear fearful feature features feel feeling feelings
feet fell felt field figure fill final finally find finding fine finish fit floor focus follow followed
following food foot force form fortunately forward found free frequency frequent frequently fresh friend friends
frighten frightened frightening full fully function functions further future gain game gather general gentle
gently gift girl glad global go goal good gradual gradually great grief group grow grown growth guest guide
guilt guilty hand handle handled hands happen happened happens happy hard head heal healing health healthy hear
heard hearing heart heavy held help helped helpful helping helpless helplessness helps high highly hold holding
home honest hope hopeful hopeless hour hours house human hundred hungry hurt hurting idea identical identify ill
illness imagine impact importance important importantly impossible impression improve improved include increase
indeed individual individuals industry influence information initial initially inside instance instead
instruction intend intention interest internal interpret introduce investigate investigation involve issue
issues job join journey joy key kind kindly kindness kitchen knew know knowing knowledge lack language large
late later laugh lead learn leave led left leg lesser letter level life lift light limit limited limits line
link list listen listened listening little live lived living local located location loneliness lonely long look
looked looking loose lose loss lost lot loud love loved lovely low lower luckily main major majority man manage
manageable managed manner matter matters maximum meal meals mean meaning measure measures medical medication
medications medicine medicines meet member mental mention met method methods middle mild mind minimum minor
minute minutes miss mistake model moderate modern moment moments money monitor month months mood morning motion
mouth move moved moving multiple name national natural naturally nature near necessary necessity need needed
needs negative nervous new nice night none normal note notice noticeable number numerous nurse object objective
observe obtain obvious occasionally occur occurrence occurs odd offer offered office old ongoing open operate
operation opinion opposite option options order ordinary organize origin original outcome outside overall
overview overwhelm overwhelmed overwhelming own page pain parent parents particular partner past patience
patient patients pattern people perfect perfectly perform performed period permanent person personal physical
physician piece place plain plan plans play plenty point poor population portion position positive possess
possible potential potentially power powerful practice precise preferred prepare presence present presentation
pressure pretty prevent previous previously pride primarily primary principle prior priority private probably
problem problems procedure procedures process produce produced product production professional professionals
progress promise proper properly proportion propose protect protection proud provide provided provider providers
public purpose quality quantity question questions quick quickly quiet quietly raise ran random range rapid
rapidly rare rarely rate rates reach react read ready real reality realize reason reasonable reasons reassure
reassuring receive recent recently recognition recognize recommend recommendation record records recover
recovery reduce region regular regularly regulate related relation relationship relative relatively relax
reliable relief relieve remain remember remind remove repeat replace report reported reports require required
requirement research researchers resource resources respect response responsible rest restore restrict result
results return right risk road role room rough routine rule sad sadness safe safely safety said sat saw scale
scare scared scary school scientist scientists search season secondary seek select selection sense sensible
sensitive separate sequence series serious seriously service set settle severe severity shame shape share shared
sharing shift short show shown side sign signal significant signs silence silent similar similarly simple single
sit sitting situation size sleep slight slightly slow slowly small smile social soft softly solution solve
sometimes soothe sorrow sorry sort sound sounds source space speak special specific specifically speed spend
stable stage stand standard standing start started state statement stay stayed staying step steps stop story
strain strange strategy strength stress strong strongly structure struggle struggling stuck student study style
subject substance substantial success successful sudden suddenly suffer suffering sufficient suggest suitable
sum summary support supported supporting supportive sure surely surface surprise surround symptom symptoms
system table talk talked talking task teach team tears technique techniques tell telling temporary tend tends
term terms terrible terrified terrify thank thankful thankfully thanks theory thick thin think thinking thought
thoughts thousand threat time times tired today told tomorrow tonight topic total touch tough town trace track
train trained training transfer treat treated treatment treatments trial trials trouble troubled true truly
trust truth try trying turn type typical ultimate undergo underlying understand understandable understanding
understood unique unit unknown unlike unusual update upper upset upsetting usual valid value varies variety
various vary varying version view visible visit voice volume wait waiting walk want wanted wants warm warmly
warmth warn watch water weak week weeks weigh weight welcome wide widely widespread willing wish woman women
wonder wonderful word words work worked working works world worldwide worried worries worry worrying worse worst
worth worthy write writing wrong year years young younger
"""

FUNCTION = frozenset(_FUNCTION.split())
ORDINARY = frozenset(_ORDINARY.split())
