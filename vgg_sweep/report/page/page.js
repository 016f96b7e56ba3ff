"use strict";
// The page is whole without this: it adds sorting, a filter by net, values under the pointer, and a button to copy commands.

// --- sorting: a click on a heading, again for the other way round; dashes stay last ---

const valueOf = (row, column) => row.cells[column].textContent.trim();
const numberOf = (text) => parseFloat(text.replace(/,/g, "").replace(/^[^\d+\-.]+/, ""));

function compare(a, b, isNumber) {
  if (!isNumber) return a.localeCompare(b, "en", { numeric: true });
  return numberOf(a) - numberOf(b);
}

function sort(table, heading) {
  const column = heading.cellIndex;
  const isUp = heading.getAttribute("aria-sort") !== "ascending";
  const body = table.tBodies[0];
  const isMissing = (row) => /^(–|$)/.test(valueOf(row, column));
  const rows = [...body.rows].sort((a, b) => isMissing(a) - isMissing(b) || (isUp ? 1 : -1)
    * compare(valueOf(a, column), valueOf(b, column), heading.classList.contains("number")));
  body.append(...rows);
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", isUp ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, heading));
    heading.append(button);
  }
}

// --- the filter: what is about none of the chosen nets steps back ---

const filter = document.querySelector(".filter");

function apply() {
  const groups = [...filter.querySelectorAll("fieldset")].map((fieldset) =>
    new Set([...fieldset.querySelectorAll("input:checked")].flatMap((input) => input.value.split(" "))));
  for (const element of document.querySelectorAll("[data-nets]")) {
    const isIn = element.dataset.nets.split(" ").some((net) => groups.every((chosen) => chosen.has(net)));
    element.classList.toggle("out", !isIn);
  }
}

if (filter) {
  filter.hidden = false;
  filter.addEventListener("change", apply);
  filter.addEventListener("reset", () => setTimeout(apply));
  filter.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// --- values under the pointer: of the nearest mark, whose title the browser would show more slowly ---

const REACH_PX = 24;
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);

for (const drawing of document.querySelectorAll(".panels svg")) {
  const marks = [...drawing.querySelectorAll("use > title")].map((title) => {
    const mark = title.parentElement;
    const text = title.textContent;
    title.remove();
    return { mark, text };
  });
  let near = null;
  const leave = () => {
    near?.mark.classList.remove("near");
    near = null;
    tip.hidden = true;
  };
  const point = (event) => {
    const distances = marks.filter(({ mark }) => !mark.classList.contains("out")).map((each) => {
      const box = each.mark.getBoundingClientRect();
      return [Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY), each];
    });
    const [distance, nearest] = distances.reduce((a, b) => (b[0] < a[0] ? b : a), [Infinity, null]);
    leave();
    if (distance > REACH_PX) return;
    near = nearest;
    near.mark.classList.add("near");
    tip.textContent = near.text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${event.clientY > height + 16 ? event.clientY - height - 12 : event.clientY + 16}px`;
  };
  drawing.addEventListener("pointermove", point);
  drawing.addEventListener("pointerdown", point);
  drawing.addEventListener("pointerleave", leave);
}

// --- commands to copy ---

for (const block of document.querySelectorAll(".commands")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre").textContent);
    button.textContent = "Copied";
  });
  block.append(button);
}
