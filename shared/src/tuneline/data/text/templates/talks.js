"use strict";
const filters = document.getElementById("filters");
const selects = [...filters.querySelectorAll("select")];
const talks = [...document.querySelectorAll(".talk")].map((node) => ({ node, facts: JSON.parse(node.dataset.facts) }));
const rowOf = (node, id) => [...node.querySelectorAll("tr[data-criterion]")].find((row) => row.dataset.criterion === id);

// The fragment is the only state: links, selects and the back button all go through it.
const asked = () => new URLSearchParams(location.hash.slice(1));
const criteriaOf = (name) => {
  if (!name || !name.startsWith("category:")) return name ? [name] : null;
  const options = [...filters.querySelectorAll("[name=criterion] option")];
  return options.filter((option) => option.dataset.category === name.slice(9)).map((option) => option.value);
};

function fits(facts, want, criteria) {
  for (const key of ["open", "group", "arm", "preferred"]) if (want[key] && want[key] !== facts[key]) return false;
  if (want.flag && !facts.flag.includes(want.flag)) return false;
  if (want.status === "passed" || want.status === "not passed") {
    if (facts.passed !== (want.status === "passed")) return false;
  } else if (want.status && want.status !== facts.status) return false;
  if (want.differs) {
    const split = facts.differs[want.differs] || [];
    if (!(criteria ? split.some((id) => criteria.includes(id)) : split.length)) return false;
  }
  const given = criteria ? criteria.map((id) => facts.answers[id]) : Object.values(facts.answers);
  if (want.answer) return given.includes(want.answer);
  return !criteria || given.some((answer) => typeof answer === "string");
}

function say(node, criteria, answer) {
  const why = node.querySelector(".why");
  for (const row of node.querySelectorAll("tr.hit")) row.classList.remove("hit");
  const rows = (criteria || []).map((id) => rowOf(node, id)).filter((row) => {
    return row && (!answer || row.querySelector(".answer").firstChild.textContent.trim() === answer);
  });
  for (const row of rows) row.classList.add("hit");
  why.hidden = !rows.length;
  why.textContent = rows.map((row) => {
    const told = row.querySelector(".reason").firstChild;
    const words = told ? told.textContent.trim() : "";
    return `${row.dataset.criterion} ${row.querySelector(".answer").firstChild.textContent.trim()}${words ? ": " : ""}${words}`;
  }).join(" · ");
}

function show() {
  const want = Object.fromEntries(asked());
  const criteria = criteriaOf(want.criterion);
  let shown = 0, only = null;
  for (const { node, facts } of talks) {
    node.hidden = !fits(facts, want, criteria);
    if (node.hidden) continue;
    shown += 1;
    only = node;
    say(node, criteria, want.answer);
  }
  for (const select of selects) {
    select.value = want[select.name] || "";
    if (select.selectedIndex < 0) select.value = "";
  }
  document.getElementById("count").textContent = `${shown} of ${talks.length} conversations`;
  if (want.open && only) {
    only.open = true;
    only.scrollIntoView();
  }
}

filters.addEventListener("change", (event) => {
  if (!event.target.matches("#filters select")) return;
  const wanted = new URLSearchParams();
  for (const select of selects) if (select.value) wanted.set(select.name, select.value);
  location.hash = wanted.toString().replaceAll("+", "%20");
});
document.getElementById("clear").addEventListener("click", () => { location.hash = ""; });
window.addEventListener("hashchange", show);

const key = document.body.dataset.labels;
if (key) {
  const store = `tuneline-labels-${key}`;
  const labels = new Map();
  const keep = (id, answers) => answers.size ? labels.set(id, answers) : labels.delete(id);
  const rows = () => [...labels].map(([id, answers]) => ({ id, answers: Object.fromEntries(answers) }));
  const count = () => { document.getElementById("labelled").textContent = `${labels.size} labelled`; };
  try {
    for (const { id, answers } of JSON.parse(localStorage.getItem(store)) || []) keep(id, new Map(Object.entries(answers)));
  } catch { /* a private window keeps nothing */ }
  for (const { node, facts } of talks) {
    for (const row of node.querySelectorAll("tr[data-criterion]")) {
      row.querySelector(".label").value = labels.get(facts.open)?.get(row.dataset.criterion) || "";
    }
  }
  document.querySelector("main").addEventListener("change", (event) => {
    if (!event.target.matches(".label")) return;
    const talk = talks.find(({ node }) => node.contains(event.target));
    const mine = labels.get(talk.facts.open) || new Map();
    const criterion = event.target.closest("tr").dataset.criterion;
    if (event.target.value) mine.set(criterion, event.target.value); else mine.delete(criterion);
    keep(talk.facts.open, mine);
    try { localStorage.setItem(store, JSON.stringify(rows())); } catch { /* the same */ }
    count();
  });
  document.getElementById("reveal").addEventListener("change", (event) => {
    document.body.classList.toggle("blind", !event.target.checked);
  });
  document.getElementById("export").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(rows().map((row) => JSON.stringify(row) + "\n"), { type: "application/jsonl" }));
    link.download = "labels.jsonl";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  count();
}
filters.hidden = false;
show();
