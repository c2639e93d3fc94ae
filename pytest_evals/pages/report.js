// The report: an overview, and a browser of cases. `data` is there at once; samples follow it in the document and are
// read after the first paint.

const data = readData(byId("data"));
const severalModels = data.models.length > 1;
const severalSuites = data.suites.length > 1;
const shortNames = new Map(data.models.map(({ model, short }) => [model, short]));
const short = (model) => shortNames.get(model ?? "") ?? model ?? "";

// -- overview

function showOverview() {
  byId("overview-view").append(...[masthead(), gates(), changes(), scores(), agreement(), slices(), ledger(), run()].filter(Boolean));
}

function masthead() {
  const { run, baseline } = data;
  // A checkout of CI is on no branch.
  const branch = ({ branch: name }) => (name && name !== "HEAD" ? ` on ${name}` : "");
  const git = (facts) => (facts?.git ? `${facts.git.commit.slice(0, 10)}${facts.git.dirty ? " with changes" : ""}${branch(facts.git)}` : null);
  const facts = [when(run.started), git(run), data.models.map((model) => model.model || "recorded completions").join(", ")];
  return h("section", { class: "masthead" },
    h("h1", {}, verdict()),
    h("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    baseline && h("p", { class: "quiet" }, `Compared with ${[baseline.run_id, when(baseline.started), git(baseline)].filter(Boolean).join(" · ")}`),
    data.interruption && h("p", { class: "warning" }, h("strong", {}, "Not complete. "), data.interruption),
  );
}

const when = (iso) => (iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" }) : null);

function verdict() {
  const all = data.gates.length;
  const failed = data.gates.filter((gate) => gate.fails).length;
  const met = data.gates.filter((gate) => gate.verdict === "passed").length;
  if (!all) return `${plural(data.samples, "case")}, no gates`;
  if (failed) return `${failed} of ${plural(all, "gate")} not met`;
  if (met < all) return `${met} of ${plural(all, "gate")} met, the others undecided`;
  return all === 1 ? "The gate is met" : `All ${all} gates met`;
}

function gates() {
  if (!data.gates.length) return null;
  const met = data.gates.filter((gate) => gate.verdict === "passed");
  const rest = data.gates.filter((gate) => gate.verdict !== "passed").toSorted((a, b) => Number(b.fails) - Number(a.fails));
  return h("section", { "aria-labelledby": "gates-title" }, h("h2", { id: "gates-title" }, "Gates"),
    rest.length > 0 && gateTable(rest, "Gates that are not met"),
    met.length > 0 && h("details", { open: !rest.length && met.length < 7 }, h("summary", {}, `${plural(met.length, "gate")} met`), gateTable(met, "Gates that are met")));
}

const gateWord = (gate) => outcomeWord(gate.fails ? "failed" : gate.verdict, { passed: "met", failed: "not met" }[gate.verdict] ?? gate.verdict);

function gateTable(rows, label) {
  return scrollable(label, h("table", { class: "gates" },
    h("thead", {}, h("tr", {}, ["Verdict", "Gate", "Found"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((gate) => h("tr", {},
      h("td", {}, gateWord(gate)),
      h("td", {}, h("code", {}, gate.gate), whereOf(gate) && h("small", {}, whereOf(gate))),
      h("td", { class: "found" }, gate.reason))))));
}

const whereOf = ({ suite, model }) => [severalSuites && suite, severalModels && short(model)].filter(Boolean).join(" · ");

const pValue = (p) => (p === null || p === undefined ? "–" : p < 0.001 ? "<0.001" : p.toFixed(3));
const CHANGES = { better: "passed", worse: "failed", unclear: "inconclusive", same: "skipped", "-": "skipped" };

/** What became of each score, case by case, with the gates that are about it. */
function changes() {
  const rows = data.changes;
  if (!rows.length) return null;
  const widest = Math.max(...rows.flatMap((row) => [row.difference ?? 0, ...(row.interval ?? [])]).map(Math.abs));
  const flips = (row, only) => {
    const n = row[FLIPS[only]];
    return n && data.paired ? link({ suite: row.suite, ...(severalModels ? { model: row.model } : {}), grader: row.grader, only }, count(n)) : n ?? "–";
  };
  return h("section", { "aria-labelledby": "changes-title" }, h("h2", { id: "changes-title" }, "Since the baseline"),
    scoreTable("Changes since the baseline", "changes", rows, [
      ["Verdict", (row) => outcomeWord(CHANGES[row.verdict], row.verdict === "-" ? "not compared" : row.verdict)],
      ["Change", (row) => signed(row.difference), "number mean"], ["Its interval", (row) => changePlot(row, widest)], ["p", (row) => pValue(row.p), "number"],
      ["Rose", (row) => flips(row, "better"), "number"], ["Fell", (row) => flips(row, "worse"), "number"],
      ["Before", (row) => number(row.before), "number"], ["Now", (row) => number(row.after), "number"], ["Cases", (row) => count(row.n), "number"],
      ...(rows.some((row) => row.gates.length) ? [["Gate", (row) => row.gates.map((gate) => h("p", { title: `${gate.gate}: ${gate.reason}` }, gateWord(gate)))]] : []),
    ]),
    h("p", { class: "quiet" }, "Over the cases that both runs have, case by case. The verdict is at 5 %; p is adjusted for all rows (Holm)."),
    data.uncompared.length > 0 && h("ul", { class: "notes quiet" }, data.uncompared.map((note) => h("li", {}, note))));
}

/** A table with a row for each grader and model, under the names of the suites. Columns are [title, cell of a row, class]. */
function scoreTable(label, kind, rows, columns) {
  const byModel = data.suites.some((suite) => new Set(data.scores.filter((score) => score.suite === suite).map((score) => score.model)).size > 1);
  const width = columns.length + 1 + Number(byModel);
  return scrollable(label, h("table", { class: kind },
    h("thead", {}, h("tr", {}, ["Grader", ...(byModel ? ["Model"] : [])].map((name) => h("th", { scope: "col" }, name)), columns.map(([name, , style]) => h("th", { scope: "col", class: style }, name)))),
    data.suites.map((suite) => [suite, rows.filter((row) => row.suite === suite)]).filter(([, mine]) => mine.length).map(([suite, mine]) => {
      return [severalSuites && h("tbody", { class: "suite" }, h("tr", {}, h("th", { scope: "rowgroup", colspan: width }, suite, severalModels && !byModel && h("small", {}, short(mine[0].model))))),
        [...new Set(mine.map((row) => row.grader))].map((grader) => h("tbody", {}, mine.filter((row) => row.grader === grader).map((row, index, group) => h("tr", {},
          index === 0 && h("th", { scope: "rowgroup", rowspan: group.length }, link({ suite, grader }, grader)),
          byModel && h("td", { class: "model" }, link({ suite, grader, model: row.model }, short(row.model))),
          columns.map(([, cell, style]) => h("td", { class: style }, cell(row)))))))];
    })));
}

const FLIPS = { better: "rose", worse: "fell" };

/** A difference on a scale that has 0 in its middle and is the same in all rows. */
function changePlot(row, widest) {
  if (row.difference === null) return h("span", { class: "quiet" }, "–");
  const [width, height] = [130, 20];
  const x = (value) => width / 2 + (widest > 0 ? value / widest : 0) * (width / 2 - 5);
  const label = `change ${signed(row.difference)}${row.interval ? `, 95% interval ${range(row.interval, signed)}` : ""}`;
  return svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    svg("title", {}, label),
    svg("line", { class: "axis", x1: 5, x2: width - 5, y1: 10, y2: 10 }),
    svg("line", { class: "axis", x1: width / 2, x2: width / 2, y1: 3, y2: 17 }),
    row.interval && svg("line", { class: "interval", x1: x(row.interval[0]), x2: x(row.interval[1]), y1: 10, y2: 10 }),
    svg("circle", { class: "mean", cx: x(row.difference), cy: 10, r: 3.5 }));
}

function scores() {
  if (!data.scores.length) return null;
  const extra = [["Errors", "errors"], ["Pending", "pending"], ["N/A", "not_applicable"]].filter(([, name]) => data.scores.some((score) => score[name]));
  return h("section", { "aria-labelledby": "scores-title" }, h("h2", { id: "scores-title" }, severalSuites ? "Scores" : data.suites[0]),
    scoreTable("Scores", "scores", data.scores, [
      ["Mean", (score) => number(score.mean), "number mean"], ["Interval", intervalPlot], ["Values", histogram], ["Passed", (score) => percent(score.pass_rate), "number"],
      ["Graded", (score) => (score.n === score.applicable ? count(score.n) : `${count(score.n)}/${count(score.applicable)}`), "number"],
      ...extra.map(([title, name]) => [title, (score) => (score[name] ? count(score[name]) : ""), "number"]),
    ]));
}

const caseLink = (sample) => `#${new URLSearchParams({ case: sample.id })}`;
const link = (filters, text) => h("a", { href: `#cases&${new URLSearchParams(filters)}` }, text);

/** Tables keep their shape on a narrow screen and move sideways in a frame of their own. */
const scrollable = (label, table) => h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": label }, table);

function bounds(score) {
  if (typeof score.ci_low === "number" && typeof score.ci_high === "number") return [score.ci_low, score.ci_high];
  return null;
}

function intervalPlot(score) {
  if (score.mean === null || !score.histogram) return h("span", { class: "quiet" }, "–");
  const [width, height] = [150, 20];
  const interval = bounds(score);
  const low = Math.min(score.histogram.low, ...(interval ?? []));
  const high = Math.max(score.histogram.high, ...(interval ?? []));
  const x = (value) => 5 + (high > low ? (value - low) / (high - low) : 0.5) * (width - 10);
  const label = [`mean ${number(score.mean)}`, interval && `95% interval ${range(interval)}`, score.before !== null && `before ${number(score.before)}`].filter(Boolean).join(", ");
  return svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    svg("title", {}, label),
    svg("line", { class: "axis", x1: 5, x2: width - 5, y1: 10, y2: 10 }),
    [low, high].map((value) => svg("line", { class: "axis", x1: x(value), x2: x(value), y1: 7, y2: 13 })),
    interval && svg("line", { class: "interval", x1: x(interval[0]), x2: x(interval[1]), y1: 10, y2: 10 }),
    score.before !== null && svg("circle", { class: "before", cx: x(Math.min(Math.max(score.before, low), high)), cy: 10, r: 4 }),
    svg("circle", { class: "mean", cx: x(score.mean), cy: 10, r: 3.5 }));
}

function histogram({ histogram: found }) {
  if (!found) return "";
  const [width, height] = [84, 22];
  const most = Math.max(...found.counts);
  const step = width / found.counts.length;
  const label = `from ${plainNumber(found.low)} to ${plainNumber(found.high)}: ${found.counts.join(", ")}`;
  return svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    svg("title", {}, label),
    svg("line", { class: "axis", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 }),
    found.counts.map((n, index) => {
      const tall = n ? Math.max((n / most) * (height - 2), 1.5) : 0;
      return svg("rect", { x: index * step + 0.5, y: height - 1 - tall, width: step - 1, height: tall });
    }));
}

function agreement() {
  const rows = data.agreement ?? [];
  if (!rows.length) return null;
  return h("section", { "aria-labelledby": "agreement-title" }, h("h2", { id: "agreement-title" }, "Agreement"),
    h("ul", { class: "notes" }, rows.map((row) => h("li", {}, row.about ?? row, row.texts && h("ul", { class: "notes" }, row.texts.map((text) => h("li", {}, text)))))));
}

function slices() {
  if (!data.slices.length) return null;
  return h("section", { "aria-labelledby": "slices-title" }, h("h2", { id: "slices-title" }, "Slices"),
    data.slices.map(({ suite, field, rows }, index) => {
      const graders = [...new Set(rows.map((row) => row.grader))];
      const models = [...new Set(rows.map((row) => row.model))];
      const find = (value, model, grader) => rows.find((row) => row.value === value && row.model === model && row.grader === grader);
      return h("details", { open: index === 0 }, h("summary", {}, severalSuites ? `${suite}, by ${field}` : `by ${field}`),
        scrollable(`${suite} by ${field}`, h("table", { class: "slices" },
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, field), models.length > 1 && h("th", { scope: "col" }, "Model"), h("th", { scope: "col", class: "number" }, "Cases"), graders.map((grader) => h("th", { scope: "col", class: "number" }, grader)))),
          [...new Set(rows.map((row) => row.value))].map((value) => h("tbody", {}, models.map((model, place) => h("tr", {},
            place === 0 && h("th", { scope: "rowgroup", rowspan: models.length }, link({ suite, slice: `${field}=${value}` }, value)),
            models.length > 1 && h("td", { class: "model" }, link({ suite, slice: `${field}=${value}`, model }, short(model))),
            h("td", { class: "number" }, count(Math.max(...graders.map((grader) => find(value, model, grader)?.n ?? 0)))),
            graders.map((grader) => h("td", { class: "number" }, sliceCell(find(value, model, grader)))))))))));
    }));
}

