"""English words that carry no medical fact: what a rewriter may add, drop or exchange freely.

    FUNCTION   grammar: never content
    ORDINARY   everyday and comforting words: content, but no names

Whatever is in neither list is treated as a name (of a drug, a disease, a relative): it must survive.
Written by hand for Bedside; a word too few makes the verifier stricter, a word too many blinder.
"""

FUNCTION = frozenset(
    """
a about above across actually after again against ago ah all almost along already also although altogether am among an
and another any anybody anyone anything anyway are around as aside at away back be because been before began begin being
below beside besides between beyond both but by came come comes could did do does doing done down due during each
either else elsewhere enough especially et etc even ever every everybody everyone everything except far few first
firstly for former from further furthermore generally get gets getting give given gives go goes going gone got had has
have having he hence her here hers herself him himself his how however i if in indeed instead into is it its itself
just keep keeps kept largely last latter least less let like likely made mainly make makes making many may maybe me
mean means meanwhile might mine more moreover most mostly much must my myself namely near nearly neither never
nevertheless next no nobody none nonetheless nor normally not nothing now nowhere of off often oh on once one only onto
or other others otherwise ought our ours ourselves out over overall own part partly particular particularly per perhaps
please plus possible possibly put quite rather really regarding respectively same say second secondly see seem seemed
seems seen several shall she should simply since so some somebody someone something sometimes somewhat somewhere soon
still such take taken takes taking than that the their theirs them themselves then there thereby therefore these they
thing things third this those though through throughout thus till to together too toward towards typically under unless
until up upon us use used useful uses using usually various very via was way ways we well went were what whatever when
whenever where whereas wherever whether which while who whoever whole whom whose why will with within without would yes
yet you your yours yourself yourselves able allow allows called known based include includes including included consist
consists contain contains involve involves refer refers e g ie eg s t ve ll re d m am let's okay ok
""".split()
)

