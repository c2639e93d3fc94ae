// The cases of a report: read behind the first paint, found, filtered, and listed.

// -- cases: reading and finding

const samples = [];
const haystacks = [];
const groups = new Map();
const groupOf = (sample) => groups.get(`${sample.suite}\n${sample.case}`);
let found = [];

async function readSamples() {
  for (const chunk of document.querySelectorAll("script.chunk")) {
    for (const sample of readData(chunk)) {
      const key = `${sample.suite}\n${sample.case}`;
      sample.index = samples.push(sample) - 1;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(sample);
    }
    // The samples are what is needed from here on; their text would only take memory.
    chunk.remove();
    byId("progress").textContent = `reading cases: ${count(samples.length)} of ${count(data.samples)}`;
    await new Promise((resolve) => { setTimeout(resolve); });
  }
  byId("progress").textContent = "";
}

function haystack(sample) {
  haystacks[sample.index] ??= [
    sample.case, sample.suite, sample.model ?? "", sample.location ?? "", sample.completion?.text ?? "", sample.error?.message ?? "",
    ...(sample.thread ?? []).map((message) => [contentText(message.content ?? ""), message.tool_calls ? JSON.stringify(message.tool_calls) : ""].join("\n")),
    sample.completion?.tool_calls ? JSON.stringify(sample.completion.tool_calls) : "", ...(sample.grades ?? []).map((grade) => grade.reasoning ?? ""),
    sample.fields ? JSON.stringify(sample.fields) : "", sample.tasks ? JSON.stringify(sample.tasks) : "",
  ].join("\n").toLowerCase();
  return haystacks[sample.index];
}

/** Make what searches look through while nobody waits for it. */
function prepareSearch(start = 0) {
  if (start >= samples.length) return;
  for (const sample of samples.slice(start, start + 500)) haystack(sample);
  setTimeout(() => prepareSearch(start + 500), 20);
}

const NOTHING = { q: "", outcome: "", suite: "", model: "", grader: "", grade: "", slice: "", only: "", order: "" };
let state = { ...NOTHING, case: "" };
/** What was typed and chosen, but not yet looked for. */
const waiting = {};

const gradeOf = (sample, key) => (sample.grades ?? []).find((grade) => grade.key === key);
const gradeState = (grade) => grade.status ?? (grade.passed === true ? "passed" : grade.passed === false ? "missed" : "graded");
const sliceText = (value) => (value === undefined || value === null ? null : String(value));

const FILTERS = {
  q: (query) => { const wanted = query.toLowerCase(); return (sample) => haystack(sample).includes(wanted); },
  outcome: (outcome) => (sample) => sample.outcome === outcome,
  suite: (suite) => (sample) => sample.suite === suite,
  model: (model) => (sample) => (sample.model ?? "") === model,
  grader: (grader) => (sample) => gradeOf(sample, grader) !== undefined,
  grade: (wanted) => (sample) => (sample.grades ?? []).some((grade) => (!state.grader || grade.key === state.grader) && gradeState(grade) === wanted),
  slice: (slice) => { const [, field, value] = /^([^=]*)=(.*)$/s.exec(slice) ?? []; return (sample) => sliceText(sample.fields?.[field]) === value; },
  only: (only) => ONLY[only] ?? (() => true),
};

const verdicts = (sample) => (sample.grades ?? []).filter((grade) => grade.passed !== undefined && (!state.grader || grade.key === state.grader));
const ONLY = {
  models: (sample) => new Set(groupOf(sample).map((other) => `${state.grader ? "" : other.outcome} ${verdicts(other).map((grade) => `${grade.key}=${grade.passed}`)}`)).size > 1,
  graders: (sample) => new Set((sample.grades ?? []).filter((grade) => grade.passed !== undefined).map((grade) => grade.passed)).size > 1,
  worse: (sample) => changeOf(sample) < 0,
  better: (sample) => changeOf(sample) > 0,
  text: (sample) => sample.before?.text !== undefined && sample.before.text !== (sample.completion?.text ?? ""),
};

/** How a case changed since the baseline: by its outcome, else by the sum of its grades' values. */
function changeOf(sample) {
  if (!sample.before) return 0;
  const good = Number(sample.outcome === "passed") - Number(sample.before.outcome === "passed");
  if (good && !state.grader) return good;
  const keys = state.grader ? [state.grader] : (sample.grades ?? []).map((grade) => grade.key);
  return keys.reduce((sum, key) => {
    const now = gradeOf(sample, key)?.value;
    const then = (sample.before.grades ?? []).find((grade) => grade.key === key)?.value;
    return now === undefined || then === undefined ? sum : sum + now - then;
  }, 0);
}

