// The report: an overview, and a browser of cases. `data` is there at once; samples follow it in the document and are
// read after the first paint. What the views show is in report-overview.js, report-cases.js and report-case.js, which
// stand before this file in the page; here is what is known of the run, where the reader is, and the start.

const data = readData(byId("data"));
const severalModels = data.models.length > 1;
const severalSuites = data.suites.length > 1;
const shortNames = new Map(data.models.map(({ model, short }) => [model, short]));
const short = (model) => shortNames.get(model ?? "") ?? model ?? "";

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