function sliceCell(row) {
  if (!row) return "–";
  const low = row.p !== undefined && `lower than the rest, ${number(row.rest)}: p ${row.p < 0.001 ? "" : "= "}${pValue(row.p)}`;
  return [low ? h("strong", { class: "low", title: low }, number(row.mean), h("span", { class: "unseen" }, ` ${low}`)) : number(row.mean),
    h("small", {}, range([row.ci_low, row.ci_high]))];
}

const OUTCOMES = ["passed", "missed", "failed", "errored", "pending", "not_applicable", "not_run"];

function ledger() {
  const { collected, ...parts } = data.ledger;
  const shown = [...new Set([...OUTCOMES, ...Object.keys(parts)])].filter((name) => parts[name]);
  const bar = svg("svg", { class: "ledger", viewBox: "0 0 1000 12", preserveAspectRatio: "none", "aria-hidden": "true" });
  let start = 0;
  for (const name of shown) {
    const width = (parts[name] / collected) * 1000;
    bar.append(svg("rect", { class: `part-${name}`, x: start, y: 0, width: Math.max(width - 2, 1), height: 12 }));
    start += width;
  }
  const words = { not_applicable: "not applicable", not_run: "not run" };
  return h("section", { "aria-labelledby": "ledger-title" }, h("h2", { id: "ledger-title" }, plural(collected, "case")), bar,
    h("ul", { class: "counts" }, shown.map((name) => {
      const outcome = name === "not_applicable" ? "skipped" : name;
      const text = `${count(parts[name])} ${words[name] ?? name}`;
      return h("li", {}, name === "not_run" || name === "pending" ? outcomeWord("skipped", text) : h("a", { href: `#cases&outcome=${outcome}`, class: `outcome ${outcome}` }, text));
    })));
}