ORDINARY = frozenset(
    """
able about accept ache across act action add address adult advice afraid afternoon age agree ahead air alone amount
anger angry animal answer anxiety anxious apart appear appointment area arm ask asked asking asleep ate aware awake
awful baby bad balance bear beautiful become bed begin behavior behaviour belief believe belong beneath best better big
birth bit blame body book born bother boy brave break breath breathe breathing bright bring  brought build
building burden busy buy calm calmly can care cared careful carefully caring carry carried case catch cause caused
causes center certain certainly chance change changed changes check child children choice choose clean clear clearly
clinic close clothes cold comfort comforting common community companion company complete completely concern concerned
concerning concerns confidence confident confused connect consider considerable continue control conversation cope
coping could count country couple courage course cover cry crying cup daily dark  day days deal dear decide
decision deep deeply describe deserve detail details develop developed development die different difficult difficulty
direct discuss disease disorder distress doctor doctors door doubt dream drink drive drop dry eager early ease easier
easily easy eat effect effects effort embarrassed emotion emotional empathy encourage end enjoy entire environment
equal evening event eventually evidence exact exactly example exercise expect expected experience expert explain
express eye eyes face fact facts fair faith fall familiar family  fault fear fearful feel feeling feelings feet
fell felt figure fill final finally find finding fine finish fit floor follow followed following food foot form forward
found free fresh friend friends frighten frightened frightening full fully future gain game gather general gentle
gently gift girl glad go goal good  great grief group grow grown growth guide guilt guilty hand handle
handled hands happen happened happens happy hard head heal healing health healthy hear heard hearing heart heavy held
help helped helpful helpless helplessness helping helps high hold holding home honest hope hopeful hopeless hour hours
house human hungry hurt hurting  idea ill illness imagine important impossible improve improved include
increase indeed individual individuals information inside interest issue issues job join journey joy kind kindly
kindness kitchen knew know knowing knowledge lack language large late later laugh lead learn leave led left leg letter
level life lift light line list listen listened listening little live lived living local lonely loneliness long look
looked looking lose loss lost lot loud love loved lovely low main major manage manageable managed man manner matter
matters meal meals mean meaning medical medicine medicines medication medications meet member mention met mild mind
minute minutes mistake moment moments money month months mood morning  mouth move moved moving name natural
naturally nature near necessary need needed needs nervous new nice night normal note notice number nurse obvious occur
occurs offer offered office old open opinion option options order ordinary outcome outside overwhelm overwhelmed
overwhelming own page pain parent parents partner past patience patient patients people perfect perfectly period
person personal physician place plain plan plans play point poor position positive possible power powerful practice
prepare present pressure pretty prevent pride private probably problem problems process professional professionals
progress promise proper properly protect proud provide provided provider providers quality question questions quick
quickly quiet quietly raise ran reach react read ready real reality realize reason reasonable reasons reassure
reassuring receive recent recently recognize recommend recover recovery reduce relationship relax relief relieve
remain remember remind report require required research researchers resource resources respect response rest result
results return right risk road room rough rule sad sadness safe safely safety said sat saw scare scared scary school
search season seek sense sensible separate serious seriously service set settle share shared sharing shame ashamed
short show shown side sign signs significant silence silent similar simple single  sit sitting situation size
sleep slight slow slowly small smile social soft softly solve  soothe sorrow sorry sort sound sounds space speak
special specific spend stage stand standing start started state stay stayed staying step steps stop story strain
strange strength stress strong strongly struggle struggling stuck student study subject success sudden suddenly suffer
suffering suggest sum support supported supporting supportive sure surely surprise symptom symptoms system table talk
talked talking task teach team tears tell telling term terms terrible terrify terrified thank thankful thanks think
thinking thought thoughts threat time times tired today told tomorrow tonight touch tough town train treat treated
treatment treatments trouble troubled true truly trust truth try trying turn type understand understandable
understanding understood unique unknown upset upsetting usual valid value view visit voice wait waiting walk want
wanted wants warm warmly warmth warn watch water weak week weeks weigh weight welcome  willing wish woman women
wonder wonderful word words work worked working works world worried worry worries worrying worse worst worth worthy
write writing wrong year years young
instance addition besides typical common commonly rare rarely frequent widespread standard average overall total
current currently previous previously early earlier later following certain specific particular similar different
various certain severe severity moderate mild serious minor major primary secondary main central local global amount
approach aspect attempt avoid aware basic basis behave benefit benefits cautious classify combination combine compare
compared comparison completely complicated component concept conclude condition conditions conduct confirm consequence
consequences consideration constant create critical data date define definition degree demand depend depends design
despite determine difference differences discover discovery distinct distribution divide double effective efficient
element emerge enable encounter estimate estimated evaluate evident examine excellent exist existing experiment
explanation explore extend extent external extra extreme extremely factor factors failure favor feature features field
focus force frequency frequent function functions further gradual gradually highly hundred identical identify
impact importance impression individual industry influence initial initially instead instruction intend intention
internal interpret introduce investigate investigation involve key lack lesser limit limited limits link located
location loose lower majority maximum measure measures mental method methods middle minimum miss model modern monitor
motion multiple national necessity negative none noticeable object objective observe obtain occurrence odd ongoing
operate operation opposite organize origin original overview pattern perform performed permanent physical piece
population portion possess potential potentially precise preferred presence presentation primarily principle prior
priority procedure procedures produce produced product production proportion propose protection public purpose quantity
random rapid rapidly rate rates recognition record records recommendation region regular regularly regulate related
relation relative relatively reliable remove repeat replace report reported reports requirement responsible restore
restrict role routine scale scientist scientists select selection sensitive sequence series severe shape shift
signal situation slightly solution source speed stable statement strategy structure style substance substantial
successful sufficient suitable summary surface surround technique techniques temporary tend tends theory thick thin
thousand topic total trace track trained training transfer trial trials ultimate underlying undergo unit unlike
unusual update upper vary varies varying version visible volume wide widely worldwide young younger
thankfully luckily importantly additionally similarly consequently accordingly specifically fortunately occasionally
frequently commonly rarely sometimes numerous plenty majority variety range
       guest     elderly  
""".split()
)
