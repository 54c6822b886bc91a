"""The evaluations of docs/evaluations.md a second time, in Python and by other means (regular expressions, sets, running sums as in the official
programs). Writes tests/golden/eval/expect.json: what engine/eval must say of the small files there, and of answers made by the rules below to AMBER's,
POPE's and CHAIR's own files. Run: python3 eval_twin.py SHARED [WORDNET]; SHARED holds data/AMBER, data/POPE, data/CHAIR, WORDNET noun.exc and index.noun."""
import csv
import json
import math
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent / "eval"


def rows(path):
    text = pathlib.Path(path).read_text()
    return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]


# ---- words and nouns ----
BLANK = " \t\n\r\f\v\u00a0"
MARK = "[;@#$%&?!*()\\[\\]{}<>\"`«»“”‘’„\u2012-\u2015…]|--+"
SEPARATOR = f"{MARK}|[,:](?![0-9])|\\.{{2,}}|\\.(?=[{BLANK}]|$|'|{MARK})"
TOKEN = re.compile(f"{SEPARATOR}|(?:(?!{SEPARATOR})[^{BLANK}])+", re.S)


def tokens(text):
    out = []
    for word in TOKEN.findall(text):
        if re.fullmatch(SEPARATOR, word) or word[0] == ".":
            out.append(word)
            continue
        front, body, back = re.fullmatch("('*)(.*?)('*)", word, re.S).groups()
        parts = re.fullmatch("(.+)('s|'m|'d|'ll|'re|'ve|n't)", body, re.S | re.I)
        out += [*front, *([p for p in parts.groups()] if parts else [body] if body else []), *back]
    return out


