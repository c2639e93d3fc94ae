"use strict";
// What all pages share. Every word from a model, a data set or a file goes through textContent: nothing is ever parsed
// as markup.

const byId = (id) => document.getElementById(id);
const readData = (node) => JSON.parse(node.textContent);

/** Make an element. Attributes that are functions listen to the event of their name; null children are left out. */
function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a part of a drawing. */
function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A name that may be broken into lines where its parts end. */
const breakable = (name) => name.split(/(?<=[_./:?&=-])/).flatMap((part, index) => (index ? [h("wbr"), part] : [part]));

// -- numbers and words

function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) < 1000 ? value.toFixed(3) : value.toLocaleString("en", { maximumFractionDigits: 1 });
}

/** A difference, always with its sign. */
const signed = (value) => (value === null || value === undefined ? "–" : `${value < 0 ? "−" : value > 0 ? "+" : ""}${number(Math.abs(value))}`);
const range = (ends, shown = number) => (ends && ends[0] !== null && ends[1] !== null && ends[0] !== undefined && ends[1] !== undefined ? `${shown(ends[0])} to ${shown(ends[1])}` : "");

/** A grade's value: short where it is whole. */
const plainNumber = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));
const count = (value) => value.toLocaleString("en");

function percent(share) {
  if (share === null || share === undefined) return "–";
  const text = `${Math.round(share * 100)}%`;
  const rounded = (text === "0%" && share !== 0) || (text === "100%" && share !== 1);
  return rounded ? `${(Math.min(Math.max(share, 0.001), 0.999) * 100).toFixed(1)}%` : text;
}

const clipped = (text, length = 40) => (text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text);
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
/** The text of a message's content, with the names of its images and recordings. */
const contentText = (content) => (Array.isArray(content) ? content.map((part) => (part.media ? `[${part.label}]` : part.text ?? asText(part))).join("\n") : asText(content ?? ""));
const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "");

// -- text from elsewhere

// Joiners, selectors of a form and the letters of flags take part in writing, in their places; anywhere else they hide. The same
// as in pytest_evals/text.py.
const SCRIPT = String.raw`\u0590-\u1fff\u2190-\u2bff\u2e80-\ud7ff\uf900-\ufdcf\u{10000}-\u{dffff}`;
const IN_PLACE = String.raw`\u200c\u200d\ufe00-\ufe0f\u180b-\u180d\u180f\u{e0020}-\u{e007f}\u{e0100}-\u{e01ef}`;
const CONTROL = new RegExp([
  String.raw`(?![\n\t])[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufdd0-\ufdef\ufff0-\ufffb\ufffe\uffff]`,
  String.raw`(?![${IN_PLACE}])\p{Default_Ignorable_Code_Point}`,
  String.raw`[\u200c\u200d](?:(?<![${SCRIPT}\ufe0f].)|(?![${SCRIPT}]))`,
  String.raw`(?<![#*0-9\xa9\xae\u203c\u2049\u20e3\u2122\u2139${SCRIPT}])[\ufe00-\ufe0f]`,
  String.raw`(?<![\u1820-\u18aa])[\u180b-\u180d\u180f]`,
  String.raw`(?<!\u{1f3f4}[\u{e0030}-\u{e007a}]{0,6})[\u{e0020}-\u{e007f}]`,
  String.raw`(?<![\u3400-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}])[\u{e0100}-\u{e01ef}]`,
].join("|"), "gu");
const FIRST_SHOWN = 20000;

/**
 * Return an element with a text of any size and content. What reorders, hides or cannot be shown stands there as its
 * code; `query` is marked; of a very long text the beginning is shown, and a button brings the rest.
 */
function textBlock(text, { query = "", tag = "div", label = null } = {}) {
  const block = h(tag, { class: "text", dir: "auto", "aria-label": label });
  const head = text.length > FIRST_SHOWN * 1.5 ? text.slice(0, FIRST_SHOWN) : text;
  appendText(block, head, query);
  if (head !== text) {
    const more = h("button", { type: "button", click: () => more.replaceWith(...pieces(text.slice(FIRST_SHOWN), query)) },
      `Show all ${count(text.length)} characters`);
    block.append(h("br"), more);
  }
  return block;
}

/** Long text as blocks that the browser lays out only when they come into view. */
function pieces(text, query) {
  const found = [];
  for (let start = 0; start < text.length; start += FIRST_SHOWN) {
    const piece = h("span", { class: "piece" });
    appendText(piece, text.slice(start, start + FIRST_SHOWN), query);
    found.push(piece);
  }
  return found;
}

function appendText(node, text, query) {
  for (const [part, isFound] of query ? splitAt(text, query) : [[text, false]]) {
    const target = isFound ? node.appendChild(h("mark")) : node;
    let end = 0;
    for (const match of part.matchAll(CONTROL)) {
      const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      target.append(part.slice(end, match.index), h("span", { class: "control", title: "a character that cannot be seen" }, `U+${code}`));
      end = match.index + match[0].length;
    }
    target.append(part.slice(end));
  }
}

