// Tries a report as a reader would: whether anything is wider than the screen, whether filters, pages and keys do what they say, whether it loads nothing. Lines of
// #verdict that begin with "wrong" are failures; the last line is "done". Runs with --allow-file-access-from-files, as the report is another file.
"use strict";
const lines = [];
let frame, name;
const say = text => lines.push(text);
const check = (holds, text) => say(`${holds ? "right" : "wrong"}: ${name}: ${text}`);

function overflow(doc, view) {
    const wide = doc.documentElement.clientWidth;
    check(doc.documentElement.scrollWidth <= wide, `the page is as wide as its window: ${doc.documentElement.scrollWidth} of ${wide}`);
    const out = [...doc.body.querySelectorAll("*")].filter(n => {
        const box = n.getBoundingClientRect();
        if (!box.width || n.closest(".skip, .unseen, svg svg, svg *")) return false;
        const scroller = n.closest(".scroller");
        return scroller && scroller !== n ? scroller.getBoundingClientRect().right > wide + 1 : box.right > wide + 1 || box.left < -1;
    });
    check(out.length === 0, `elements past the edge: ${out.slice(0, 3).map(n => `${n.tagName}.${n.className}`).join(" ") || "none"}`);
    const squeezed = [...doc.querySelectorAll(".claim, .answer p, h3")].filter(n => n.getBoundingClientRect().width && n.getBoundingClientRect().width < 90);
    check(squeezed.length === 0, `texts in columns too narrow to read: ${squeezed.length}`);
}

function names(doc) {
    const ids = [...doc.querySelectorAll("[id]")].map(n => n.id), twice = ids.filter((id, i) => ids.indexOf(id) !== i);
    check(twice.length === 0, `names that stand twice: ${twice.slice(0, 3).join(" ") || "none"}`);
    const bare = [...doc.querySelectorAll("img")].filter(n => !n.alt);
    check(bare.length === 0, `pictures without words: ${bare.length}`);
    const broken = [...doc.querySelectorAll("img")].filter(n => n.complete && !n.naturalWidth);
    check(broken.length === 0, `pictures that do not show: ${broken.length}`);
    const loads = frame.contentWindow.performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"));
    check(loads.length === 0, `what is loaded from elsewhere: ${loads.join(" ") || "nothing"}`);
    check([...doc.querySelectorAll("button, input, select")].every(n => n.textContent.trim() || n.getAttribute("aria-label") || n.closest("label")),
        "controls have names");
    const links = [...doc.querySelectorAll("nav a")];
    check(doc.title.startsWith("rlaifv: "), `no text of the data became a script: ${doc.title}`);
    check(links.length > 0 && links.every(a => doc.getElementById(a.hash.slice(1))), "links lead somewhere");
}

function press(view, target, key) {
    target.dispatchEvent(new view.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}

async function filters(doc, view) {
    const by = id => doc.getElementById(id), data = JSON.parse(by("data").textContent), total = data.pairs.length;
    const found = () => Number((by("where").textContent.match(/of (\d+) pairs/) || [0, 0])[1]);
    const set = (id, value) => { by(id).value = value, by(id).dispatchEvent(new view.Event("input", { bubbles: true })); };
    const reset = async () => { by("filters").reset(), await new Promise(done => setTimeout(done, 20)); };
    const gap = p => p.c.s - p.r.s;
    check(total > 0 && found() === total, `all ${total} pairs are there at first: ${found()}`);
    check(doc.querySelectorAll("#pairs .pair").length === Math.min(10, total), "ten pairs a page");

    const last = Math.max(...data.pairs.map(p => p.i));
    set("f-iteration", String(last));
    check(found() === data.pairs.filter(p => p.i === last).length, `iteration ${last} has ${found()} pairs`);
    await reset();
    const far = Math.max(...data.pairs.map(gap));
    set("f-gap", String(far));
    check(found() > 0 && found() === data.pairs.filter(p => gap(p) >= far).length, `score gap ${far}: ${found()}`);
    await reset();
    const word = data.pairs[total - 1].c.t.split(" ").pop();
    set("f-text", word.toUpperCase());
    check(found() > 0 && [...doc.querySelectorAll("#pairs .pair")].every(n => n.textContent.toLowerCase().includes(word.toLowerCase())), `text "${word}": ${found()}`);
    set("f-text", "no answer says </script> this");
    check(found() === 0 && !doc.querySelector("#pairs .pair"), `text that is nowhere: "${by("where").textContent}"`);
    await reset();
    check(found() === total, "reset shows all again");

    const focused = () => doc.activeElement.getAttribute("aria-posinset");
    doc.querySelector("#pairs .pair").focus();
    press(view, doc.activeElement, "ArrowDown");
    check(focused() === "2", `down goes to pair 2: ${focused()}`);
    press(view, doc.activeElement, "ArrowUp");
    check(focused() === "1", `up goes back: ${focused()}`);
    if (total > 10) {
        press(view, doc.activeElement, "ArrowRight");
        check(focused() === "11", `right turns the page: ${focused()}`);
        press(view, doc.activeElement, "ArrowUp");
        check(focused() === "10", `up from its first goes to the one before: ${focused()}`);
        by("next").click();
        check(by("where").textContent.startsWith("11"), "the button turns the page");
        by("previous").click();
    }
    press(view, doc.body, "/");
    check(doc.activeElement === by("f-text"), "/ goes to the search");
    doc.querySelectorAll("#pairs details").forEach(n => { n.open = true; });
}

// The browser's clock is virtual: it leaps to its end when nobody waits for a timer, whatever else is under way. So all waiting is by timers.
async function until(holds, what) {
    for (let i = 0; !holds(); i++) {
        if (i === 20000) throw new Error(`waited in vain for ${what}`);
        await new Promise(done => setTimeout(done, 10));
    }
}

async function tried(report, width, height, hash) {
    name = `${report.split("/").slice(-2)[0]}, ${width}`;
    if (frame) frame.remove();
    frame = document.createElement("iframe");
    frame.width = width, frame.height = height, frame.src = report;
    let loaded = false;
    frame.addEventListener("load", () => { loaded = true; });
    document.body.append(frame);
    await until(() => loaded, "the page");
    const doc = frame.contentDocument, view = frame.contentWindow;
    await until(() => [...doc.images].every(n => n.complete), "pictures");
    names(doc);
    if (doc.getElementById("data")) await filters(doc, view);
    doc.querySelectorAll("details").forEach(n => { n.open = true; });
    overflow(doc, view);
    doc.querySelectorAll("#browse details, #ledger details, #settings details").forEach(n => { n.open = false; });
    doc.activeElement.blur();
    if (hash) doc.getElementById(hash).scrollIntoView();
}

(async () => {
    try {
        for (const one of location.search.slice(1).split(";")) await tried(...one.split("&"));
    } catch (error) {
        say(`wrong: ${name}: ${error.stack}`);
    }
    document.getElementById("verdict").textContent = `${lines.join("\n")}\ndone\n`;
})();