class Lemmas:
    RULES = [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")]

    def __init__(self, nouns, wordnet=None):
        self.nouns = {word for noun in nouns for word in noun.split(" ")}
        self.exceptions = {"children": ["child"], "geese": ["goose"], "knives": ["knife"], "mice": ["mouse"], "oxen": ["ox"]}
        if wordnet:
            folder = pathlib.Path(wordnet)
            self.nouns = {line.split(" ")[0] for line in (folder / "index.noun").read_text().splitlines() if not line.startswith(" ")}
            self.exceptions = {}
            for line in (folder / "noun.exc").read_text().splitlines():
                plural, *singular = line.split()
                self.exceptions.setdefault(plural, []).extend(singular)

    def __call__(self, word):
        forms = self.exceptions.get(word) or [word[: len(word) - len(a)] + b for a, b in self.RULES if word.endswith(a)]
        return min([f for f in [word, *forms] if f in self.nouns] or [word], key=len)


VERBS = "board box brush drink file leave light lock note pack paddle plug rock sailing skate ski sound spray support switch train watch".split()
BEFORE_VERBS = "to i you we they he she it who can could will would may might must should not is are was were be been being".split()
BEFORE_CAN = "a the one this that each trash garbage soda beer tin spray watering".split()


def is_noun(words, i, lemma):
    before = words[i - 1].lower() if i else ""
    if lemma == "hot":
        return False
    if words[i] == "can":
        return before in BEFORE_CAN
    return not (lemma.lower() in VERBS and before in BEFORE_VERBS)


# ---- bootstrap ----
def philox(c0, c1, k0, k1):
    c2 = c3 = 0
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ k0, p1 & 0xFFFFFFFF, p0 >> 32 ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return c0, c1, c2, c3


def bootstrap(answers, measure, resamples, seed):
    """measure: list of answers -> {name: value or None}. Values, and with resamples their intervals."""
    found = {name: {"value": value} for name, value in measure(answers).items()}
    n, draws = len(answers), []
    for r in range(resamples):
        picked = [answers[v * n >> 32] for block in range((n + 3) // 4) for v in philox(block, r, seed & 0xFFFFFFFF, seed >> 32)][:n]
        draws.append(measure(picked))
    for name in found if resamples else ():
        values = sorted(d[name] for d in draws if d[name] is not None)
        cut = len(values) * 25 // 1000
        found[name].update(low=values[cut] if values else None, high=values[len(values) - 1 - cut] if values else None)
    return found


def share(part, whole):
    return 100 * part / whole if whole else None


def harmonic(a, b):
    return None if a is None or b is None or a + b == 0 else 2 * a * b / (a + b)


# ---- AMBER ----
PREFIX = {"discriminative-attribute-state": "as", "discriminative-attribute-number": "an", "discriminative-attribute-action": "aa", "discriminative-hallucination": "ha"}


def amber_generative(answers):
    names = "mentions absent truth covered feared hit clean n".split()
    s = {k: 0.001 if k in ("mentions", "truth", "feared", "n") else 0 for k in names}
    for a in answers:
        for k in names:
            s[k] += a[k]
    return {"chair": round(s["absent"] / s["mentions"] * 100, 1), "cover": round(s["covered"] / s["truth"] * 100, 1),
            "hal": round(100 - s["clean"] / s["n"] * 100, 1), "cog": round(s["hit"] / s["feared"] * 100, 1)}


def amber_questions(answers, kinds, epsilon):
    s = {}
    for kind in kinds:
        for k in ("num", "no_num", "ans_no_num"):
            s[kind, k] = 0.001
        for k in ("score", "no_score"):
            s[kind, k] = 0
    for a in answers:
        kind = "" if kinds == [""] else a["kind"]
        if kind not in kinds:
            continue
        s[kind, "num"] += 1
        s[kind, "score"] += a["said"] == {"yes": "Yes", "no": "No"}[a["truth"]]
        s[kind, "no_num"] += a["truth"] == "no"
        s[kind, "ans_no_num"] += a["said"] == "No"
        s[kind, "no_score"] += a["truth"] == "no" and a["said"] == "No"
    total = lambda k: sum(s[kind, k] for kind in kinds)
    accuracy = round(total("score") / total("num") * 100, 1)
    p = round(total("no_score") / total("ans_no_num") * 100, 1)
    r = round(total("no_score") / total("no_num") * 100, 1)
    return {"accuracy": accuracy, "precision": p, "recall": r, "f1": round(2 * (p / 100) * (r / 100) / (p / 100 + r / 100 + epsilon) * 100, 1)}


def amber(annotations, relation, safe_words, answers, wordnet=None, resamples=0, seed=0):
    relation = json.loads(pathlib.Path(relation).read_text())
    safe = pathlib.Path(safe_words).read_text().split("\n")
    vocabulary = set(relation) | {w for ws in relation.values() for w in ws}
    lemma = Lemmas(vocabulary, wordnet)
    described, asked = [], []
    for row in rows(annotations):
        text = answers[str(row["id"])]
        if row["type"] != "generative":
            asked.append({"kind": PREFIX.get(row["type"], "asso"), "truth": row["truth"], "said": text})
            continue
        covers = []  # as the official program: associates of all objects first, then the objects
        for words in (row["truth"], row["hallu"]):
            covers.append([(a, i) for i, w in enumerate(words) for a in relation[w]] + [(w, i) for i, w in enumerate(words)])
        hits, absent, mentions, words = [set(), set()], 0, 0, tokens(text)
        for i, word in enumerate(words):
            noun = lemma(word)
            if noun not in vocabulary or not is_noun(words, i, noun):
                continue
            mentions += 1
            if noun in safe:
                continue
            first = [next((i for w, i in c if w == noun), None) for c in covers]
            if first[0] is not None:
                hits[0].add(first[0])
                continue
            if first[1] is not None:
                hits[1].add(first[1])
            absent += 1
        described.append({"mentions": mentions, "absent": absent, "truth": len(row["truth"]), "covered": len(hits[0]), "feared": len(row["hallu"]), "hit": len(hits[1]),
                          "clean": absent == 0, "n": 1})
    out = {"generative": bootstrap(described, amber_generative, resamples, seed)}
    for name, kinds, epsilon in [("discriminative", [""], 1e-4), ("existence", ["ha"], 1e-3), ("attribute", ["as", "an", "aa"], 1e-4), ("state", ["as"], 1e-4),
                                 ("number", ["an"], 1e-4), ("action", ["aa"], 1e-4), ("relation", ["asso"], 1e-4)]:
        out[name] = bootstrap(asked, lambda a: amber_questions(a, kinds, epsilon), resamples, seed)
    return out


# ---- POPE ----
def pope_measures(answers):
    tp, fp, tn, fn = (sum((label == "yes", said == "yes") == x for label, said in answers) for x in ((1, 1), (0, 1), (0, 0), (1, 0)))
    p, r = share(tp, tp + fp), share(tp, tp + fn)
    return {"accuracy": share(tp + tn, len(answers)), "precision": p, "recall": r, "f1": harmonic(p, r), "yes_ratio": share(tp + fp, len(answers))}


def pope_answers(questions, answers):
    out = []
    for q in rows(questions):
        words = answers[str(q["question_id"])].split(".")[0].replace(",", "").split(" ")
        out.append((q["label"], "no" if {"No", "not", "no"} & set(words) else "yes"))
    return out


# ---- CHAIR ----
class Chair:
    ANIMALS = "bird cat dog horse sheep cow elephant bear zebra giraffe animal cub".split()

    def __init__(self, synonyms, wordnet=None):
        self.class_of = {}
        for line in pathlib.Path(synonyms).read_text().splitlines():
            names = [n.strip() for n in line.split(",") if n.strip()]
            self.class_of.update({n: names[0] for n in names})
        self.pairs = {n: n for n in self.class_of if " " in n} | {"home plate": "home plate", "train track": "train track"}
        self.pairs |= {f"{age} {a}": a for age in ("baby", "adult") for a in self.ANIMALS} | {"passenger jet": "jet", "passenger train": "train"}
        self.pairs |= {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}
        self.lemma = Lemmas(list(self.class_of) + list(self.pairs), wordnet)

    def find(self, text):
        words, merged = [self.lemma(w) for w in tokens(re.sub("[A-Z]", lambda m: m.group().lower(), text))], []
        while words:
            pair = self.pairs.get(" ".join(words[:2])) if len(words) > 1 else None
            merged.append(pair or words[0])
            words = words[2 if pair else 1:]
        return [(w, self.class_of[w]) for w in merged if w in self.class_of and not (w == "seat" and "toilet" in merged)]


def chair_measures(answers):
    total = lambda f: sum(map(f, answers))
    wrong, naming = total(lambda a: a["false"] > 0), total(lambda a: a["mentions"] > 0)
    i, s = share(total(lambda a: a["false"]), total(lambda a: a["mentions"])), share(wrong, naming)
    recall = share(total(lambda a: a["covered"]), total(lambda a: a["present"]))
    rest = lambda x: None if x is None else 100 - x
    return {"chair_s": share(wrong, len(answers)), "chair_s_refine": s, "chair_i": i, "recall": recall, "f1": harmonic(rest(i), recall),
            "response_f1": harmonic(rest(s), share(naming, len(answers))), "words": total(lambda a: a["words"]) / len(answers)}


def chair_answers(chair, truth, answers):
    """truth: image -> {"objects", "captions"}; answers: list of (image, text)."""
    out = []
    for image, text in answers:
        classes = {chair.class_of[o] for o in truth[image]["objects"]} | {c for t in truth[image]["captions"] for _, c in chair.find(t)}
        found = [c for _, c in chair.find(text)]
        out.append({"mentions": len(found), "false": sum(c not in classes for c in found), "covered": len(set(found) & classes), "present": len(classes),
                    "words": len(text.strip().split(" "))})
    return out


# ---- answers by rule, to files that are not ours; tests/engine/eval_data_test.c makes the same ----
def draw(x):
    return x * 2654435761 % 2**32 >> 16


def pope_made(i, yes):
    u = draw(i) % 100
    if u < 60:
        return "Yes" if yes else "No"
    if u < 70:
        return "Yes, there is one." if yes else "No, there is none. Yes"
    if u < 80:
        return "No" if yes else "Yes"
    return ["There is not a thing like it", "I see, no, doubt one.", "Not sure", "Absolutely. No."][(u - 80) // 5]


def amber_made(row):
    n, u = row["id"], draw(row["id"]) % 100
    if row["type"] != "generative":
        yes = row["truth"] == "yes"
        return ("Yes" if yes else "No") if u < 70 else ("No" if yes else "Yes") if u < 80 else ["yes", "No.", "Yes"][0 if u < 90 else 1 if u < 95 else 2]
    text = "The image shows"
    for j, w in enumerate(row["truth"]):
        v = draw(31 * n + j)
        if v % 3:
            text += f" a {w}," if v % 5 else f" {w}s and"
    for j, w in enumerate(row["hallu"]):
        v = draw(37 * n + j)
        if v % 4 == 0:
            text += f" the {w}'s" if v % 5 else f" ({w}es)"
    return text + [" end. We can see children who watch a watch.", " a trash can. Knives and leaves are to light a light.", " more: sailing boats...women"][u % 3]


def chair_made(captions, classes):
    """The truth of a caption's picture: the caption after it, and one class by number."""
    truth = {}
    for i, row in enumerate(captions):
        t = truth.setdefault(row["image_id"], {"objects": [], "captions": []})
        t["objects"].append(classes[i * 7 % len(classes)])
        t["captions"].append(captions[(i + 1) % len(captions)]["text"])
    return truth


# ---- multiple choice: letters by hand, for the small file alone ----
CHOSEN = ["B", "C", "D", None, None, "B"]


def choice_measures(answers, category):
    mine = [a for a in answers if category in (None, a[0])]
    return {"accuracy": share(sum(a[1] == a[2] for a in mine), len(mine)), "unread": share(sum(a[2] is None for a in mine), len(mine))}


# ---- evaluations by a judge, whose prompts are here the answers alone; replies by (prompt, run) ----
def by_category(answers, measures, resamples, seed):
    """answers: list of (category, what was counted)."""
    names = list(dict.fromkeys(c for c, _ in answers))
    return {name: bootstrap(answers, lambda drawn: measures([x for c, x in drawn if name in ("all", c)]), resamples, seed) for name in ["all", *names]}


def mean(values):
    return sum(values) / len(values) if values else None


def mmhal(judge, runs, resamples, seed):
    types = "attribute adversarial comparison counting relation environment holistic other".split()
    answers = []
    for i, row in enumerate(rows(HERE / "mmhal.json")):
        ratings = []
        for run in range(runs):
            found = {int(m[1]) for m in re.finditer(r"rating: (\d+)", judge[row["model_answer"], run].lower())}
            found = {f for f in found if f < 7} if all(f < 10 for f in found) else set()
            ratings.append(found.pop() if len(found) == 1 else None)
        answers.append((row.get("question_type", types[i % 8]), ratings))

    def measures(drawn):
        all_ = [r for ratings in drawn for r in ratings]
        known = [r or 0 for r in all_]
        return {"score": mean(known), "hallucination": share(sum(r < 3 for r in known), len(known)),
                "informativeness": None if not known else mean([r - 3 if r >= 3 else r for r in known]) / 3 * 100, "unread": share(sum(r is None for r in all_), len(all_))}

    return by_category(answers, measures, resamples, seed)


def refomb(judge, swap, resamples, seed):
    def verdict(text, better):
        found = set(re.findall(r"\[\[([ABC])\]\]", text))
        return None if len(found) != 1 else .5 if found == {"C"} else float(found == {better})

    given = {str(r["id"]): r["answer"] for r in rows(HERE / "refomb_answers.jsonl")}
    answers = []
    for row in rows(HERE / "refomb_questions.jsonl"):
        seen = []
        for prompt, better in ((given[str(row["id"])], "B"), (row["answer"], "A"))[: 1 + swap]:
            review = judge[prompt, 0]
            seen.append((verdict(review, better), verdict(judge[review, 0], better)))
        answers.append((row.get("type", "uncategorised"), seen))

    def measures(drawn):
        out = {}
        for k, name in enumerate(("win", "trust")):
            points = [pair[k] for seen in drawn for pair in seen]
            read = [x for x in points if x is not None]
            out |= {name: share(sum(read), len(read)), name + "_ties": share(read.count(.5), len(read)), name + "_unread": share(points.count(None), len(points))}
        return out

    return by_category(answers, measures, resamples, seed)


def llava_bench(judge, resamples, seed):
    given = {r["question_id"]: r["text"] for r in rows(HERE / "llava_answers.jsonl")}
    answers = []
    for row in rows(HERE / "llava_questions.jsonl"):
        try:
            scores = [float(x) for x in judge[given[row["question_id"]], 0].splitlines()[0].replace(",", " ").split()]
        except ValueError:
            scores = []
        answers.append((row["category"], scores if len(scores) == 2 and min(scores) >= 1 and max(scores) <= 10 else None))

    def measures(drawn):
        read = [x for x in drawn if x]
        reference, model = mean([x[0] for x in read]), mean([x[1] for x in read])
        return {"score": None if reference is None else 100 * model / reference, "reference_mean": reference, "model_mean": model,
                "unread": share(drawn.count(None), len(drawn))}

    return by_category(answers, measures, resamples, seed)


def chair_listed(chair, truth, answers, judge):
    """As chair_answers, of the objects that the judge lists: each word once, none of answers of three words."""
    out = []
    for image, text in answers:
        names = []
        if len(text.strip().split(" ")) > 3:
            reply = judge[text, 0]
            array = re.search(r"\[.*\]", reply, re.S)
            names = json.loads(array[0]) if array else [m[1] for m in re.finditer(r"^\s*(?:[-*]|\d+\.)(.*)$", reply, re.M)]
        found = list(dict.fromkeys(pair for name in names for pair in chair.find(name)))
        found = [(w, c) for w, c in found if not (w == "seat" and ("toilet", "toilet") in found)]
        classes = {chair.class_of[o] for o in truth[image]["objects"]} | {c for t in truth[image]["captions"] for _, c in chair.find(t)}
        out.append({"mentions": len(found), "false": sum(c not in classes for _, c in found), "covered": len({c for _, c in found} & classes), "present": len(classes),
                    "words": len(text.strip().split(" "))})
    return out


def people(resamples, seed):
    kinds = "object position number attribute action other".split()
    with open(HERE / "mhumaneval.csv", newline="") as f:
        done = [r for r in csv.DictReader(f) if r["done"]]
    marked = [{k: [p for p in r[k].split("|") if p.strip()] for k in kinds} for r in done]
    shares = lambda drawn: {"all": share(sum(any(m.values()) for m in drawn), len(drawn))} | {k: share(sum(bool(m[k]) for m in drawn), len(drawn)) for k in kinds}
    pieces = lambda drawn: {"all": mean([sum(map(len, m.values())) for m in drawn])} | {k: mean([len(m[k]) for m in drawn]) for k in kinds}
    return {"responses": bootstrap(marked, shares, resamples, seed), "pieces": bootstrap(marked, pieces, resamples, seed)}


def small():
    by = lambda name, keys: {str(next(r[k] for k in keys if k in r)): r.get("response", r.get("answer", r.get("text"))) for r in rows(HERE / name)}
    resamples, seed = 1000, 5
    out = {"amber": amber(HERE / "amber_annotations.json", HERE / "amber_relation.json", HERE / "amber_safe_words.txt", by("amber_answers.jsonl", ("id", "question_id")),
                          None, resamples, seed)}
    out["pope"] = {"pope_questions": bootstrap(pope_answers(HERE / "pope_questions.jsonl", by("pope_answers.json", ("question_id",))), pope_measures, resamples, seed)}
    chair = Chair(HERE / "chair_synonyms.txt")
    truth = {7: {"objects": ["person", "wine glass"], "captions": ["A woman with two ponies near the stop lights."]}, 8: {"objects": ["toilet"], "captions": ["Home plate, bows and ties"]},
             9: {"objects": ["bus", "puppy"], "captions": ["A teddy bear on skis.", "Geese."]}, 10: {"objects": [], "captions": []}}
    texts = [(image, r["answer"]) for image, r in zip((7, 8, 9, 10, 9), rows(HERE / "chair_answers.jsonl"))]
    out["chair"] = {"objects": bootstrap(chair_answers(chair, truth, texts), chair_measures, resamples, seed)}
    answers = [(q.get("category") or "uncategorised", q["answer"], c) for q, c in zip(rows(HERE / "choice_questions.jsonl"), CHOSEN)]
    out["choice"] = {c or "all": bootstrap(answers, lambda a: choice_measures(a, c), resamples, seed) for c in (None, "coarse", "math", "uncategorised")}
    judge = {(r["text"], r["run"]): r["reply"] for r in rows(HERE / "judge_replies.jsonl")}
    out["mmhal"] = {runs: mmhal(judge, runs, resamples, seed) for runs in (1, 2)}
    out["refomb"] = {orders: refomb(judge, orders == "both", resamples, seed) for orders in ("one", "both")}
    out["llava-bench"] = llava_bench(judge, resamples, seed)
    out["chair_listed"] = {"objects": bootstrap(chair_listed(chair, truth, texts, judge), chair_measures, resamples, seed)}
    out["mhumaneval"] = people(resamples, seed)
    return out


def real(data, wordnet):
    made = {str(r["id"]): amber_made(r) for r in rows(data / "AMBER/data/annotations.json")}
    files = [data / "AMBER/data" / n for n in ("annotations.json", "relation.json", "safe_words.txt")]
    out = {"amber": amber(*files, made), "pope": {}, "chair": {}}
    both = []
    for k, name in enumerate(("coco_pope_random", "coco_pope_popular", "coco_pope_adversarial")):
        path = data / f"POPE/output/coco/{name}.json"
        answers = pope_answers(path, {str(q["question_id"]): pope_made(3000 * k + i, q["label"] == "yes") for i, q in enumerate(rows(path))})
        both += answers
        out["pope"][name] = bootstrap(answers, pope_measures, 0, 0)
    out["pope"]["all"] = bootstrap(both, pope_measures, 0, 0)
    captions = rows(data / "POPE/caption_data/Instruction2_llava.json")
    for name, folder in (("chair", None), ("chair_wordnet", wordnet)):
        if name == "chair_wordnet" and not wordnet:
            continue
        chair = Chair(data / "CHAIR/synonyms.txt", folder)
        classes = list(dict.fromkeys(chair.class_of.values()))
        truth = chair_made(captions, classes)
        out[name] = {"objects": bootstrap(chair_answers(chair, truth, [(r["image_id"], r["text"]) for r in captions]), chair_measures, 0, 0)}
        # Every mention, in order: a polynomial of the places of their classes.
        mark = 0
        for r in captions:
            for _, c in chair.find(r["text"]):
                mark = (mark * 131 + classes.index(c) + 1) % 1000000007
        out[name]["objects"]["mark"] = mark
    if wordnet:
        out["amber_wordnet"] = amber(*files, made, wordnet)
    return out


if __name__ == "__main__":
    data = pathlib.Path(sys.argv[1]) / "data"
    expect = {"small": small(), "real": real(data, sys.argv[2] if len(sys.argv) > 2 else None)}
    (HERE / "expect.json").write_text(json.dumps(expect, indent=1) + "\n")
