// One case of a report: its grades, conversation, changes and calls.

function showCase() {
  const sample = samples.find((other) => other.id === state.case);
  const detail = byId("detail");
  if (!sample) {
    detail.replaceChildren(h("p", { class: "quiet hint" }, state.case && samples.length === data.samples ? `There is no case ${state.case} in this run.` : "Choose a case: j and k move through the list."));
    return;
  }
  detail.replaceChildren(...[
    caseHead(sample), sample.error && h("section", {}, h("h3", {}, `Error: ${sample.error.kind}`), textBlock(sample.error.message)),
    gradesTable(sample), ...(sample.completion ? [conversation(sample)] : [named("Row", sample.fields), conversation(sample), named("Results of tasks", sample.tasks)]),
    sinceBaseline(sample), others(sample), calls(sample), ...(sample.completion ? [named("Results of tasks", sample.tasks), named("Row", sample.fields)] : []), technical(sample),
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
  const messages = (sample.thread ?? []).map(turnBlock);
  const completion = sample.completion;
  if (completion) {
    const ended = { length: "cut at max_new_tokens", recorded: "recorded" }[completion.finish_reason];
    const facts = [ended, completion.completion_tokens !== undefined && plural(completion.completion_tokens, "token"), completion.latency && `${completion.latency.toFixed(2)} s`];
    messages.push(messageBlock("assistant", completion.text, facts.filter(Boolean).join(", "), "answer", partsOf(completion)));
    for (const [index, other] of (completion.samples ?? []).slice(1).entries()) messages.push(messageBlock("assistant", other.text ?? other, `sample ${index + 2}`, "", partsOf(other)));
  }
  return messages.length > 0 && h("section", { class: "conversation" }, h("h3", {}, "Conversation"), messages);
}

const messageBlock = (role, content, facts = "", kind = "", parts = {}) => h("div", { class: `message ${kind} ${role === "user" || role === "assistant" ? role : "other"}` },
  h("p", { class: "role" }, role, facts && h("span", {}, ` ${facts}`)), parts.before, (content !== "" || !parts.after?.length) && contentBlocks(content, { query: state.q }), parts.after);

const turnBlock = (message) => messageBlock(message.role, message.content ?? "", [message.name, message.tool_call_id].filter(Boolean).join(" "), "", partsOf(message));

/** What an answer has beside its text: thoughts, folded, and calls of tools. */
function partsOf({ reasoning, reasoning_content: thoughts = reasoning, reasoning_tokens: tokens, tool_calls: calls, tool_call_error: problem }) {
  return {
    before: thoughts && h("details", { class: "reasoning" }, h("summary", {}, tokens === undefined ? "Reasoning" : `Reasoning · ${plural(tokens, "token")}`), textBlock(thoughts, { query: state.q })),
    after: [...(calls ?? []).map((call) => callBlock(call.function ?? call)), ...(problem ? [h("p", { class: "problem" }, `A call that cannot be parsed: ${problem}`)] : [])],
  };
}

/** A call of a tool: its name, and each argument on a line. */
function callBlock({ name, arguments: written }) {
  let given = written ?? {};
  if (typeof given === "string") try { given = JSON.parse(given); } catch { /* it is shown as it is */ }
  const named = given !== null && typeof given === "object" && !Array.isArray(given);
  return h("div", { class: "call" }, textBlock(asText(name), { query: state.q }),
    named ? h("dl", { class: "facts" }, Object.entries(given).map(([key, value]) => [h("dt", {}, key), h("dd", {}, textBlock(asText(value), { query: state.q }))])) : textBlock(asText(given), { query: state.q }));
}

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
      textBlock(other.completion?.text ?? other.error?.message ?? fieldsText(other.tasks), { query: state.q })))));
}

const nameOf = (sample) => [severalModels && short(sample.model), sample.repeat || !severalModels ? `repeat ${sample.repeat ?? 1}` : null].filter(Boolean).join(", ");

function calls(sample) {
  if (!sample.calls?.length) return null;
  return h("section", {}, h("h3", {}, "Calls of models"), sample.calls.map((call) => h("details", {},
    h("summary", {}, [call.by, call.model && short(call.model), call.completion_tokens && plural(call.completion_tokens, "token"), call.error && "no answer"].filter(Boolean).join(" · ")),
    (call.messages ?? []).map(turnBlock),
    call.text !== undefined && call.text !== null && messageBlock("assistant", call.text, "", "answer", partsOf(call)),
    call.error && textBlock(`${call.error.kind}: ${call.error.message}`), call.likelihoods && textBlock(asText(call.likelihoods)))));
}

function named(title, values) {
  const names = Object.keys(values ?? {});
  return names.length > 0 && h("section", {}, h("h3", {}, title),
    h("dl", { class: "facts" }, names.map((name) => [h("dt", {}, name), h("dd", {}, textBlock(asText(values[name]), { query: state.q }))])));
}

function technical(sample) {
  const { text, samples: texts, reasoning, raw, tool_calls: called, ...facts } = sample.completion ?? {};
  return h("details", {}, h("summary", {}, "Technical"), h("dl", { class: "facts" },
    [["pytest id", sample.nodeid], ["sample", sample.id], ["model", sample.model], ...Object.entries(facts), ...Object.entries(sample.timing ?? {})]
      .filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [h("dt", {}, name), h("dd", {}, asText(value))])));
}
