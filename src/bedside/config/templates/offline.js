// A review in one file: every choice is kept in this browser at once, and saved as a file by the button.
"use strict";
const { review, rater } = document.body.dataset;
const forms = [...document.querySelectorAll("form[data-item]")];
const neededBy = new Map(
  forms.map((form) => [form.dataset.item, [...new Set([...form.querySelectorAll("input[required]")].map((input) => input.name))]]),
);
const rating = (form) => {
  const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const whole = neededBy.get(form.dataset.item).every((name) => fields[name]);
  return { item: form.dataset.item, ...fields, action: fields.reason && !whole ? "skip" : "rate" };
};
const isDone = (row) => row.action === "skip" || neededBy.get(row.item).every((name) => row[name]);
const content = () => {
  const ratings = forms.map(rating);
  return { review, rater, ratings: ratings.filter(isDone), unfinished: ratings.filter((row) => !isDone(row)) };
};
const show = (row) => {
  const form = forms.find((one) => one.dataset.item === row.item);
  for (const [name, value] of Object.entries(row)) {
    const field = form?.elements.namedItem(name);
    if (field) field.value = value;
  }
};
const restore = (saved) => [...(saved.ratings ?? []), ...(saved.unfinished ?? [])].forEach(show);
const state = document.querySelector("#state");
const tell = () => (state.textContent = `${content().ratings.length} of ${forms.length} items are done.`);
const keep = () => {
  try {
    localStorage.setItem(review, JSON.stringify(content()));
    tell();
  } catch {
    state.textContent = "This browser keeps nothing: save as a file before you close the page.";
  }
};
try {
  restore(JSON.parse(localStorage.getItem(review) ?? "{}"));
} catch {
  // nothing was kept, or nothing may be
}
tell();
document.addEventListener("input", (event) => {
  if (event.target.closest("form[data-item]")) keep();
});
document.querySelector("#download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content(), null, 1)], { type: "application/json" }));
  link.download = `answers-${rater}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
});
document.querySelector("#load").addEventListener("change", async (event) => {
  const saved = JSON.parse(await event.target.files[0].text());
  if (saved.review !== review) {
    state.textContent = "This file is of another review or another person.";
    return;
  }
  restore(saved);
  keep();
});
