// A case beside its questions. Each answer is sent as it is given; what could not be sent is tried again, and leaving the
// page with unsent answers asks first.

const data = readData(byId("data"));
const key = (sample, grader) => `${sample}\n${grader}`;
const answers = new Map(data.answers.map((answer) => [key(answer.sample, answer.grader), answer]));
const unsent = new Map();

const answerTo = (item, question) => answers.get(key(item.sample, question.grader));
const isAnswered = (item, question) => (answerTo(item, question)?.value ?? null) !== null;
const isDone = (item) => item.questions.every((question) => isAnswered(item, question) || answerTo(item, question)?.skipped);
let position = Math.max(data.cases.findIndex((item) => !isDone(item)), 0);
let active = 0;

// -- saving

function give(item, question, changes) {
  const before = answerTo(item, question) ?? { value: null, skipped: false, flagged: false, comment: "" };
  const answer = { ...before, ...changes, sample: item.sample, grader: question.grader };
  if (answer.value !== null) answer.skipped = false;
  answers.set(key(item.sample, question.grader), answer);
  unsent.set(key(item.sample, question.grader), { ...answer, question: question.digest, shown: item.shown });
  send();
  showProgress();
}

async function send() {
  if (send.busy) return;
  send.busy = true;
  for (const [place, answer] of unsent) {
    say("saving …");
    try {
      const response = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(answer) });
      const reply = await response.json();
      if (!response.ok && response.status !== 400) throw new Error(reply.error);
      if (!response.ok) say(`Not saved: ${reply.error}`, true);
      // It may have been changed while it was on its way.
      if (unsent.get(place) === answer) unsent.delete(place);
      if (response.ok && !unsent.size) say("saved");
    } catch (error) {
      say(`Not saved, trying again: ${error.message}`, true);
      setTimeout(send, 2000);
      break;
    }
  }
  send.busy = false;
  if (unsent.size && !byId("saved").classList.contains("trouble")) send();
}

function say(text, trouble = false) {
  byId("saved").textContent = text;
  byId("saved").classList.toggle("trouble", trouble);
}

addEventListener("beforeunload", (event) => { if (unsent.size) event.preventDefault(); });
/** Another window may have answered meanwhile. */
document.addEventListener("visibilitychange", async () => {
  if (document.hidden || unsent.size) return;
  const state = await (await fetch("state")).json();
  for (const answer of state.answers) answers.set(key(answer.sample, answer.grader), answer);
  showAgreement(state.agreement);
  show();
});

// -- the case

function layoutOf(part) {
  if (part.children) return h("div", { class: part.direction === "column" ? "column" : "row" }, part.children.map(layoutOf));
  if (part.messages) return h("div", {}, part.label && h("h2", {}, part.label), part.messages.map(({ role, content, reasoning }) => h("div", { class: "part message" }, h("h2", {}, role), thoughtsBlock(reasoning), contentBlocks(content))));
  return h("div", { class: "part" }, part.label && h("h2", {}, part.label), thoughtsBlock(part.reasoning), textBlock(part.text));
}

const thoughtsBlock = (reasoning) => reasoning && h("details", {}, h("summary", {}, "Reasoning"), textBlock(reasoning));

function show() {
  const item = data.cases[position];
  byId("case").replaceChildren(h("h1", { id: "case-title" }, item.case, h("small", {}, item.suite)), layoutOf(item.layout));
  byId("questions").replaceChildren(...item.questions.map((question, index) => questionBlock(item, question, index)), buttons(item));
  activate(Math.max(item.questions.findIndex((question) => !isAnswered(item, question)), 0));
  showProgress();
}

function questionBlock(item, question, index) {
  const name = `q${index}`;
  const state = () => answerTo(item, question);
  const set = question.kind === "form" ? null : (value) => give(item, question, { value });
  const control = question.kind === "form" ? formControl(item, question, name) : controlFor(question, name, state()?.value ?? null, set);
  return h("fieldset", { "data-index": index, focusin: () => activate(index) },
    h("legend", {}, question.text, !question.required && h("small", {}, " (optional)")), question.guidance && h("p", { class: "guidance" }, question.guidance), control,
    h("label", { class: "field comment" }, "Comment", saving(h("textarea", { name: `${name}-comment`, rows: 1 }), state()?.comment ?? "", (comment) => give(item, question, { comment }))));
}