const ORDERS = {
  low: (a, b) => lowest(a) - lowest(b),
  high: (a, b) => lowest(b) - lowest(a),
  long: (a, b) => (b.completion?.text.length ?? 0) - (a.completion?.text.length ?? 0),
  slow: (a, b) => (b.completion?.latency ?? 0) - (a.completion?.latency ?? 0),
};

function lowest(sample) {
  const values = (sample.grades ?? []).filter((grade) => grade.value !== undefined && (!state.grader || grade.key === state.grader)).map((grade) => grade.value);
  return values.length ? Math.min(...values) : Infinity;
}

function find() {
  const start = performance.now();
  const tests = Object.entries(FILTERS).filter(([name]) => state[name]).map(([name, make]) => make(state[name]));
  found = samples.filter((sample) => tests.every((test) => test(sample)));
  if (ORDERS[state.order]) found.sort(ORDERS[state.order]);
  byId("count").textContent = found.length === samples.length ? plural(samples.length, "case") : `${count(found.length)} of ${plural(samples.length, "case")}`;
  byId("clear").hidden = Object.keys(NOTHING).every((name) => !state[name]);
  byId("rows").scrollTop = 0;
  showRows();
  performance.measure("find", { start });
}

// -- cases: filters

function setUpFilters() {
  const graders = [...new Set(data.scores.map((score) => score.grader))];
  const several = (names) => (names.length > 1 ? names : []);
  const select = (name, label, options) => options.length > 0 && h("select", { name, "aria-label": label }, h("option", { value: "" }, label), options);
  const option = (value, text = value) => h("option", { value, title: text.length > 40 ? text : null }, clipped(text));
  const fields = data.slices.map(({ suite, field, rows }) => h("optgroup", { label: severalSuites ? `${suite}: ${clipped(field)}` : clipped(field) },
    [...new Set(rows.map((row) => row.value))].map((value) => option(`${field}=${value}`, value))));
  const only = [
    ...(severalModels || data.samples > groupCount() ? [["models", severalModels ? "models disagree" : "repeats disagree"]] : []),
    ...(graders.length > 1 ? [["graders", "graders disagree"]] : []),
    ...(data.paired ? [["worse", "worse than before"], ["better", "better than before"], ["text", "other text than before"]] : []),
  ];
  byId("filters").append(
    h("input", { type: "search", name: "q", placeholder: "Search", "aria-label": "Search in prompts, answers, reasons and fields", autocomplete: "off", spellcheck: "false" }),
    h("button", { type: "button", id: "more", "aria-expanded": "false", click: toggleFilters }, "Filters"),
    h("div", { id: "selects" },
      select("outcome", "any outcome", ["passed", "missed", "failed", "errored", "skipped"].map((name) => option(name))),
      select("suite", "all suites", several(data.suites).map((name) => option(name))),
      select("model", "all models", several(data.models).map(({ model, short: name }) => option(model, name))),
      select("grader", "any grader", graders.map((name) => option(name))),
      select("grade", "any grade", ["passed", "missed", "graded", "error", "pending", "not_applicable"].map((name) => option(name, name.replace("_", " ")))),
      select("slice", "any slice", fields),
      select("only", "all cases", only.map(([value, text]) => option(value, text))),
      select("order", "in run order", [["low", "lowest grade first"], ["high", "highest grade first"], ["long", "longest answer first"], ["slow", "slowest first"]].map(([value, text]) => option(value, text)))),
    h("output", { id: "count", role: "status" }),
    h("button", { type: "button", id: "clear", hidden: true, click: () => { update({ ...NOTHING }); byId("filters").elements.q.focus(); } }, "Clear"));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", ({ target }) => {
    waiting[target.name] = target.value;
    clearTimeout(setUpFilters.timer);
    setUpFilters.timer = setTimeout(() => update({ ...waiting }), target.name === "q" ? 80 : 0);
  });
}

const groupCount = () => data.run.suites.reduce((sum, suite) => sum + suite.n, 0) * data.models.length;

function toggleFilters({ target }) {
  target.setAttribute("aria-expanded", String(byId("selects").classList.toggle("open")));
}

function showFilters() {
  for (const control of byId("filters").elements) {
    if (control.name && control !== document.activeElement) control.value = state[control.name];
    else if (control.name === "q" && control.value.trim() === "" && state.q) control.value = state.q;
  }
}

/** Change what is looked for, or which case is open; the address says it, so that it can be passed on. */
function update(changes) {
  for (const name of Object.keys(changes)) delete waiting[name];
  const filters = Object.keys(changes).some((name) => name !== "case" && changes[name] !== state[name]);
  const opened = changes.case !== undefined && changes.case !== state.case;
  state = { ...state, ...changes };
  const parameters = Object.entries(state).filter(([, value]) => value);
  history.replaceState(null, "", `#${state.case ? "" : "cases&"}${new URLSearchParams(parameters)}`.replace(/&$/, ""));
  if (filters) { showFilters(); find(); }
  if (opened) showCase();
}

