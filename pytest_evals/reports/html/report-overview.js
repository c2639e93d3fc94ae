// The overview of a report: what stands on its first view. `data` is read in report.js.

const phone = matchMedia("(max-width: 640px)");

function showOverview() {
  phone.addEventListener("change", () => { for (const each of document.querySelectorAll(".folded")) each.open = !phone.matches; });
  const sections = [gates(), models(), changes(), scores(), agreement(), slices(), ledger(), run()].filter(Boolean);
  byId("overview-view").append(...[masthead(), contents(sections), ...sections].filter(Boolean));
}

const LONG = 30;

/** Where to find what, when the tables together are long. */
function contents(sections) {
  if (data.scores.length + data.gates.length + data.slices.reduce((sum, { rows }) => sum + rows.length, 0) < LONG) return null;
  return h("nav", { class: "contents", "aria-label": "Contents" }, h("details", { open: !phone.matches, class: "folded" }, h("summary", {}, "Contents"), h("ul", {}, sections.map((section) => {
    const title = section.querySelector("h2");
    const suites = [...section.querySelectorAll("[data-suite]")];
    return h("li", {}, h("a", { href: `#${title.id}` }, title.textContent),
      suites.length > 1 && h("ul", {}, suites.map((part) => h("li", {}, h("a", { href: `#${part.id}`, title: part.dataset.suite }, clipped(part.dataset.suite))))));
  }))));
}

/** The models beside each other: a row for each grader. The numbers and marks are those of the score card. */
function models() {
  const { grids, notes } = data.comparison;
  if (!grids.length) return null;
  return h("section", { "aria-labelledby": "models-title" }, h("h2", { id: "models-title" }, "Models"),
    grids.map((grid) => framed("Graders and models", h("table", { class: "grid stacked" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Mean, 95% interval"), h("th", { scope: "col", class: "number" }, "Cases"),
        grid.models.map((model) => h("th", { scope: "col", class: "number model", title: model }, link({ model }, short(model) || "no model"))))),
      [...new Set(grid.rows.map((row) => row.suite))].map((suite) => h("tbody", {},
        severalSuites && h("tr", { class: "suite" }, h("th", { scope: "rowgroup", colspan: grid.models.length + 2 }, suite)),
        grid.rows.filter((row) => row.suite === suite).map((row) => h("tr", {}, h("th", { scope: "row" }, breakable(row.label)), h("td", { class: "number cases", "data-head": "cases" }, row.n),
          row.cells.map((cell, index) => h("td", { class: `number cell${cell?.mark === "*" ? " best" : ""}`, "data-head": short(grid.models[index]) || "no model" }, gridCell(cell, suite, grid.models[index])))))))))),
    notes.length > 0 && h("ul", { class: "notes quiet" }, notes.map((note) => h("li", {}, note))));
}

function gridCell(cell, suite, model) {
  if (!cell || cell.value === null) return "–";
  const interval = range(cell.interval);
  return [h("span", {}, cell.mark && `${cell.mark} `, h("a", { href: `#cases&${new URLSearchParams({ suite, grader: cell.grader, model })}`, title: [plural(cell.n, "case"), interval && `95% interval ${interval}`].filter(Boolean).join(", ") }, number(cell.value))),
    interval && h("small", {}, interval)];
}

function masthead() {
  const { run, baseline } = data;
  // A checkout of CI is on no branch.
  const branch = ({ branch: name }) => (name && name !== "HEAD" ? ` on ${name}` : "");
  const git = (facts) => (facts?.git ? `${facts.git.commit.slice(0, 10)}${facts.git.dirty ? " with changes" : ""}${branch(facts.git)}` : null);
  const facts = [when(run.started), git(run), data.models.map((model) => model.model || "recorded completions").join(", ")];
  return h("section", { class: "masthead" },
    h("h1", {}, verdict()),
    data.brief.map((text) => h("p", { class: "ranking brief" }, text)),
    // On a phone these are folded below the short ones, so that the gates are on the first screen.
    h("details", { open: !phone.matches, class: "folded" }, h("summary", {}, data.rankings.length ? "Differences, and the run" : "The run"),
      data.rankings.map((text) => h("p", { class: "ranking" }, text)),
      h("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
      baseline && h("p", { class: "quiet" }, `Compared with ${[baseline.run_id, when(baseline.started), git(baseline)].filter(Boolean).join(" · ")}`)),
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
    met.length > 0 && h("details", { open: !rest.length && met.length < 7 && !phone.matches }, h("summary", {}, `${plural(met.length, "gate")} met`), gateTable(met, "Gates that are met")));
}

const gateWord = (gate) => outcomeWord(gate.fails ? "failed" : gate.verdict, { passed: "met", failed: "not met" }[gate.verdict] ?? gate.verdict);

function gateTable(rows, label) {
  return framed(label, h("table", { class: "gates" },
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
      ["Change", (row) => signed(row.difference), "number mean"], ["Its interval", (row) => [changePlot(row, widest), ends(range(row.interval, signed))], "plotted"], ["p", (row) => pValue(row.p), "number lesser"],
      ["Rose", (row) => flips(row, "better"), "number lesser"], ["Fell", (row) => flips(row, "worse"), "number lesser"],
      ["Before", (row) => number(row.before), "number lesser"], ["Now", (row) => number(row.after), "number lesser"], ["Cases", (row) => count(row.n), "number lesser"],
      ...(rows.some((row) => row.gates.length) ? [["Gate", (row) => row.gates.map((gate) => h("p", { title: `${gate.gate}: ${gate.reason}` }, gateWord(gate)))]] : []),
    ]),
    h("p", { class: "quiet" }, "Over the cases that both runs have, case by case. The verdict is at 5 %; p is adjusted for all rows (Holm)."),
    data.uncompared.length > 0 && h("ul", { class: "notes quiet" }, data.uncompared.map((note) => h("li", {}, note))));
}

