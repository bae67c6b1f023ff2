// Keys for people who read many rows: j and k go from row to row, / goes to the search. All pages work without it.
"use strict";
const rows = [...document.querySelectorAll(".row[id]")];
const step = (by) => {
  const at = rows.indexOf(document.activeElement?.closest(".row[id]"));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
  next?.focus();
  next?.scrollIntoView({ block: "start" });
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  const search = document.querySelector("[data-key='/']");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  }
});
