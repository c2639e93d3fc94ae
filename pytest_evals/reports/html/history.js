// A chart for each score: runs from left to right, the oldest first, with their intervals.

const data = readData(byId("data"));
const [HEIGHT, LEFT, BOTTOM] = [170, 44, 22];
const severalModels = new Set(data.series.map((series) => series.model)).size > 1;
const day = (point) => point.started.slice(0, 16).replace("T", " ");
const commit = (point) => (point.commit ? point.commit.slice(0, 9) + (point.dirty ? "+" : "") : "–");
const interval = (point) => (point.low === null || point.high === null ? "" : `${number(point.low)} to ${number(point.high)}`);

/** As wide as there is room, so that its words keep their size. */
function chart(points, width) {
  const seen = points.flatMap((point) => [point.value, point.low, point.high]).filter((value) => value !== null);
  const inUnit = seen.every((value) => value >= 0 && value <= 1);
  const [low, high] = inUnit ? [0, 1] : [Math.min(...seen), Math.max(...seen)];
  const x = (index) => LEFT + (points.length === 1 ? 0.5 : index / (points.length - 1)) * (width - LEFT - 10);
  const y = (value) => 8 + (high > low ? (high - value) / (high - low) : 0.5) * (HEIGHT - BOTTOM - 8);
  const drawn = points.map((point, index) => ({ ...point, x: x(index) })).filter((point) => point.value !== null);
  const latest = drawn.at(-1);
  const label = latest ? `${points.length} runs; the latest ${number(latest.value)}${interval(latest) && `, interval ${interval(latest)}`}` : "no values";
  const line = drawn.map((point) => `${point.x},${y(point.value)}`).join(" ");
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
    [low, (low + high) / 2, high].map((value) => [
      svg("line", { class: "axis", x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, inUnit ? value.toFixed(1) : plainNumber(value)),
    ]),
    svg("polyline", { class: "trend", points: line }),
    drawn.map((point) => svg("g", {},
      svg("title", {}, `${day(point)}, ${commit(point)}: ${number(point.value)} ${interval(point)}`),
      point.low !== null && point.high !== null && svg("line", { class: "whisker", x1: point.x, x2: point.x, y1: y(point.low), y2: y(point.high) }),
      svg("circle", { class: point.complete ? null : "partial", cx: point.x, cy: y(point.value), r: 3.5 }),
      point.change && svg("text", { x: point.x, y: y(point.value) - 7, "text-anchor": "middle" }, point.change === "rose" ? "▲" : "▼"))),
    points.length > 0 && [
      svg("text", { x: x(0), y: HEIGHT - 4, "text-anchor": points.length === 1 ? "middle" : "start" }, day(points[0])),
      points.length > 1 && svg("text", { x: width - 10, y: HEIGHT - 4, "text-anchor": "end" }, day(points.at(-1))),
    ]);
}

function table(points) {
  return h("details", {}, h("summary", {}, "As a table"), h("div", { class: "wide", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Run", "Commit"].map((name) => h("th", { scope: "col" }, name)), [data.statistic === "mean" ? "Mean" : "Passed", "Interval", "Graded"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", {}, points.toReversed().map((point) => h("tr", {}, h("td", {}, day(point), !point.complete && " (partial)"), h("td", {}, h("code", {}, commit(point))),
      h("td", { class: "number" }, point.change && `${point.change} `, number(point.value)), h("td", { class: "number" }, interval(point)), h("td", { class: "number" }, count(point.n))))))));
}

byId("span").textContent = plural(data.runs, "run");
byId("history").append(...data.series.map(({ suite, model, short = model, grader, points }) => h("section", {},
  h("h2", {}, grader, h("small", {}, [suite, severalModels && short].filter(Boolean).join(" · "))), h("div", { class: "plot" }), table(points))));

function draw() {
  for (const [index, plot] of [...document.querySelectorAll(".plot")].entries()) plot.replaceChildren(chart(data.series[index].points, plot.clientWidth));
}

draw();
addEventListener("resize", draw);
setUpTheme(byId("theme"));