function splitAt(text, query) {
  const pattern = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push([text.slice(end, match.index), false], [match[0], true]);
    end = match.index + match[0].length;
  }
  parts.push([text.slice(end), false]);
  return parts;
}

/** A message's content: its texts, images and recordings in their order. */
function contentBlocks(content, options = {}) {
  if (!Array.isArray(content)) return textBlock(asText(content ?? ""), options);
  return content.map((part) => (part.media ? mediaBlock(part) : textBlock(part.text ?? asText(part), options)));
}

/** An image or a recording: itself where it is inside of the page, with the name of its file. */
function mediaBlock({ media, label, src, href, missing }) {
  const name = href ? h("a", { href, rel: "noreferrer" }, label) : label;
  const shown = src?.startsWith(`data:${media}/`) && (media === "image" ? h("img", { src, alt: label, loading: "lazy" }) : h("audio", { src, controls: true, "aria-label": label }));
  return h("figure", { class: "media" }, shown, h("figcaption", { class: "quiet" }, name, missing && " (the file is not there, or has changed)"));
}

const outcomeWord = (word, label = word) => h("span", { class: `outcome ${word.replace(" ", "-")}` }, label);

// -- differences between two texts, by words

const WORDS = /(?:[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_])\s*|\s+/gu;
const MOST_CELLS = 4e6;

/** Return [kind, text] pairs with kinds "same", "removed", "added"; the longest common subsequence of the words. */
function wordDiff(before, after) {
  const a = before.match(WORDS) ?? [];
  const b = after.match(WORDS) ?? [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const middle = middleDiff(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return joined([
    ...a.slice(0, start).map((word) => ["same", word]), ...middle, ...a.slice(a.length - end).map((word) => ["same", word]),
  ]);
}

function middleDiff(a, b) {
  const replaced = [...a.map((word) => ["removed", word]), ...b.map((word) => ["added", word])];
  if (!a.length || !b.length || a.length * b.length > MOST_CELLS) return replaced;
  // length[i][j]: of the longest common subsequence of a[i:] and b[j:].
  const width = b.length + 1;
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i * width + j] = a[i] === b[j]
        ? length[(i + 1) * width + j + 1] + 1
        : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) found.push(["same", a[i]]), (i += 1), (j += 1);
    else if (j === b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) found.push(["removed", a[i]]), (i += 1);
    else found.push(["added", b[j]]), (j += 1);
  }
  return found;
}

function joined(pairs) {
  const found = [];
  for (const [kind, word] of pairs) {
    if (found.length && found.at(-1)[0] === kind) found.at(-1)[1] += word;
    else found.push([kind, word]);
  }
  return found;
}

/** Show what changed: removed words struck through, added ones underlined. */
function diffBlock(before, after) {
  const block = h("div", { class: "text", dir: "auto" });
  for (const [kind, text] of wordDiff(before.slice(0, FIRST_SHOWN), after.slice(0, FIRST_SHOWN))) {
    const part = kind === "same" ? block : block.appendChild(h(kind === "added" ? "ins" : "del"));
    appendText(part, text, "");
  }
  if (Math.max(before.length, after.length) > FIRST_SHOWN) block.append(h("p", { class: "quiet" }, `(the first ${count(FIRST_SHOWN)} characters)`));
  return block;
}

// -- theme, keys, help

function setUpTheme(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("evals-theme"); } catch { return null; } };
  const show = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    const current = theme ?? (dark.matches ? "dark" : "light");
    button.textContent = current === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${current === "dark" ? "light" : "dark"} colours`);
    return current;
  };
  let current = show(stored());
  dark.addEventListener("change", () => { current = show(document.documentElement.dataset.theme); });
  button.addEventListener("click", () => {
    current = show(current === "dark" ? "light" : "dark");
    try { localStorage.setItem("evals-theme", current); } catch { /* a page opened from a file may store nothing */ }
  });
}

/** Keys without a modifier, outside of fields; each entry is [keys, what they do, function]. Escape works in fields too. */
function setUpKeys(entries, dialog, helpButton) {
  dialog.append(
    h("h2", { id: "keys-title" }, "Keys"),
    h("dl", {}, entries.map(([keys, text]) => [h("dt", {}, keys.map((key) => [h("kbd", {}, key), " "])), h("dd", {}, text)])),
    h("form", { method: "dialog" }, h("button", {}, "Close")),
  );
  const help = () => dialog.showModal();
  helpButton.addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || dialog.open) return;
    const writing = event.target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select");
    if (writing && event.key !== "Escape") return;
    // Enter and the space bar belong to the control that has the focus.
    if (["Enter", " "].includes(event.key) && event.target.matches("button, a, summary, input")) return;
    const entry = event.key === "?" ? [null, null, help] : entries.find(([keys]) => keys.includes(NAMES[event.key] ?? event.key));
    if (entry && entry[2](event) !== false) event.preventDefault();
  });
}
const NAMES = { Escape: "esc", Enter: "enter", ArrowDown: "↓", ArrowUp: "↑" };
