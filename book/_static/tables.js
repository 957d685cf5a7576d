/* Tables that are wider than their box: on a phone, rows of sentences become cards, and tables of numbers scroll.
   The style sheet makes the cards of what is marked here, on narrow screens alone. */
const BOXES = ".pst-scrollable-table-container, div.cell_output .text_html, div.cell_output .text_markdown";
const SENTENCE = 32; /* characters: a column that has more on average holds sentences, not numbers or names */
const LONG_NAME = 50; /* the same for the first column, which names its rows */

const isWider = (box) => box.scrollWidth > box.clientWidth + 4;

/* True if one row of headings stands above rows of as many cells, and the page or a column's length says: sentences. */
const hasSentences = (table) => {
  const headings = table.tHead && table.tHead.rows.length === 1 ? table.tHead.rows[0].cells.length : 0;
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  if (!headings || !rows.length || rows.some((row) => row.cells.length !== headings)) return false;
  if (table.closest(".msff-prose")) return true;
  const length = (k) => rows.reduce((sum, row) => sum + row.cells[k].textContent.trim().length, 0) / rows.length;
  return [...Array(headings).keys()].some((k) => length(k) > (k ? SENTENCE : LONG_NAME));
};

/* Cards are no table to a browser: roles keep it one for screen readers, and each cell carries its heading. */
const stack = (table) => {
  const headings = [...table.tHead.rows[0].cells];
  table.classList.add("msff-stacked");
  table.setAttribute("role", "table");
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
  for (const box of boxes) box.querySelector("table").classList.remove("msff-stacked");
  for (const box of boxes.filter(isWider)) {
    for (const table of box.querySelectorAll("table")) if (hasSentences(table)) stack(table);
  }
  /* A phone shows no scroll bar: what still scrolls says so. */
  for (const box of boxes) box.classList.toggle("msff-swipe-table", isWider(box));
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
