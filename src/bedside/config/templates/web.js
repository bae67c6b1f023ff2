// Keys for people who read much. All pages work without it.
// Rows: j and k go from row to row, / to the search. Rating: a digit answers the marked question, u undoes, s and n go to
// skipping and to the note, Enter sends.
"use strict";
const rows = [...document.querySelectorAll(".row[id]")];
const step = (by) => {
  const at = rows.indexOf(document.activeElement?.closest(".row[id]"));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
  next?.focus();
  next?.scrollIntoView({ block: "start" });
};
const form = document.querySelector("[data-rating]");
const questions = form ? [...form.querySelectorAll(".question")] : [];
const answered = (question) => question.querySelector("input:checked");
let current = questions.find((question) => !answered(question)) ?? null;
const mark = (question) => {
  current = question;
  questions.forEach((one) => one.classList.toggle("current", one === question));
};
mark(current);
form?.addEventListener("focusin", (event) => {
  const question = event.target.closest(".question");
  if (question) mark(question);
});
const answer = (digit) => {
  const choice = current?.querySelector(`[data-digit="${digit}"]`);
  if (!choice || choice.disabled) return;
  choice.checked = true;
  const next = questions.slice(questions.indexOf(current) + 1).find((question) => !answered(question)) ?? null;
  (next ? next.querySelector("input") : form.querySelector("button")).focus();
  mark(next);
};
const keyed = (key) => document.querySelector(`[data-key='${CSS.escape(key)}']`);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input:not([type=radio]), select, textarea")) return;
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  if (form && /^[0-9]$/.test(event.key)) {
    event.preventDefault();
    answer(Number(event.key));
    return;
  }
  const target = event.key.length === 1 ? keyed(event.key) : null;
  if (!target) return;
  event.preventDefault();
  target.focus();
  if (target.matches("button")) target.click();
});
