// A chart for each score, with a line for each model: runs from left to right, the oldest first, with their intervals.

const data = readData(byId("data"));
const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM, DODGE] = [200, 48, 14, 16, 22, 5];
const day = (point) => point.started.slice(0, 16).replace("T", " ");
const commit = (point) => (point.commit ? point.commit.slice(0, 9) + (point.dirty ? "+" : "") : "–");
const interval = (point) => (point.low === null || point.high === null ? "" : `${number(point.low)} to ${number(point.high)}`);
// Two files may hold the same run, or runs that were given one id.
const runOf = (point) => `${point.started} ${point.run_id}`;
const change = (point) => (point.change === "rose" ? "▲" : point.change ? "▼" : "");

// Lines are told apart by dashes and marks too: not everyone sees the colours, and a printer may have none.
const DASHES = ["", "7 3", "2 3", "10 3 2 3", "5 2 1 2 1 2", "1 2"];
const MARKS = ["M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0", "M-3.2 -3.2h6.4v6.4h-6.4z", "M0 -4.4L4.2 3.2H-4.2z", "M0 -4.8L4.2 0L0 4.8L-4.2 0z", "M0 4.4L4.2 -3.2H-4.2z", "M-4 -1.3h2.7v-2.7h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7z"];
const mark = (model, point, x, y) => svg("path", { class: `mark c${model % MARKS.length}${point.complete ? "" : " partial"}`, d: MARKS[model % MARKS.length], transform: `translate(${x} ${y})` });
const trend = (model, points) => svg("polyline", { class: `trend c${model % MARKS.length}`, "stroke-dasharray": DASHES[model % DASHES.length], points: points.map(([x, y]) => `${x},${y}`).join(" ") });

/** The scores of one grader: all models that it graded, and all runs that have one of them. */
function groups() {
  const found = new Map();
  for (const series of data.series) {
    const key = JSON.stringify([series.suite, series.grader]);
    if (!found.has(key)) found.set(key, { suite: series.suite, grader: series.grader, models: [] });
    found.get(key).models.push({ ...series, short: series.short || series.model || "recorded" });
  }
  return [...found.values()].map((group) => ({ ...group, runs: [...new Map(group.models.flatMap((series) => series.points).map((point) => [runOf(point), point])).values()].sort((one, other) => (one.started < other.started ? -1 : 1)) }));
}

/** Ends of the axis, wide enough that a small change looks small; shares stay within 0 and 1. */
function scale(seen) {
  if (!seen.length) return [0, 1];
  const [least, most] = [Math.min(...seen), Math.max(...seen)];
  const inUnit = least >= 0 && most <= 1;
  const room = Math.max((most - least) * 0.1, inUnit ? 0.05 : Math.abs(most) * 0.05, 1e-9);
  const ends = inUnit ? [Math.floor((least - room) * 20) / 20, Math.ceil((most + room) * 20) / 20] : [least - room, most + room];
  return inUnit ? [Math.max(ends[0], 0), Math.min(ends[1], 1)] : ends;
}

