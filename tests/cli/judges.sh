#!/bin/sh
# judges.sh - evaluations by a judge as commands: a server that fails in every way before it answers, whose key nobody writes down; a judge that was cut
# off goes on from its transcript; replay asks nobody; a checkpoint as a judge; servers that are not there; the sheet of MHumanEval there and back.
. tests/tools/script.sh
server=
trap '[ "$server" ] && kill "$server" 2>/dev/null; rm -rf "$temporary"' EXIT
export OMP_WAIT_POLICY=passive no_proxy='*'
command -v python3 >/dev/null || { echo "no python3 to play the server"; exit 77; }
cd "$temporary" || exit 1

# A server that says what a prompt has in SAY{first|second}: `first` with what a second question is to be told. Its first requests go wrong as the file
# `plan` says, one word each: a status, "malformed", "empty", "hang". KEY in a reply becomes the key that it was sent. What it was asked is in `log`.
cat >server.py <<'END'
import http.server, json, re, sys, time

class Server(http.server.BaseHTTPRequestHandler):
    plan = open("plan").read().split()

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"]
        step = self.plan.pop(0) if self.plan else "200"
        with open("log", "a") as log:
            log.write(json.dumps({"time": time.time(), "path": self.path, "step": step, "model": body["model"], "limit": body.get("max_tokens", "none"), "other": body.get("max_completion_tokens"), "key": self.headers.get("Authorization"), "text": text}) + "\n")
        if step == "hang":
            time.sleep(3)
        said = re.search(r"SAY\{(.*?)\|(.*?)\}", text)
        later = re.search(r"NEXT\{(.*?)\}", text)
        reply = said[1].replace("/", "\n") + "\nNEXT{" + said[2] + "}" if said else "[[" + later[1] + "]]" if later else "nothing to say"
        reply = reply.replace("KEY", str(self.headers.get("Authorization")))
        answer = json.dumps({"model": "judge-of-2026", "choices": [{"message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}]})
        if step == "malformed":
            answer = answer[:40]
        status = int(step) if step.isdigit() else 200
        if status != 200:
            answer = json.dumps({"error": {"message": "refused, " + str(self.headers.get("Authorization"))}})
        try:
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode() if step != "empty" else b"")
        except OSError:
            pass

port = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
if len(sys.argv) > 1:
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("own.pem")
    port.socket = context.wrap_socket(port.socket, server_side=True)
open("port.new", "w").write(str(port.server_port))
__import__("os").rename("port.new", "port")
port.serve_forever()
END
tls=
serve() { # PLAN...
    [ "$server" ] && kill "$server" && wait "$server" 2>/dev/null
    rm -f port log
    echo "$*" >plan
    # shellcheck disable=SC2086
    python3 server.py $tls 2>server.err &
    server=$!
    for i in $(seq 200); do
        [ -f port ] && break
        sleep 0.05
    done
    [ -f port ] || { echo "the server does not start: $(cat server.err)"; exit 1; }
    url=http${tls:+s}://127.0.0.1:$(cat port)
}
asked() { [ -f log ] && wc -l <log || echo 0; }
value() { # FILE PATH... of a result
    python3 -c 'import json,sys
v = json.load(open(sys.argv[1]))
for k in sys.argv[2:]: v = v[k]
if isinstance(v, dict): v = v["value"]
print(round(v, 4) if isinstance(v, float) else v)' "$@"
}
is() { # WANT FILE MEASURE-PATH...
    want=$1
    shift
    got=$(value "$@")
    [ "$got" = "$want" ] || fail "$* is $got, not $want"
}
mmhal() { "$program" eval mmhal --questions mmhal.json --answers mmhal.json --out mmhal.result "$@" >out 2>err; }

cat >mmhal.json <<'END'
[{"question_type": "attribute", "image_content": ["Dog", "Sofa"], "question": "Which colour?", "gt_answer": "Red.", "model_answer": "SAY{Rating: 5|}"},
 {"question_type": "counting", "image_content": ["Dog"], "question": "How many?", "gt_answer": "One.", "model_answer": "SAY{Hm./rating: 1|}"},
 {"image_content": [], "question": "What?", "gt_answer": "A thing.", "model_answer": "SAY{I cannot say|}"}]
END
export OPENAI_API_KEY=sk-verysecret-0123456789

# ---- failures, then replies; the key is nowhere ----
serve 429 500 malformed empty
mmhal --endpoint "$url/v1" --judge-name judge --wait 0.05 || fail "mmhal: $(tail -1 err)"
is 2.0 mmhal.result measures all score
is 66.6667 mmhal.result measures all hallucination
is 33.3333 mmhal.result measures all informativeness
is 33.3333 mmhal.result measures all unread
is 1 mmhal.result measures comparison answers
is judge mmhal.result judge name
is judge-of-2026 mmhal.result judge version
grep -q '^judge: judge, version judge-of-2026$' out || fail "the table does not say who judged: $(cat out)"
[ "$(asked)" -eq 7 ] || fail "$(asked) requests, not 7"
grep -q '"key": "Bearer sk-verysecret-0123456789"' log && grep -q '"path": "/v1/chat/completions"' log || fail "what the server got: $(head -1 log)"
[ "$(grep -c '"failed":' mmhal.result.transcript.jsonl)" -eq 4 ] && [ "$(grep -c '"reply":' mmhal.result.transcript.jsonl)" -eq 3 ] || fail "the transcript: $(cat mmhal.result.transcript.jsonl)"
grep -q '"failed":"status 429: refused, Bearer \*\*\*' mmhal.result.transcript.jsonl || fail "the refusal is not in the transcript"
grep -q 'again in 1 s' err || fail "Retry-After was not kept: $(cat err)"
grep -rq verysecret mmhal.result mmhal.result.transcript.jsonl out err && fail "the key was written down"
python3 -c 'import json,sys
t = [json.loads(l)["time"] for l in open("log")]
sys.exit(not t[1] - t[0] >= 0.95)' || fail "it came back too early"

# ---- again: nobody is asked; replay; torn and changed transcripts ----
cp mmhal.result first.result
mmhal --endpoint "$url" --judge-name judge || fail "again: $(tail -1 err)"
[ "$(asked)" -eq 7 ] && cmp -s mmhal.result first.result || fail "a second start asked again"
kill "$server" && wait "$server" 2>/dev/null
server=
mmhal --transcript mmhal.result.transcript.jsonl --replay || fail "replay: $(tail -1 err)"
cmp -s mmhal.result first.result || fail "replay has another result"
cp mmhal.result.transcript.jsonl whole.jsonl
rm mmhal.result
head -c -20 whole.jsonl >torn.jsonl
mmhal --transcript torn.jsonl --replay && fail "replay of a torn transcript"
grep -q "^rlaifv: replies are missing from the transcript: torn.jsonl; found 1 of 3 missing (first: the rating of question #2)" err || fail "the refusal: $(tail -1 err)"
[ ! -f mmhal.result ] || fail "a result of half the replies"
cmp -s torn.jsonl whole.jsonl && fail "replay wrote into the transcript"
serve
mmhal --endpoint "$url" --judge-name judge --transcript torn.jsonl || fail "going on: $(tail -1 err)"
is "$url/v1/chat/completions" mmhal.result judge endpoint
[ "$(asked)" -eq 3 ] || fail "another server is another judge, and was asked $(asked) times"
mmhal --transcript torn.jsonl --replay && fail "replay of two judges' replies"
grep -q "^rlaifv: replies by several judges" err || fail "the refusal: $(tail -1 err)"

# ---- killed, then on to the end ----
serve 200 200 hang
rm -f mmhal.result*
"$program" eval mmhal --questions mmhal.json --answers mmhal.json --out mmhal.result --endpoint "$url" --judge-name judge >out 2>err & # no function: it would outlive the kill
pid=$!
for i in $(seq 200); do
    [ "$(asked)" -ge 3 ] && break
    sleep 0.05
done
kill -9 $pid
wait $pid 2>/dev/null
[ "$(grep -c '"reply":' mmhal.result.transcript.jsonl)" -eq 2 ] || fail "what was left: $(cat mmhal.result.transcript.jsonl)"
printf '{"key":"half a row' >>mmhal.result.transcript.jsonl
mmhal --endpoint "$url" --judge-name judge || fail "after a kill: $(tail -1 err)"
[ "$(asked)" -eq 4 ] || fail "$(asked) requests in all, not 4"
is 2.0 mmhal.result measures all score

# ---- a key in a reply: stars from 8 characters on; a shorter one is a word like another ----
echo '[{"image_content": [], "question": "What?", "gt_answer": "A thing.", "model_answer": "SAY{Rating: 3, KEY.|}"}]' >key.json
said() { # KEY WHAT-THE-REPLY-HAS
    serve
    rm -f key.result*
    OPENAI_API_KEY=$1 "$program" eval mmhal --questions key.json --answers key.json --endpoint "$url" --judge-name judge --out key.result >out 2>err || fail "a key of ${#1} characters: $(tail -1 err)"
    grep -q "\"key\": \"Bearer $1\"" log || fail "the server did not get $1: $(cat log)"
    grep -qF "\"reply\":\"Rating: 3, Bearer $2.\\n" key.result.transcript.jsonl || fail "a key of ${#1} characters in a reply: $(cat key.result.transcript.jsonl)"
}
said local-7 local-7
said local-08 '********'
grep -rq local-08 key.result key.result.transcript.jsonl out err && fail "a key of 8 characters was written down"

# ---- a rate; a time-out; what is refused at once ----
serve
rm -f mmhal.result*
mmhal --endpoint "$url" --judge-name judge --per-minute 150 --limit-field max_completion_tokens --max-tokens 77 || fail "at a rate: $(tail -1 err)"
python3 -c 'import json,sys
t = [json.loads(l)["time"] for l in open("log")]
sys.exit(not all(b - a > 0.35 for a, b in zip(t, t[1:])))' || fail "faster than 150 a minute"
grep -q '"limit": "none", "other": 77,' log || fail "the limit under another name: $(head -1 log)"
serve hang hang
rm -f mmhal.result*
mmhal --endpoint "$url" --judge-name judge --timeout 0.3 --retries 1 --wait 0 && fail "a server that does not answer"
grep -q "^rlaifv: no answer from the endpoint in 2 tries: $url/v1/chat/completions; found .*timed out" err || fail "a time-out: $(tail -1 err)"
[ "$(grep -c '"try":[12],"failed":"[^"]*timed out' mmhal.result.transcript.jsonl)" -eq 2 ] || fail "the transcript of time-outs: $(cat mmhal.result.transcript.jsonl)"
serve 401
mmhal --endpoint "$url" --judge-name judge && fail "a wrong key"
grep -q "^rlaifv: no answer from the endpoint: .* found status 401: refused, Bearer \*\*\**; expected a chat completion of \"judge\"; is the API key right?" err || fail "a wrong key: $(tail -1 err)"
[ "$(asked)" -eq 1 ] || fail "a wrong key was tried again"
serve 200 302
rm -f mmhal.result*
mmhal --endpoint "$url" --judge-name judge && fail "a redirect"
grep -q "redirects are not followed" err || fail "a redirect: $(tail -1 err)"
kill "$server" && wait "$server" 2>/dev/null
server=
mmhal --endpoint "$url" --judge-name judge && fail "a server that is gone"
[ "$(wc -l <err)" -le 3 ] || fail "more than one message: $(cat err)"
grep -q "^rlaifv: no answer from the endpoint: $url/v1/chat/completions; found .*Failed to connect.*; expected a chat completion.*; is the server running, and the address right?; the same command goes on from the transcript (mmhal.result.transcript.jsonl)$" err ||
    fail "a server that is gone: $(tail -1 err)"
grep -q '"reply":' mmhal.result.transcript.jsonl || fail "the transcript was not kept"
[ ! -f mmhal.result ] || fail "a result without replies"
OPENAI_API_KEY= mmhal --endpoint "$url" --judge-name judge --key-env NOT_SET_HERE && fail "a key that is not there"
grep -q "^rlaifv: no API key: environment variable NOT_SET_HERE" err || fail "no key: $(tail -1 err)"
mmhal --endpoint http://example.com --judge-name judge && fail "http to another machine"
grep -q "^rlaifv: bad address of an endpoint: .*--plain-http" err || fail "http: $(tail -1 err)"
mmhal --endpoint "$url" && fail "no name of a model"
grep -q "^rlaifv: no name of a model: --judge-name" err || fail "no name: $(tail -1 err)"
mmhal && fail "no judge"
grep -q "^rlaifv: nobody to ask" err || fail "no judge: $(tail -1 err)"

# ---- TLS: a certificate that nobody vouches for, and one that is named ----
if command -v openssl >/dev/null && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null; then
    cat key.pem cert.pem >own.pem
    tls=yes
    serve
    tls=
    rm -f mmhal.result*
    mmhal --endpoint "$url" --judge-name judge && fail "a certificate of its own was trusted"
    grep -q "^rlaifv: no answer from the endpoint: $url/v1/chat/completions; found SSL certificate problem.*--ca FILE" err || fail "a certificate of its own: $(tail -1 err)"
    [ "$(asked)" -eq 0 ] || fail "the key went to a server that nobody vouches for"
    mmhal --endpoint "$url" --judge-name judge --ca cert.pem || fail "a certificate that is named: $(tail -1 err)"
    is 2.0 mmhal.result measures all score
    mmhal --endpoint "$url" --judge-name other --ca nowhere.pem && fail "certificates that are not there"
    grep -q "^rlaifv: .*--ca FILE" err || fail "certificates that are not there: $(tail -1 err)"
else echo "not tried: TLS, for want of openssl"; fi

# ---- RefoMB: two questions each, both orders; LLaVA-Bench; CHAIR with an extractor ----
cat >refomb.jsonl <<'END'
{"id": 0, "question": "What?", "description": "A dog.", "answer": "A dog.", "type": "OCR"}
{"id": 1, "question": "What?", "description": "A cat.", "answer": "A cat.", "type": "OCR"}
END
cat >refomb.answers <<'END'
{"id": 0, "answer": "SAY{[[B]]|C}"}
{"id": 1, "answer": "SAY{[[A]]|A}"}
END
serve
refomb() { "$program" eval refomb --questions refomb.jsonl --answers refomb.answers --endpoint "$url" --judge-name judge "$@" >out 2>err || fail "refomb: $(tail -1 err)"; }
refomb --out refomb.result --rows refomb.rows
is 50.0 refomb.result measures all win
is 25.0 refomb.result measures OCR trust
[ "$(asked)" -eq 4 ] || fail "$(asked) requests of RefoMB"
refomb --out refomb.result --swap --runs 3 --transcript refomb.more
is 50.0 refomb.result measures all win
is 3 refomb.result judge runs
is both refomb.result orders
[ "$(asked)" -eq 22 ] || fail "$(asked) requests, not 4 and 12 reviews and 6 different questions about them"
[ "$(grep -c '"win":"[wl]' refomb.rows)" -eq 2 ] || fail "rows: $(cat refomb.rows)"

printf '{"question_id": 1, "image": "a.jpg", "text": "What?", "category": "conv"}\n{"question_id": 2, "image": "a.jpg", "text": "Why?", "category": "detail"}\n' >llava.jsonl
printf '{"question_id": 1, "text": "x"}\n{"question_id": 2, "text": "y"}\n' >llava.references
printf '{"image": "a.jpg", "captions": ["A dog.", "A brown dog."], "instances": [{"category": "dog", "bbox": [0.1, 0.2, 0.5, 1]}]}\n' >llava.context
printf '{"question_id": 1, "text": "SAY{8 6/Good.|}"}\n{"question_id": 2, "text": "SAY{10, 7.5/Good.|}"}\n' >llava.answers
"$program" eval llava-bench --questions llava.jsonl --references llava.references --context llava.context --answers llava.answers --endpoint "$url" --judge-name judge --out llava.result >out 2>err ||
    fail "llava-bench: $(tail -1 err)"
is 75.0 llava.result measures all score
is 75.0 llava.result measures conv score
grep -q 'A brown dog.\\ndog: \[0.100, 0.200, 0.500, 1.000\]' llava.result.transcript.jsonl || fail "what the judge was told: $(head -1 llava.result.transcript.jsonl)"

printf 'person, man, woman\ndog, puppy\nbus\n' >synonyms.txt
printf '{"image_id": 1, "objects": ["dog"], "captions": []}\n{"image_id": 2, "objects": ["person"], "captions": []}\n{"image_id": 3, "objects": ["bus"]}\n{"image_id": 4, "objects": ["bus"]}\n' >chair.truth
printf '{"image_id": 1, "answer": "SAY{[\\"dogs\\", \\"puppy\\", \\"Dog\\", \\"bus\\"]|} is in it"}\n{"image_id": 2, "answer": "SAY{- a man/- woman/- table|} is in it"}\n{"image_id": 3, "answer": "A bus."}\n{"image_id": 4, "answer": "a bus without a list"}\n' >chair.answers
"$program" eval chair --truth chair.truth --synonyms synonyms.txt --answers chair.answers --endpoint "$url" --extractor-name lister --out chair.result --rows chair.rows >out 2>err || fail "chair: $(tail -1 err)"
is 20.0 chair.result measures objects chair_i
is 50.0 chair.result measures objects chair_s_refine
is 1 chair.result unread
is lister chair.result extractor name
grep -q '^extractor: lister, version judge-of-2026$' out || fail "the table does not say who listed"
kill "$server" && wait "$server" 2>/dev/null
server=
"$program" eval chair --truth chair.truth --synonyms synonyms.txt --answers chair.answers --transcript chair.result.transcript.jsonl --replay --out chair.again >out 2>err || fail "chair, replayed: $(tail -1 err)"
cmp -s chair.result chair.again || fail "chair, replayed, is another"
"$program" eval chair --truth chair.truth --synonyms synonyms.txt --answers chair.answers --out chair.words >out 2>err || fail "chair by words: $(tail -1 err)"
is "none, the words of the answers" chair.words extractor

# ---- a checkpoint as a judge: the demo's labeler, which knows nothing of ratings ----
echo 'Rate {answer}' >short.txt
labeler=$here/configs/demo/labeler
rm -f mmhal.result*
mmhal --judge "$labeler" --prompt short.txt --max-tokens 8 || fail "a checkpoint: $(tail -1 err)"
is 100.0 mmhal.result measures all unread
is 0.0 mmhal.result measures all score
is labeler mmhal.result judge name
[ "$(value mmhal.result judge version | wc -c)" -eq 33 ] || fail "no hash of the checkpoint"
[ "$(wc -l <mmhal.result.transcript.jsonl)" -eq 3 ] || fail "the checkpoint's transcript"
cp mmhal.result first.result
cp mmhal.result.transcript.jsonl whole.jsonl
mmhal --judge "$labeler" --prompt short.txt --max-tokens 8 && cmp -s mmhal.result first.result && cmp -s whole.jsonl mmhal.result.transcript.jsonl || fail "the checkpoint was asked again"
head -2 whole.jsonl >mmhal.result.transcript.jsonl
mmhal --judge "$labeler" --prompt short.txt --max-tokens 8 && cmp -s whole.jsonl mmhal.result.transcript.jsonl || fail "the checkpoint goes on otherwise"
mmhal --replay --transcript whole.jsonl --prompt short.txt && cmp -s mmhal.result first.result || fail "the checkpoint's replies, replayed: $(tail -1 err)"
mmhal --judge "$labeler" --prompt short.txt --max-tokens 1 --transcript cut.jsonl || fail "replies of one token: $(tail -1 err)"
grep -q "rating: [123] of 3 replies were cut at their limit (--max-tokens)" err || fail "replies that were cut: $(cat err)"
echo 'Which? {answer_b}' >pair.txt
echo 'Fewer? {review} {answer_b}' >review.txt
"$program" eval refomb --questions refomb.jsonl --answers refomb.answers --judge "$labeler" --prompt pair.txt --hallucination-prompt review.txt --max-tokens 8 --out refomb.folder >out 2>err ||
    fail "refomb by a checkpoint: $(tail -1 err)"
[ "$(wc -l <refomb.folder.transcript.jsonl)" -eq 4 ] || fail "the checkpoint's reviews: $(cat refomb.folder.transcript.jsonl)"
[ "$(grep -c 'chat template' err)" -eq 1 ] || fail "a checkpoint that is asked twice was opened $(grep -c 'chat template' err) times: $(cat err)"
mmhal --judge "$labeler" && fail "a prompt longer than the checkpoint takes"
grep -q "^rlaifv: .*the judge's prompt for question #0.*a judge with more positions, or a shorter --prompt" err || fail "a long prompt: $(tail -1 err)"
mmhal --judge "$labeler" --prompt short.txt --runs 3 && fail "three runs that are one"
mmhal --judge "$labeler" --endpoint localhost && fail "two judges"
mmhal --judge nowhere --prompt short.txt && fail "a folder that is not there"
grep -q "^rlaifv: .*nowhere" err || fail "a folder that is not there: $(tail -1 err)"

# ---- people ----
cat >people.json <<'END'
[{"id": "a", "image": "a.jpg", "question": "=What?", "answer": "A \"big\" dog, two cats\nand a bus"}, {"id": "b", "image": "b.jpg", "question": "What?", "answer": "Nothing"}]
END
"$program" eval mhumaneval export --questions people.json --answers people.json --out sheet.csv >out 2>err || fail "export: $(tail -1 err)"
python3 - <<'END' || fail "the sheet: $(cat sheet.csv)"
import csv
rows = list(csv.reader(open("sheet.csv", encoding="utf-8-sig", newline="")))
assert rows[0] == "id image question answer done object position number attribute action other".split()
assert rows[1][:4] == ["a", "a.jpg", "'=What?", 'A "big" dog, two cats\nand a bus'] and rows[1][4:] == [""] * 7 and len(rows) == 3
rows[1][4:8] = ["yes", "bus", "", "two  cats"]
rows[2][4] = "Yes"
csv.writer(open("marked.csv", "w", encoding="utf-8", newline=""), delimiter=";").writerows(rows)
rows[2][9] = "a bird"
csv.writer(open("wrong.csv", "w", encoding="utf-8", newline="")).writerows(rows)
END
"$program" eval mhumaneval import --labels marked.csv --out people.result --judges "two of us" >out 2>err || fail "import: $(tail -1 err)"
is 50.0 people.result measures responses all
is 50.0 people.result measures responses number
is 0.0 people.result measures responses action
is 1.0 people.result measures pieces all
grep -q '^judge: two of us, version ' out || fail "the table does not say who marked"
"$program" eval mhumaneval import --labels sheet.csv --out people.result >out 2>err && fail "a sheet that nobody filled in"
grep -q "^rlaifv: answers that nobody is done with: sheet.csv:2; found 2 of 2 rows" err || fail "an empty sheet: $(tail -1 err)"
"$program" eval mhumaneval import --labels wrong.csv --out people.result >out 2>err && fail "a piece of another answer"
grep -q '^rlaifv: bad label: wrong.csv:4: column action; found "a bird"' err || fail "a wrong piece: $(tail -1 err)"
exit $failed
