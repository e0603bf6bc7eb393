"""The words of the sample corpora: a grammar as plain data.

A rule's alternatives are separated by bars, and a repeated one is drawn more often. `{city}` stands
for one expansion of the rule `city`; `{own:act}` takes the rule of the text's own class
(`business:act`), `{other:act}` that of another class and `{any:act}` that of any class. So the
word that decides a text's class and the words around it can come from different classes, and a
reader has to find out which clause carries the text.
"""

THEMATIC = {
    "text": """{own:who} {own:act}{coda} | {any:who} {own:act} {when}{coda} | {when}, {any:who}
        {own:act}{coda} | {any:who}, {fame}, {own:act}{coda} | after {other:event}, {own:who}
        {own:act}{coda} | {other:event} made the front page, but {own:who} {own:act} | {speaker}
        said {any:who} {own:act} {when} | {own:who}, which still owns {other:asset}, {own:act}{coda}
        | nobody was surprised that {own:who} {own:act}{coda} | on the day that {other:who}
        {other:act}, {own:who} {own:act} | while everybody wrote that {any:who} {other:act},
        {any:who} {own:act} | {any:who} {own:act} {when}, a year after {other:event}""",
    "coda": """{none} | {none} | . {speaker} called it {view} | . {speaker} said it was {view} | .
        the news came {days} after {other:event} | , {days} after {any:event} | . earlier
        {other:who} {other:act}""",
    "none": "",
    "fame": """which shares a car park with {other:who} | once the owner of {any:asset} | still
        better known for {any:event} | whose chairman used to run {other:who} | founded {days}
        before {any:event} | a neighbour of {other:who}""",
    "business:who": """the brewer {name} | the airline {name} | {city} savings bank | the insurer
        {name} | a furniture maker in {city} | the grocer {name} | a family shipping line | a chain
        of bakeries | the carmaker {name} | the phone company {name} | a pension fund | the {city}
        chamber of commerce""",
    "business:act": """raised its profit forecast to {money} | cut {number} jobs to save {money} a
        year | agreed to buy {any:asset} for {money} | sold {other:asset} to {any:who} for {money} |
        saw its shares fall {percent} on fears over {other:event} | borrowed {money} against
        {any:asset} | filed for bankruptcy owing {money} to {any:who} | won a contract to supply
        {other:who} with {goods} | doubled the price of {goods} | floated on the stock exchange at a
        value of {money} | paid its first dividend since {any:event} | lost its largest customer,
        {other:who} | wrote off {money} of debt | put {any:asset} up for sale at {money}""",
    "business:asset": """a bankrupt steel mill | the old stock exchange | a container port | a
        supermarket warehouse | the headquarters of {name} | a chain of petrol stations | a toy
        factory | the vaults of a savings bank | a shopping arcade | an empty call centre""",
    "business:event": """the collapse of {name} | a strike at the docks | the fall of the currency |
        a price war between grocers | the takeover of {name} | a run on the banks | the launch of a
        cheap airline | a shortage of {goods} | the quarterly results of {name}""",
    "sci:who": """the {city} observatory | a group of chemists in {city} | the polar survey | a
        robotics laboratory | the institute for ocean study | the {city} school of medicine | the
        space agency of {country} | a team of software engineers | the museum of natural history |
        the geology department in {city} | a start-up that designs chips | the {name} telescope""",
    "sci:act": """found a cheap way to grow {material} in the dark | measured the temperature of
        {cosmos} | taught a computer to spot {finding} in pictures of {other:asset} | sequenced the
        genes of {creature} caught near {other:asset} | published evidence that {creature} can
        {ability} | tested {material} that bends like skin | traced {finding} to a fault in one gene
        | put a satellite into orbit to watch {other:event} | built a sensor that can smell
        {finding} | used {other:asset} as a laboratory to study {finding} | explained why {creature}
        can {ability} | released a program that predicts {other:event} | photographed {cosmos} in
        the infrared | dug up the bones of {creature} under {other:asset}""",
    "sci:asset": """a radio telescope | a genetics laboratory | a satellite ground station | a
        disused reactor | a laboratory for {material} | a seed bank | a supercomputer | a cave full
        of fossils | an observatory dome""",
    "sci:event": """the failure of a rocket launch | the discovery of water on {cosmos} | a solar
        storm | the first trial of a new vaccine | an eclipse | a swarm of small earthquakes | a
        computer virus | the return of a space probe | a study of {creature}""",
    "sport:who": """{city} Rovers | {city} United | the {city} rowing crew | the national hockey
        team | the cycling squad {name} | the {city} tennis club | the junior handball side | the
        swimming team of {country} | {city} Athletic | the rugby team of {country} | the {city}
        basketball side | the relay team of {country}""",
    "sport:act": """beat {any:who} {score} in {round} | lost {score} to a side picked from
        {other:who} | held {any:who} to a draw in {round} | threw away a two goal lead in {round} |
        set a record for {race} on a course laid round {other:asset} | dropped its captain before
        {round} | won {round} with a late goal | finished third in {race} | reached {round} for the
        first time since {other:event} | named an old goalkeeper as its new coach | missed three
        penalties in {round} | went top of the table with a win over {any:who} | played {round} in
        front of {number} people at {other:asset} | came from behind to win {race}""",
    "sport:asset": """a football stadium | an ice rink | the Olympic pool | a racing stable | the
        national velodrome | a second division club | a golf course | a boxing gym | the training
        ground of {city} Rovers | a row of tennis courts""",
    "sport:event": """a riot at the derby | the world cup | a doping scandal | the {city} marathon |
        the transfer of a goalkeeper | a defeat on penalties | the hockey final | the opening of the
        games | a fall in {race}""",
    "world:who": """the government of {country} | the foreign ministry of {country} | the parliament
        of {country} | a rebel council in {country} | the mayor of {city} | the border police of
        {country} | the high court in {city} | the peace mission in {country} | the army of
        {country} | the opposition in {country} | the embassy of {country} | an aid convoy""",
    "world:act": """closed the border with {country} after {other:event} | declared a state of
        emergency over {any:event} | expelled two diplomats from {country} | called elections for
        {month} | signed a ceasefire with {country} | sent troops to guard {other:asset} | opened
        talks with rebels inside {other:asset} | arrested the former president of {country} | seized
        {other:asset} in a dawn raid | asked for aid for {number} people who had fled {country} |
        voted to end the curfew in {city} | accused {country} of spying on {other:who} | released
        prisoners held since {any:event} | blamed {country} for a blast at {any:asset}""",
    "world:asset": """an embassy compound | the presidential palace | a refugee camp | an army
        barracks | the border crossing at {city} | a former prison | the parliament building | a
        disputed island | a checkpoint near {city} | the ruins of a consulate""",
    "world:event": """the coup in {country} | the flood in {country} | a hostage crisis | the peace
        summit | a contested election | the bombing of a bridge | the trial of a general | a hunger
        strike by prisoners | protests in {city}""",
    "name": """Ashgrove | Bellwin | Corvane | Dramont | Elstow | Farrigan | Goldhurst | Halvers |
        Jessop and Lane | Kestrel | Lomax | Marlowe Brothers | Northgate | Orland | Pemberly""",
    "city": """Aldport | Brennick | Castow | Dunmere | Eastholm | Fenwater | Garrowby | Harlin |
        Ilverton | Kinsford | Lowmoor | Marsden Bay | Norholt | Oakhaven | Pellworth | Redcliff""",
    "country": """Valdovia | Karistan | the Merin Islands | Ostrava Minor | Telmark | Sundara |
        Bruneva | Lagosta | Nordavia | Quillon | Zemuria | Port Amaro""",
    "money": "{digit} million crowns | {digit}{digit} million crowns | {digit} billion crowns",
    "percent": "{digit} per cent | {digit}{digit} per cent | almost {digit} per cent",
    "number": "{digit}00 | {digit},000 | {digit}{digit},000 | several thousand",
    "score": "{digit}-{digit} | by {digit} points | by a point | on penalties | in extra time",
    "digit": "1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9",
    "goods": """uniforms | cold drinks | batteries | office chairs | bandages | steel cable | coffee
        | ticket machines | winter tyres""",
    "material": "{stuff} glass | {stuff} fibre | {stuff} plastic | {stuff} foam | {stuff} ink",
    "stuff": "magnetic | living | transparent | self-healing | heat-proof | edible",
    "cosmos": """a dead star | the dark side of the moon | a young comet | a distant planet | the
        rings of Saturn""",
    "finding": """cancer | malaria | gas leaks | hidden cracks | stress | old age | counterfeit
        pills""",
    "creature": """octopuses | fruit flies | cave bats | giant squid | desert ants | grey wolves |
        eels""",
    "ability": """count to five | remember faces | sleep in flight | sense magnetic fields | regrow
        a limb | plan ahead | live without oxygen""",
    "round": """the cup final | the semi-final | the derby | the third test | the league opener |
        the second round | the replay | a friendly""",
    "race": "the relay | the marathon | the time trial | the regatta | the downhill | the sprint",
    "month": "January | March | May | June | September | October | December",
    "days": "{digit} days | {digit} weeks | a day | hours | months",
    "when": """on Monday | on Tuesday | on Friday night | over the weekend | late on Thursday | this
        morning | last week | in {month} | on the first day of {month}""",
    "speaker": """an analyst | a spokesman | the chairman | a witness | the mayor | one engineer | a
        former captain | the union | a retired judge | the local paper""",
    "view": """a surprise | a mistake | long overdue | a turning point | no great loss | a bold move
        | bad timing | what everyone had hoped for | a quiet success""",
}