/** As wide as there is room, so that its words keep their size. */
function chart({ grader, models, runs }, width) {
  const points = models.flatMap((series) => series.points);
  const [low, high] = scale(points.flatMap((point) => [point.value, point.low, point.high]).filter((value) => value !== null));
  const dodge = Math.min(DODGE, (width - LEFT) / Math.max(runs.length, 1) / (models.length + 1));
  const edge = RIGHT + dodge * models.length;
  const column = (index) => LEFT + edge / 2 + (runs.length === 1 ? 0.5 : index / (runs.length - 1)) * (width - LEFT - edge - RIGHT);
  const places = new Map(runs.map((run, index) => [runOf(run), column(index)]));
  const x = (point, model) => places.get(runOf(point)) + (model - (models.length - 1) / 2) * dodge;
  const y = (value) => TOP + (high > low ? (high - value) / (high - low) : 0.5) * (HEIGHT - BOTTOM - TOP);
  const drawn = models.map((series, model) => series.points.filter((point) => point.value !== null).map((point) => ({ ...point, x: x(point, model), y: y(point.value) })));
  const label = [`${grader}, ${plural(runs.length, "run")}`, ...models.map((series, model) => latest(series, drawn[model].at(-1)))].join("; ");
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
    [low, (low + high) / 2, high].map((value) => [
      svg("line", { class: "axis", x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, plainNumber(Number(value.toPrecision(4)))),
    ]),
    drawn.map((line, model) => svg("g", {},
      trend(model, line.map((point) => [point.x, point.y])),
      line.map((point) => svg("g", {},
        svg("title", {}, `${models[model].short}, ${day(point)}, ${commit(point)}: ${number(point.value)} ${interval(point)}${point.change ? `, ${point.change}` : ""}${point.complete ? "" : " (partial)"}`),
        point.low !== null && point.high !== null && svg("line", { class: `whisker c${model % MARKS.length}`, x1: point.x, x2: point.x, y1: y(point.low), y2: y(point.high) }),
        mark(model, point, point.x, point.y),
        point.change && svg("text", { class: "change", x: point.x, y: (point.high === null ? point.y : y(point.high)) - 4, "text-anchor": "middle" }, change(point)))))),
    runs.length > 0 && [
      svg("text", { x: column(0), y: HEIGHT - 4, "text-anchor": runs.length === 1 ? "middle" : "start" }, day(runs[0])),
      runs.length > 1 && svg("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, day(runs.at(-1))),
    ]);
}

const latest = ({ short }, point) => (point ? `${short} ${number(point.value)}${interval(point) && ` (${interval(point)})`}` : `${short} no values`);

function legend({ models }) {
  return h("ul", { class: "legend" }, models.map((series, model) => {
    const last = series.points.findLast((point) => point.value !== null);
    const sample = svg("svg", { class: "sample", viewBox: "0 0 36 14", width: 36, height: 14, "aria-hidden": "true" }, trend(model, [[1, 7], [35, 7]]), mark(model, { complete: true }, 18, 7));
    return h("li", { title: series.model }, sample, h("b", {}, series.short), ` ${last ? number(last.value) : "–"}`, last && interval(last) && h("small", {}, ` ${interval(last)}`), last?.change && ` ${change(last)}`);
  }));
}

function table({ models, runs }) {
  const several = models.length > 1;
  const rows = runs.toReversed().flatMap((run) => models.flatMap(({ short, points }) => points.filter((point) => runOf(point) === runOf(run)).map((point) => ({ short, point }))));
  return h("details", {}, h("summary", {}, "As a table"), h("div", { class: "wide", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Run", "Commit", ...(several ? ["Model"] : [])].map((name) => h("th", { scope: "col" }, name)), [data.statistic === "mean" ? "Mean" : "Passed", "Interval", "Graded"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", {}, rows.map(({ short, point }) => h("tr", {}, h("td", {}, day(point), !point.complete && " (partial)"), h("td", {}, h("code", {}, commit(point))), several && h("td", {}, short),
      h("td", { class: "number" }, point.change && `${change(point)} `, number(point.value)), h("td", { class: "number" }, interval(point)), h("td", { class: "number" }, count(point.n))))))));
}

const found = groups();
const severalSuites = new Set(found.map((group) => group.suite)).size > 1;
const changed = data.series.some((series) => series.points.some((point) => point.change));
byId("span").textContent = plural(data.runs, "run");
const partial = data.series.some((series) => series.points.some((point) => !point.complete));
const notes = [changed && "▲ and ▼ mark a score whose interval lies wholly above or below that of the complete run before.", partial && "A hollow mark is a run that did not finish."].filter(Boolean);
if (notes.length) byId("history").append(h("p", { class: "note" }, notes.join(" ")));
byId("history").append(...found.map((group) => h("section", {},
  h("h2", {}, group.grader, h("small", {}, severalSuites ? group.suite : "")), legend(group), h("div", { class: "plot" }), table(group))));
if (!severalSuites && found.length) byId("history").querySelector("h1").append(h("small", {}, found[0].suite));

function draw() {
  for (const [index, plot] of [...document.querySelectorAll(".plot")].entries()) plot.replaceChildren(chart(found[index], plot.clientWidth));
}

draw();
addEventListener("resize", draw);
setUpTheme(byId("theme"));