// -- cases: the list, of which only what can be seen is in the document

const ROW = 84;

function showRows() {
  const rows = byId("rows");
  const first = Math.max(Math.floor(rows.scrollTop / ROW) - 4, 0);
  const shown = found.slice(first, first + Math.ceil(rows.clientHeight / ROW) + 8);
  byId("spacer").style.height = `${found.length * ROW}px`;
  byId("spacer").replaceChildren(...shown.map((sample, index) => rowOf(sample, first + index)));
  rows.hidden = !found.length;
  byId("none")?.remove();
  if (!found.length) byId("list").append(h("p", { id: "none", class: "quiet" }, samples.length < data.samples ? "Reading cases …" : "No case is like that."));
  const selected = shown.find((sample) => sample.id === state.case);
  if (selected) rows.setAttribute("aria-activedescendant", `row-${selected.index}`);
  else rows.removeAttribute("aria-activedescendant");
}

function rowOf(sample, position) {
  const row = h("div", {
    class: "row", id: `row-${sample.index}`, role: "option", "aria-selected": String(sample.id === state.case),
    "aria-setsize": found.length, "aria-posinset": position + 1, click: () => open(sample),
  },
  h("span", { class: "line" }, outcomeWord(sample.outcome, ""), h("span", { class: "unseen" }, `${sample.outcome} `), h("span", { class: "id" }, sample.case),
    h("span", { class: "where" }, [sample.repeat && `repeat ${sample.repeat}`, severalModels && short(sample.model), severalSuites && sample.suite].filter(Boolean).join(" · "))),
  h("span", { class: "line" }, h("span", { class: "question text", dir: "auto" }, flat(questionOf(sample)))),
  h("span", { class: "line excerpt" }, h("span", { class: "answer text", dir: "auto" }, flat(answerOf(sample))), h("span", { class: "where" }, gradesShown(sample))));
  row.style.top = `${position * ROW}px`;
  return row;
}

const flat = (text) => text.slice(0, 240).replace(CONTROL, " ").replace(/\s+/g, " ").trim();
const fieldsText = (fields) => Object.entries(fields ?? {}).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(" · ");

/** What a case asks in few words: the last question of its prompt; of a case that has no prompt its row. */
function questionOf(sample) {
  const asked = (sample.thread ?? []).findLast((message) => message.role !== "assistant" && message.role !== "tool");
  if (!asked) return fieldsText(sample.fields);
  const text = contentText(asked.content ?? "").trim();
  if (text.length <= 60) return text;
  // Of a long prompt the question stands at the end, mostly before a short line as "Answer:".
  return text.slice(-4000).split("\n").map((line) => line.trim()).findLast((line) => line.length > 15) ?? text;
}

/** What came of a case in few words: an error, the answer (of tools that it called), or the results of its tasks. */
function answerOf(sample) {
  if (sample.error) return sample.error.message;
  if (!sample.completion) return fieldsText(sample.tasks);
  return sample.completion.text || (sample.completion.tool_calls ?? []).map((call) => (call.function ?? call).name).join(", ");
}

/** The grade that was asked for, else those that are not a pass. */
function gradesShown(sample) {
  const grades = state.grader ? [gradeOf(sample, state.grader)].filter(Boolean) : (sample.grades ?? []).filter((grade) => gradeState(grade) !== "passed" && grade.status !== "not_applicable");
  return grades.slice(0, 3).map((grade) => `${grade.key} ${grade.value === undefined ? grade.status : plainNumber(grade.value)}`).join(", ");
}

function open(sample, { focus = false } = {}) {
  update({ case: sample.id });
  document.body.classList.add("reading");
  const position = found.indexOf(sample);
  const rows = byId("rows");
  if (position >= 0) {
    if (position * ROW < rows.scrollTop) rows.scrollTop = position * ROW;
    if ((position + 1) * ROW > rows.scrollTop + rows.clientHeight) rows.scrollTop = (position + 1) * ROW - rows.clientHeight;
  }
  showRows();
  if (focus) byId("detail").focus();
}

function close() {
  document.body.classList.remove("reading");
  byId("rows").focus();
}

function step(by) {
  if (byId("cases-view").hidden || !found.length) return;
  const position = found.findIndex((sample) => sample.id === state.case);
  const next = position < 0 ? 0 : Math.min(Math.max(position + by, 0), found.length - 1);
  open(found[next]);
  byId("detail").scrollTop = 0;
}

/** The same case's next answer: of another model or repeat. */
function stepAnswer(by) {
  const sample = samples.find((other) => other.id === state.case);
  if (!sample || byId("cases-view").hidden) return;
  const group = groupOf(sample);
  open(group[(group.indexOf(sample) + by + group.length) % group.length]);
}