/** Fields of a form are sent together, once each has an answer. */
function formControl(item, question, name) {
  const values = { ...(answerTo(item, question)?.value ?? {}) };
  return h("div", {}, Object.entries(question.fields).map(([field, inner]) => h("fieldset", { class: "nested" }, h("legend", {}, inner.text), inner.guidance && h("p", { class: "guidance" }, inner.guidance),
    controlFor(inner, `${name}-${field}`, values[field] ?? null, (value) => {
      if (value === null) delete values[field]; else values[field] = value;
      const whole = Object.keys(question.fields).every((each) => values[each] !== undefined);
      if (whole || answerTo(item, question)?.value) give(item, question, { value: whole ? { ...values } : null });
    }))));
}

function controlFor(question, name, value, set) {
  if (question.kind === "choice") return h("div", {}, question.choices.map(([label], index) => option(name, label, label, value === label, set, index < 9 ? String(index + 1) : null)));
  if (question.kind === "rating") {
    const steps = Array.from({ length: question.high - question.low + 1 }, (_, index) => question.low + index);
    return h("div", { class: "rating" }, h("div", { class: "scale" }, steps.map((step) => option(name, step, String(step), value === step, set, String(step)))),
      question.ends && h("p", { class: "ends" }, question.ends.map((end) => h("span", {}, end))));
  }
  if (question.kind === "number") return numberControl(question, name, value, set);
  return h("label", { class: "field" }, "Answer", saving(h("textarea", { name }), value ?? "", (text) => set(text.trim() ? text : null)));
}

function option(name, value, label, checked, set, shortcut) {
  return h("label", { class: "option" }, h("input", { type: "radio", name, checked, "data-key": shortcut, change: () => set(value) }), h("span", {}, label), shortcut && h("kbd", { "aria-hidden": "true" }, shortcut));
}

function numberControl(question, name, value, set) {
  const problem = h("p", { class: "problem", role: "alert" });
  const limits = [question.low !== undefined && `at least ${plainNumber(question.low)}`, question.high !== undefined && `at most ${plainNumber(question.high)}`].filter(Boolean).join(", ");
  const input = h("input", { type: "text", inputmode: "decimal", name, autocomplete: "off" });
  return h("div", {}, h("label", { class: "field" }, limits ? `A number, ${limits}` : "A number", saving(input, value === null ? "" : String(value), (text) => {
    const found = Number(text.trim().replace(",", "."));
    const fits = text.trim() === "" || (Number.isFinite(found) && found >= (question.low ?? -Infinity) && found <= (question.high ?? Infinity));
    problem.textContent = fits ? "" : `Not saved: ${limits ? `a number, ${limits}` : "a number"}, please.`;
    input.setAttribute("aria-invalid", String(!fits));
    if (fits) set(text.trim() === "" ? null : found);
  })), problem);
}

/** Save what is written when the writer pauses, and when the field is left. */
function saving(control, value, save) {
  control.value = value;
  let saved = value;
  let timer = null;
  control.flush = () => { clearTimeout(timer); if (control.value !== saved) { saved = control.value; save(saved); } };
  control.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(control.flush, 600); });
  control.addEventListener("blur", control.flush);
  return control;
}

const flush = () => { for (const control of byId("questions").querySelectorAll("textarea, input[type=text]")) control.flush(); };

function buttons(item) {
  const flagged = item.questions.some((question) => answerTo(item, question)?.flagged);
  const button = (text, shortcut, click, more = {}) => h("button", { type: "button", click, ...more }, text, " ", h("kbd", { "aria-hidden": "true" }, shortcut));
  return h("div", { class: "buttons" },
    button("Next", "enter", () => step(1), { class: "main" }), button("Back", "k", () => step(-1), { disabled: position === 0 }),
    button("Skip", "s", skip), button(flagged ? "Flagged" : "Flag", "f", flag, { "aria-pressed": String(flagged) }), button("Take back", "u", takeBack));
}