/** A table with a row for each grader and model, under the names of the suites. Columns are [title, cell of a row, class]; on a phone `lesser` ones are asked for. */
function scoreTable(label, kind, rows, columns) {
  const byModel = data.suites.some((suite) => new Set(data.scores.filter((score) => score.suite === suite).map((score) => score.model)).size > 1);
  const width = columns.length + 1 + Number(byModel);
  return framed(label, h("table", { class: `${kind} stacked` },
    h("thead", {}, h("tr", {}, ["Grader", ...(byModel ? ["Model"] : [])].map((name) => h("th", { scope: "col" }, name)), columns.map(([name, , style]) => h("th", { scope: "col", class: style }, name)))),
    data.suites.map((suite) => [suite, rows.filter((row) => row.suite === suite)]).filter(([, mine]) => mine.length).map(([suite, mine]) => {
      return [severalSuites && h("tbody", { class: "suite", id: `${kind}-suite-${data.suites.indexOf(suite) + 1}`, "data-suite": suite }, h("tr", {}, h("th", { scope: "rowgroup", colspan: width }, suite, severalModels && !byModel && h("small", {}, short(mine[0].model))))),
        [...new Set(mine.map((row) => row.grader))].map((grader) => h("tbody", {}, mine.filter((row) => row.grader === grader).map((row, index, group) => h("tr", {},
          index === 0 && h("th", { scope: "rowgroup", rowspan: group.length }, link({ suite, grader }, breakable(grader))),
          byModel && h("td", { class: "model" }, link({ suite, grader, model: row.model }, short(row.model))),
          columns.map(([name, cell, style]) => h("td", { class: style, "data-head": name }, cell(row)))))))];
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
      ["Mean", (score) => number(score.mean), "number mean"], ["Interval", (score) => [intervalPlot(score), ends(range(bounds(score)))], "plotted"], ["Values", histogram, "lesser"], ["Passed", (score) => percent(score.pass_rate), "number lesser"],
      ["Graded", (score) => (score.n === score.applicable ? count(score.n) : `${count(score.n)}/${count(score.applicable)}`), "number lesser"],
      ...extra.map(([title, name]) => [title, (score) => (score[name] ? count(score[name]) : ""), "number"]),
    ]));
}

const caseLink = (sample) => `#${new URLSearchParams({ case: sample.id })}`;
const link = (filters, text) => h("a", { href: `#cases&${new URLSearchParams(filters)}` }, text);

/**
 * A frame in which a wide table moves sideways. On a phone the cells of a row are below each other instead, with the heads of their columns
 * (`data-head`), and those of lesser columns are shown on demand.
 */
function framed(label, table) {
  const lesser = [...table.querySelectorAll("thead .lesser")].map((head) => head.textContent);
  const wanted = lesser.length > 0 && h("label", { class: "all-columns" }, h("input", { type: "checkbox" }), ` with ${listed(lesser)}`);
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": label }, wanted, table);
}

/** The ends of an interval that is drawn, for a phone: it has no pointer that rests on a drawing to read its title. */
const ends = (text) => text && h("small", { class: "ends" }, text);
const listed = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join("")).toLowerCase();

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
      return h("details", { open: index === 0 }, h("summary", { title: field }, severalSuites ? `${suite}, by ${clipped(field)}` : `by ${clipped(field)}`),
        framed(`${suite} by ${field}`, h("table", { class: "slices stacked" },
          h("thead", {}, h("tr", {}, h("th", { scope: "col", title: field }, clipped(field, 24)), models.length > 1 && h("th", { scope: "col" }, "Model"), h("th", { scope: "col", class: "number" }, "Cases"), graders.map((grader) => h("th", { scope: "col", class: "number" }, breakable(grader))))),
          [...new Set(rows.map((row) => row.value))].map((value) => h("tbody", {}, models.map((model, place) => h("tr", {},
            place === 0 && h("th", { scope: "rowgroup", rowspan: models.length }, h("a", { class: "clip", title: value, href: `#cases&${new URLSearchParams({ suite, slice: `${field}=${value}` })}` }, value)),
            models.length > 1 && h("td", { class: "model" }, link({ suite, slice: `${field}=${value}`, model }, short(model))),
            h("td", { class: "number cases", "data-head": "cases" }, count(Math.max(...graders.map((grader) => find(value, model, grader)?.n ?? 0)))),
            graders.map((grader) => h("td", { class: "number cell", "data-head": grader }, sliceCell(find(value, model, grader)))))))))));
    }));
}

function sliceCell(row) {
  if (!row) return "–";
  const low = row.p !== undefined && `lower than the rest, ${number(row.rest)}: p ${row.p < 0.001 ? "" : "= "}${pValue(row.p)}`;
  return [low ? h("strong", { class: "low", title: low }, number(row.mean), h("span", { class: "unseen" }, ` ${low}`)) : h("span", {}, number(row.mean)),
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