function run() {
  const facts = data.run;
  const items = [
    ["Run", facts.run_id], ["Command", h("code", {}, (facts.command ?? []).join(" "))],
    ["Commit", facts.git ? `${facts.git.commit}${facts.git.dirty ? ", with changes" : ""}` : "not in a repository"],
    ["Device", [facts.device, facts.platform].filter(Boolean).join(", ")], ["Seed", String(facts.seed)],
    ["Versions", [`Python ${facts.python}`, `pytest ${facts.pytest}`, `pytest-evals-hf ${facts.plugin}`, ...Object.entries(facts.packages ?? {}).map(([name, version]) => `${name} ${version}`)].join(", ")],
    ...(facts.suites ?? []).map((suite) => [`Data of ${suite.name}`, `${suite.dataset_key}, ${plural(suite.n, "row")}, ${suite.dataset_hash}`]),
  ];
  return h("section", { "aria-labelledby": "run-title" }, h("h2", { id: "run-title" }, "The run"),
    data.notes.length > 0 && h("ul", { class: "notes" }, data.notes.map((note) => h("li", {}, note))),
    throughput(), h("dl", { class: "facts" }, items.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function throughput() {
  const uses = data.throughput;
  return uses.length > 0 && h("ul", { class: "notes" }, uses.map((use) => h("li", {}, use.recalled && !use.replicas ? `${use.short}: not loaded; all ${plural(use.recalled, "answer")} asked of it known from before` : [
    `${use.short} on ${[use.device, use.dtype].filter(Boolean).join(" ")}: ${plural(use.completions, "completion")}, ${count(use.completion_tokens)} tokens in ${use.seconds.toFixed(1)} s`,
    use.tokens_per_second && `${Math.round(use.tokens_per_second)} tokens/s`,
    use.occupancy && `batches ${percent(use.occupancy)} full`, use.shared_prompt && `${percent(use.shared_prompt)} of prompt tokens shared`,
  ].filter(Boolean).join(", "))));
}

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
    ...(sample.thread ?? []).map((message) => asText(message.content)), ...(sample.grades ?? []).map((grade) => grade.reasoning ?? ""),
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
  const option = (value, text = value) => h("option", { value }, text);
  const fields = data.slices.map(({ suite, field, rows }) => h("optgroup", { label: severalSuites ? `${suite}: ${field}` : field },
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

const ROW = 62;

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
  h("span", { class: "line excerpt" }, h("span", { class: "answer text", dir: "auto" }, excerpt(sample)), h("span", { class: "where" }, gradesShown(sample))));
  row.style.top = `${position * ROW}px`;
  return row;
}

const excerpt = (sample) => (sample.error?.message ?? sample.completion?.text ?? "").slice(0, 160).replace(CONTROL, " ").replace(/\s+/g, " ");

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

// -- one case

function showCase() {
  const sample = samples.find((other) => other.id === state.case);
  const detail = byId("detail");
  if (!sample) {
    detail.replaceChildren(h("p", { class: "quiet hint" }, state.case && samples.length === data.samples ? `There is no case ${state.case} in this run.` : "Choose a case: j and k move through the list."));
    return;
  }
  detail.replaceChildren(...[
    caseHead(sample), sample.error && h("section", {}, h("h3", {}, `Error: ${sample.error.kind}`), textBlock(sample.error.message)),
    gradesTable(sample), conversation(sample), sinceBaseline(sample), others(sample), calls(sample), named("Tasks", sample.tasks), named("Row", sample.fields), technical(sample),
  ].filter(Boolean));
}

function caseHead(sample) {
  const copy = h("button", { type: "button", class: "plain", click: async () => { await navigator.clipboard.writeText(sample.nodeid); copy.textContent = "Copied"; } }, "Copy pytest id");
  return h("header", {},
    h("button", { type: "button", id: "back", click: close }, "Back to the list"),
    h("h2", {}, outcomeWord(sample.outcome), " ", sample.case),
    h("p", { class: "quiet" }, [sample.suite, sample.model && short(sample.model), sample.repeat && `repeat ${sample.repeat}`, sample.location].filter(Boolean).join(" · ")),
    h("p", { class: "actions" }, h("button", { type: "button", class: "plain", click: () => step(-1) }, "Previous"), h("button", { type: "button", class: "plain", click: () => step(1) }, "Next"),
      copy, h("a", { href: caseLink(sample) }, "Link to this case")));
}

function gradesTable(sample) {
  if (!sample.grades?.length) return null;
  const before = (key) => (sample.before?.grades ?? []).find((grade) => grade.key === key);
  return h("section", {}, h("h3", {}, "Grades"), h("table", { class: "grades" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Grader"), h("th", { scope: "col", class: "number" }, "Value"), sample.before && h("th", { scope: "col", class: "number" }, "Before"), h("th", { scope: "col" }, "Verdict"), h("th", { scope: "col" }, "Reason"))),
    h("tbody", {}, sample.grades.map((grade) => h("tr", {},
      h("th", { scope: "row" }, grade.key),
      h("td", { class: "number" }, grade.value === undefined ? "–" : plainNumber(grade.value)),
      sample.before && h("td", { class: "number was" }, before(grade.key)?.value === undefined ? "–" : plainNumber(before(grade.key).value)),
      h("td", {}, gradeVerdict(grade)),
      h("td", {}, grade.reasoning && textBlock(grade.reasoning, { query: state.q }), grade.metadata && h("details", {}, h("summary", {}, "Details"), textBlock(asText(grade.metadata), { tag: "pre" }))))))));
}

function gradeVerdict(grade) {
  const word = gradeState(grade);
  if (word === "graded") return "";
  return outcomeWord({ error: "errored", not_applicable: "skipped" }[word] ?? word, word.replace("_", " "));
}

function conversation(sample) {
  const messages = (sample.thread ?? []).map((message) => messageBlock(message.role, asText(message.content)));
  const completion = sample.completion;
  if (completion) {
    const ended = { length: "cut at max_new_tokens", recorded: "recorded" }[completion.finish_reason];
    const facts = [ended, completion.completion_tokens !== undefined && plural(completion.completion_tokens, "token"), completion.latency && `${completion.latency.toFixed(2)} s`];
    messages.push(messageBlock("assistant", completion.text, facts.filter(Boolean).join(", "), "answer"));
    for (const [index, text] of (completion.samples ?? []).slice(1).entries()) messages.push(messageBlock("assistant", text, `sample ${index + 2}`));
  }
  return messages.length > 0 && h("section", { class: "conversation" }, h("h3", {}, "Conversation"), messages);
}

const messageBlock = (role, text, facts = "", kind = "") => h("div", { class: `message ${kind} ${role === "user" || role === "assistant" ? role : "other"}` },
  h("p", { class: "role" }, role, facts && h("span", {}, ` ${facts}`)), textBlock(text, { query: state.q }));

function sinceBaseline(sample) {
  if (sample.before?.text === undefined) return null;
  const [then, now] = [sample.before.text, sample.completion?.text ?? ""];
  return h("section", { id: "difference" }, h("h3", {}, "Since the baseline"), then === now ? h("p", { class: "quiet" }, "The answer is the same.") : diffBlock(then, now));
}

/** Answers to the same case beside each other. */
function others(sample) {
  const group = groupOf(sample);
  if (group.length < 2) return null;
  return h("section", { id: "others" }, h("h3", {}, `All ${group.length} answers to this case`),
    h("div", { class: "beside" }, group.map((other) => h("div", { class: "answer-of", "aria-current": other === sample ? "true" : null },
      h("p", {}, outcomeWord(other.outcome), " ", other === sample ? h("strong", {}, nameOf(other)) : h("a", { href: caseLink(other), click: (event) => { event.preventDefault(); open(other); } }, nameOf(other))),
      h("p", { class: "quiet" }, (other.grades ?? []).map((grade) => `${grade.key} ${grade.value === undefined ? grade.status : plainNumber(grade.value)}`).join(", ")),
      textBlock(other.completion?.text ?? other.error?.message ?? "", { query: state.q })))));
}

const nameOf = (sample) => [severalModels && short(sample.model), sample.repeat || !severalModels ? `repeat ${sample.repeat ?? 1}` : null].filter(Boolean).join(", ");

function calls(sample) {
  if (!sample.calls?.length) return null;
  return h("section", {}, h("h3", {}, "Calls of models"), sample.calls.map((call) => h("details", {},
    h("summary", {}, [call.by, call.model && short(call.model), call.completion_tokens && plural(call.completion_tokens, "token"), call.error && "no answer"].filter(Boolean).join(" · ")),
    (call.messages ?? []).map((message) => messageBlock(message.role, asText(message.content))),
    call.text !== undefined && call.text !== null && messageBlock("assistant", call.text, "", "answer"),
    call.error && textBlock(`${call.error.kind}: ${call.error.message}`), call.likelihoods && textBlock(asText(call.likelihoods)))));
}

function named(title, values) {
  const names = Object.keys(values ?? {});
  return names.length > 0 && h("section", {}, h("h3", {}, title),
    h("dl", { class: "facts" }, names.map((name) => [h("dt", {}, name), h("dd", {}, textBlock(asText(values[name]), { query: state.q }))])));
}

function technical(sample) {
  const { text, samples: texts, ...facts } = sample.completion ?? {};
  return h("details", {}, h("summary", {}, "Technical"), h("dl", { class: "facts" },
    [["pytest id", sample.nodeid], ["sample", sample.id], ["model", sample.model], ...Object.entries(facts), ...Object.entries(sample.timing ?? {})]
      .filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [h("dt", {}, name), h("dd", {}, asText(value))])));
}

// -- where the reader is

function follow() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const cases = parameters.has("cases") || parameters.has("case");
  byId("overview-view").hidden = cases;
  byId("cases-view").hidden = !cases;
  byId("to-overview").toggleAttribute("aria-current", false);
  byId("to-cases").toggleAttribute("aria-current", false);
  byId(cases ? "to-cases" : "to-overview").setAttribute("aria-current", "page");
  document.body.classList.toggle("browsing", cases);
  if (!cases) return;
  state = { ...NOTHING, case: "" };
  for (const name of Object.keys(state)) state[name] = parameters.get(name) ?? "";
  showFilters();
  find();
  showCase();
  const sample = samples.find((other) => other.id === state.case);
  document.body.classList.toggle("reading", Boolean(sample));
  if (sample) { byId("rows").scrollTop = Math.max(found.indexOf(sample) - 3, 0) * ROW; showRows(); }
}

const go = (hash) => { history.pushState(null, "", hash); follow(); };
const search = () => { if (byId("cases-view").hidden) go("#cases"); byId("filters").elements.q.select(); };
const inDetail = () => byId("detail").contains(document.activeElement);

function leave() {
  const { q } = byId("filters").elements;
  if (document.activeElement === q && q.value) { q.value = ""; update({ q: "" }); } else if (document.body.classList.contains("reading") || document.activeElement === q || inDetail()) close();
  else return false;
  return true;
}

showOverview();
setUpTheme(byId("theme"));
setUpKeys([
  [["j", "↓"], "next case", (event) => (event.key === "ArrowDown" && (inDetail() || byId("cases-view").hidden) ? false : step(1))],
  [["k", "↑"], "previous case", (event) => (event.key === "ArrowUp" && (inDetail() || byId("cases-view").hidden) ? false : step(-1))],
  [["enter"], "read the case", () => { const sample = found.find((other) => other.id === state.case) ?? found[0]; if (sample && !byId("cases-view").hidden) open(sample, { focus: true }); }],
  [["[", "]"], "another model's answer", (event) => stepAnswer(event.key === "]" ? 1 : -1)],
  [["/"], "search", search],
  [["esc"], "clear the search, back to the list", leave],
  [["o"], "overview", () => go("#overview")],
  [["c"], "cases", () => go("#cases")],
  [["t"], "light or dark", () => byId("theme").click()],
  [["?"], "this help", () => {}],
], byId("keys"), byId("help"));
setUpFilters();
addEventListener("hashchange", follow);
byId("rows").addEventListener("scroll", showRows, { passive: true });
addEventListener("resize", showRows);
follow();
document.addEventListener("DOMContentLoaded", async () => {
  await readSamples();
  follow();
  performance.mark("ready");
  document.body.dataset.ready = "";
  prepareSearch();
});