// -- moving and marking

function activate(index) {
  active = index;
  for (const [place, block] of [...byId("questions").children].entries()) block.classList.toggle("active", place === index);
}

/** Enter goes to the next question that is open, then to the next case. */
function step(by) {
  flush();
  const wrong = byId("questions").querySelector("[aria-invalid=true]");
  if (wrong) { wrong.focus(); return; }
  const item = data.cases[position];
  const open = item.questions.findIndex((question, index) => index > active && !isAnswered(item, question));
  if (by > 0 && open > 0) {
    activate(open);
    byId("questions").children[open].querySelector("input, textarea").focus();
    return;
  }
  position = Math.min(Math.max(position + by, 0), data.cases.length - 1);
  show();
  byId("case").scrollTop = 0;
  byId("case").focus();
}

function skip() {
  flush();
  const item = data.cases[position];
  for (const question of item.questions) if (!isAnswered(item, question)) give(item, question, { skipped: true });
  active = item.questions.length;
  step(1);
}

function flag() {
  flush();
  const item = data.cases[position];
  const flagged = !item.questions.some((question) => answerTo(item, question)?.flagged);
  for (const question of item.questions) give(item, question, { flagged });
  show();
}

function takeBack() {
  flush();
  const item = data.cases[position];
  for (const question of item.questions) if (answerTo(item, question)) give(item, question, { value: null, skipped: false });
  show();
}

function choose(event) {
  const block = byId("questions").children[active];
  const group = document.activeElement.closest?.("fieldset.nested") ?? firstOpen(block);
  const control = group?.querySelector(`input[data-key="${event.key}"]`);
  if (!control) return false;
  control.click();
  control.focus();
  return true;
}

/** In a form the digits answer one field after the other. */
function firstOpen(block) {
  const nested = [...block.querySelectorAll("fieldset.nested")];
  return nested.find((each) => each.querySelector("input[type=radio]") && !each.querySelector(":checked")) ?? nested[0] ?? block;
}

function showProgress() {
  const done = data.cases.filter(isDone).length;
  const skipped = data.cases.filter((item) => item.questions.some((question) => answerTo(item, question)?.skipped)).length;
  const flagged = data.cases.filter((item) => item.questions.some((question) => answerTo(item, question)?.flagged)).length;
  byId("done").value = done;
  byId("done").max = data.cases.length;
  byId("progress").textContent = [`case ${position + 1} of ${data.cases.length}`, `${done} done`, skipped && `${skipped} skipped`, flagged && `${flagged} flagged`].filter(Boolean).join(", ") + (done === data.cases.length ? ". That was all: this page can be closed." : "");
}

function showAgreement(lines) {
  byId("agreement").hidden = !lines.length;
  byId("agreement").querySelector("ul").replaceChildren(...lines.map((line) => h("li", {}, line)));
}

byId("who").textContent = `Review as ${data.reviewer}`;
byId("questions").addEventListener("submit", (event) => { event.preventDefault(); step(1); });
byId("questions").addEventListener("keydown", (event) => {
  const writing = event.target.matches("textarea");
  if (event.key === "Escape") { byId("case").focus(); event.stopPropagation(); }
  // In a text, Enter is a new line; with Ctrl it goes on.
  if (event.key === "Enter" && event.target.matches("input, textarea") && (!writing || event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); step(1); }
});
setUpTheme(byId("theme"));
setUpKeys([
  [["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"], "choose an answer", choose],
  [["enter"], "next open question, next case (in a text: ctrl enter)", () => step(1)],
  [["j"], "next case", () => { active = Infinity; step(1); }],
  [["k"], "back", () => step(-1)],
  [["s"], "skip", skip],
  [["f"], "flag for a second look", flag],
  [["u"], "take the answers back", takeBack],
  [["c"], "comment", () => byId("questions").children[active].querySelector(".comment textarea").focus()],
  [["esc"], "out of a field", () => byId("case").focus()],
  [["t"], "light or dark", () => byId("theme").click()],
  [["?"], "this help", () => {}],
], byId("keys"), byId("help"));
showAgreement(data.agreement);
show();
