// The pairs of the page: filtered, and drawn a page at a time. All text goes in by textContent, so nothing in an answer is read as HTML.
"use strict";
(() => {
    const holder = document.getElementById("data");
    if (!holder) return;
    const data = JSON.parse(holder.textContent), size = 10;
    const by = id => document.getElementById(id), list = by("pairs");
    const words = ["accepted", "rejected", "rejected unasked", "not judged"], signs = ["✓", "✗", "⊘", "·"], classes = ["yes", "no", "no", "open"];
    let found = [], page = 0;

    const node = (tag, name, text) => {
        const n = document.createElement(tag);
        if (name) n.className = name;
        if (text !== undefined) n.textContent = text;
        return n;
    };
    const fold = text => text.normalize("NFKC").toLowerCase();
    const gap = pair => pair.c.s - pair.r.s;
    for (const pair of data.pairs)
        pair.text = fold([pair.id, pair.q, pair.c.t, pair.r.t, ...pair.c.k.map(k => k[0]), ...pair.r.k.map(k => k[0])].join("\n"));

    function side(label, s) {
        const box = node("div", "answer");
        box.append(node("h4", "", `${label}, score ${s.s}`));
        const text = node("p", "", s.t);
        text.dir = "auto";
        box.append(text);
        if (!s.k.length) return box;
        const details = node("details"), items = node("ul", "claims");
        const no = s.k.filter(k => k[1] === 1 || k[1] === 2).length;
        details.append(node("summary", "", `${s.k.length} claim${s.k.length === 1 ? "" : "s"}, ${no} rejected`));
        for (const [claim, verdict, p, truth] of s.k) {
            const wrong = truth >= 0 && verdict < 2 && truth !== (verdict === 0 ? 1 : 0);
            const item = node("li", classes[verdict] + (wrong ? " wrong" : ""));
            const sign = node("span", "sign", signs[verdict]);
            sign.setAttribute("aria-hidden", "true");
            item.append(sign, node("span", "claim", claim), node("span", "unseen", words[verdict]));
            if (p !== null) item.append(node("span", "p", p.toFixed(3)));
            if (truth >= 0) item.append(node("span", truth ? "truth true" : "truth false", truth ? "true" : "false"));
            items.append(item);
        }
        details.append(items);
        box.append(details);
        return box;
    }

    function draw(pair, number) {
        const box = node("article", "pair"), picture = node("div", "picture"), about = node("div", "about");
        box.tabIndex = -1;
        box.setAttribute("aria-posinset", number + 1);
        box.setAttribute("aria-setsize", found.length);
        box.setAttribute("aria-label", `pair ${number + 1} of ${found.length}: ${pair.q}`);
        if (pair.p >= 0) {
            const image = node("img");
            image.src = data.pictures[pair.p];
            image.alt = `the picture of ${pair.id}`;
            picture.append(image);
        } else picture.append(node("div", "nothing", "picture left out"));
        const question = node("h3", "", pair.q);
        question.dir = "auto";
        about.append(question, node("p", "note", `${pair.id}, iteration ${pair.i}, score gap ${gap(pair)}`));
        box.append(picture, about, side("Chosen", pair.c), side("Rejected", pair.r));
        return box;
    }

    function show(to, focus) {
        const pages = Math.max(1, Math.ceil(found.length / size));
        page = Math.min(Math.max(to, 0), pages - 1);
        const first = page * size, drawn = found.slice(first, first + size).map((pair, i) => draw(pair, first + i));
        list.replaceChildren(...drawn);
        if (drawn.length) drawn[focus === "last" ? drawn.length - 1 : 0].tabIndex = 0;
        by("where").textContent = found.length ? `${first + 1}–${first + drawn.length} of ${found.length} pairs` : "no pair is like that";
        by("previous").disabled = page === 0;
        by("next").disabled = page === pages - 1;
        if (focus && drawn.length) drawn[focus === "last" ? drawn.length - 1 : 0].focus();
    }

    function filter() {
        const iteration = by("f-iteration").value, least = Number(by("f-gap").value) || 0, sought = fold(by("f-text").value.trim());
        found = data.pairs.filter(p => (!iteration || p.i === Number(iteration)) && gap(p) >= least && (!sought || p.text.includes(sought)));
        show(0);
    }

    list.addEventListener("keydown", event => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const at = event.target.closest(".pair");
        const move = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
        if (at && move) {
            const to = at[move];
            if (to) {
                at.tabIndex = -1, to.tabIndex = 0;
                to.focus();
            } else if (event.key === "ArrowDown" && !by("next").disabled) show(page + 1, "first");
            else if (event.key === "ArrowUp" && page > 0) show(page - 1, "last");
        } else if (event.key === "ArrowRight" && !by("next").disabled) show(page + 1, "first");
        else if (event.key === "ArrowLeft" && page > 0) show(page - 1, "first");
        else return;
        event.preventDefault();
    });
    document.addEventListener("keydown", event => {
        if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
        event.preventDefault();
        by("f-text").focus();
    });
    by("filters").addEventListener("input", filter);
    by("filters").addEventListener("reset", () => setTimeout(filter));
    by("filters").addEventListener("submit", event => event.preventDefault());
    by("previous").addEventListener("click", () => show(page - 1));
    by("next").addEventListener("click", () => show(page + 1));
    for (const id of ["filters", "pager", "keys"]) by(id).hidden = false;
    filter();
})();