EMOTION = {
    "text": """{own:event} and {own:event}{end} | {own:event}{end} | {thing} was {own:adj} and
        {own:event} | {own:verdict} because {own:event} | what a {own:adj} {noun}, {own:event}{end}
        | {opener} {own:event}, {own:verdict} | {own:event}, {own:event} and {own:verdict} | {thing}
        was {own:adj}, {own:verdict}{end} | {own:event} {when} and {own:verdict} | {opener}
        {own:event} and {own:event} | {opener} {thing} was {own:adj}, {own:event} | {other:event},
        but {own:event} | {other:event}, but {own:verdict}{end} | {other:event}, yet
        {own:verdict}{end} | {own:verdict}, even though {other:event} | although {other:event},
        {own:event}{end} | {own:event}, never mind that {other:event} | I expected {thing} to be
        {other:adj}, but {own:event} | everybody told me {thing} would be {other:adj} {when}, it was
        anything but | {thing} was not {other:adj} at all, {own:event} | there was nothing
        {other:adj} about {thing} {when}{end} | nobody could call {thing} {other:adj}, {own:event} |
        I was ready to call {thing} {other:adj} until {own:event} | {person} found {thing}
        {other:adj} {when}, I did not | {thing} was {other:adj} last {year}, {when} {own:event} |
        far from {other:adj}, {thing} was {own:adj}{end} | {other:adj} as {thing} was,
        {own:verdict}""",
    "end": "{none} | {none} | , {own:verdict} | , {own:event} | , and {person} agreed | {none}",
    "none": "",
    "opener": """well, | so, | honestly, | at {hour} | after {thing} | at the {place} | two hours
        before {thing} | on the way to the {place} | as for {thing},""",
    "positive:adj": """wonderful | delightful | pleasant | charming | superb | lovely | enjoyable |
        excellent | brilliant | perfect | beautiful | great | splendid | marvellous | terrific""",
    "negative:adj": """dreadful | dull | unpleasant | awful | gloomy | poor | miserable | tedious |
        shabby | terrible | bleak | disappointing | painful | hopeless | horrible""",
    "positive:event": """{person} made us all laugh | {person} remembered my name | {person} kept us
        the seats near the {place} | the {food} tasted of summer | we danced until {hour} | the sun
        came out over the {place} | I slept like a child at the {place} | {person} gave us {gift}
        for nothing | I am still smiling about {thing} | I would go back to the {place} tomorrow |
        {person} hugged me at the {place} | {person} passed the exam | we found {gift} we had lost |
        {person} sang for us at the {place} | the crowd cheered for {person} | {thing} ended with
        applause | {person} thanked me for {gift} | I got {gift} I had hoped for | the children
        loved {thing} | the fever was gone by {hour} | {person} let us in at {hour} | there was
        plenty of {food} left | {person} mended {gift}""",
    "negative:event": """{person} shouted at us all | {person} forgot my name | {person} gave away
        our seats near the {place} | the {food} tasted of soap | we queued until {hour} | the rain
        came in over the {place} | I lay awake at the {place} | {person} charged us twice for {gift}
        | I am still angry about {thing} | I would never go back to the {place} | {person} ignored
        me at the {place} | {person} failed the exam | we lost {gift} we had brought | {person}
        argued with us at the {place} | the crowd booed {person} | {thing} ended in silence |
        {person} blamed me for {gift} | somebody else got {gift} I had hoped for | the children
        hated {thing} | the fever was back by {hour} | {person} locked us out at {hour} | there was
        no {food} left | {person} broke {gift}""",
    "positive:verdict": """we had a fine {noun} | I left happy | it was worth the fare | I can only
        praise {thing} | my heart was full | that made my {noun} | I am glad I came | I would do it
        all again | nothing was missing""",
    "negative:verdict": """we had a bad {noun} | I left upset | it was not worth the fare | I can
        only warn you about {thing} | my heart sank | that ruined my {noun} | I am sorry I came | I
        would not do it again | nothing went right""",
    "thing": """the soup | the hotel | the wedding | the film | my new job | the train ride | the
        concert | our flat | the birthday party | the lecture | the market | her speech | the flower
        show | the second act | the ferry | the camp | the museum tour | the match""",
    "person": """the waiter | our driver | the nurse | my aunt | the landlord | the guide | a
        stranger | the woman at the desk | my boss | the barber | my little brother | the teacher |
        the conductor | our neighbour | the cook""",
    "place": """beach | station | harbour | town hall | bus stop | campsite | library | pool |
        bakery""",
    "food": "bread | soup | cake | coffee | fish | ice cream | tea | pie",
    "gift": """the tickets | the umbrella | the flowers | the map | a blanket | the photographs |
        the keys | the last copy | the room | the bicycle""",
    "hour": "noon | six | midnight | ten | dawn | seven in the evening | half past nine",
    "noun": "day | evening | weekend | holiday | morning | trip | dinner | week",
    "when": "tonight | this time | on Sunday | this morning | again | yesterday",
    "year": "year | month | summer | winter | week",
}

CHATTER = EMOTION | {
    "text": """I {plan} {do} {when} | {person} wants to {do} before {hour} | do you want to {do}
        with {person} {when} | I could not {do} because {any:event} | {any:event} so I {plan} {do} |
        have you seen {thing} yet, {any:event} | {person} says {any:event} | I miss {thing} and
        {person} at the {place} | we {plan} {do} and {do} | {any:verdict} and {any:event} |
        {any:event}, but {any:event} | {thing} was {any:adj}, {any:verdict} | who will {do} if
        {person} has to {do} | {any:event} when we tried to {do} | please {do} and {do} for me |
        when {any:event} I wanted to {do}""",
    "plan": "have to | would like to | will | want to | might | need to | forgot to | promised to",
    "do": """watch {thing} | call {person} | walk to the {place} | bring {gift} | sleep until {hour}
        | finish my homework | wash the dishes | cook {food} for {person} | meet {person} at the
        {place} | buy {gift} | stay at home | drive to the {place} | wait for {person} | talk about
        {thing} | get up at {hour} | make some {food} | look for {gift} | learn the song""",
}
