/* A phone shows no scroll bar: tables that are wider than their box say so. */
const mark = () => {
  const boxes = ".pst-scrollable-table-container, div.cell_output .text_html, div.cell_output .text_markdown";
  for (const box of document.querySelectorAll(boxes)) {
    box.classList.toggle("msff-swipe-table", box.querySelector("table") !== null && box.scrollWidth > box.clientWidth + 4);
  }
};
window.addEventListener("load", mark);
window.addEventListener("resize", mark);
document.addEventListener("toggle", mark, true); /* a folded table has no width before it is opened */
