/* Tables without room: on a phone, rows of sentences become cards, and tables of numbers scroll.
   The style sheet makes the cards of what is marked here, on narrow screens alone. */
const BOXES = ".pst-scrollable-table-container, div.cell_output .text_html, div.cell_output .text_markdown";
const SENTENCE = 32; /* characters: a column that has more on average holds sentences, not numbers or names */
const LONG_NAME = 50; /* the same for the first column, which names its rows */

const isWider = (box) => box.scrollWidth > box.clientWidth + 4;

/* True if cards are easier to read: one row of headings stands above rows of as many cells, and sentences are off the
   screen or in less than half of it. */
const wantsCards = (table, box) => {
  const headings = table.tHead && table.tHead.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  if (!headings.length || !rows.length || rows.some((row) => row.cells.length !== headings.length)) return false;
  const length = (k) => rows.reduce((sum, row) => sum + row.cells[k].textContent.trim().length, 0) / rows.length;
  if (!isWider(box)) return headings.some((h, k) => length(k) > 2 * SENTENCE && h.offsetWidth < box.clientWidth / 2);
  return table.closest(".msff-prose") !== null || headings.some((_, k) => length(k) > (k ? SENTENCE : LONG_NAME));
};

/* Cards are no table to a browser: roles keep it one for screen readers, and each cell carries its heading. */
const stack = (table) => {
  const headings = [...table.tHead.rows[0].cells];
  table.classList.add("msff-stacked");
  if (!table.caption) table.setAttribute("role", "table"); /* an explicit table may have rows alone */
  for (const part of [table.tHead, ...table.tBodies]) part.setAttribute("role", "rowgroup");
  for (const row of table.rows) row.setAttribute("role", "row");
  for (const heading of headings) heading.setAttribute("role", "columnheader");
  for (const row of [...table.tBodies].flatMap((body) => [...body.rows])) {
    [...row.cells].forEach((cell, k) => {
      cell.setAttribute("role", k ? "cell" : "rowheader");
      cell.dataset.label = headings[k].textContent.trim();
      cell.classList.toggle("msff-blank", cell.textContent.trim() === "");
    });
  }
};

/* Mark the tables within a part of the page, or around it. */
const mark = (part) => {
  const boxes = [...document.querySelectorAll(BOXES)]
    .filter((box) => box.querySelector("table") && (part.contains(box) || box.contains(part)));
  const tables = boxes.flatMap((box) => [...box.querySelectorAll("table")].map((table) => [table, box]));
  for (const [table] of tables) table.classList.remove("msff-stacked");
  for (const [table] of tables.filter((pair) => wantsCards(...pair))) stack(table);
  /* A phone shows no scroll bar: what still scrolls says so, and keeps the names of its rows if they leave room. */
  for (const box of boxes) {
    box.classList.toggle("msff-swipe-table", isWider(box));
    const name = box.querySelector("tbody > tr > :first-child");
    box.classList.toggle("msff-keep-names", isWider(box) && name !== null && name.offsetWidth < 0.4 * box.clientWidth);
  }
};

let width = 0; /* a phone also reports a new size when its address bar comes and goes */
const markAll = () => {
  if (width !== window.innerWidth) mark(document);
  width = window.innerWidth;
};
document.addEventListener("DOMContentLoaded", markAll);
window.addEventListener("resize", markAll);
window.addEventListener("load", () => mark(document)); /* formulas have their width only now */
document.addEventListener("toggle", (event) => mark(event.target), true); /* nor has a folded table before it is opened */
