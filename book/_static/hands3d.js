/* Hands that turn: draws every .msff-3d of a page with plotly, loaded from this book. No view, no download. */
document.addEventListener("DOMContentLoaded", () => {
  const views = [...document.querySelectorAll(".msff-3d")];
  if (!views.length) return;
  const root = document.documentElement;
  const script = document.createElement("script");
  script.src = (root.dataset.content_root || "./") + "_static/plotly.min.js";
  const colour = () => getComputedStyle(root).getPropertyValue("--pst-color-text-base").trim() || "#808080";
  script.onload = () => {
    const drawn = [];
    const draw = (view) => {
      const target = view.querySelector(".msff-3d-view");
      const figure = JSON.parse(view.querySelector("script").textContent);
      figure.layout.font = { color: colour() };
      Plotly.newPlot(target, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
      drawn.push(target);
    };
    // A browser keeps few WebGL scenes: each view is drawn when it comes near the screen.
    const seen = new IntersectionObserver((entries) => entries.filter((e) => e.isIntersecting).forEach((e) => {
      seen.unobserve(e.target);
      draw(e.target);
    }), { rootMargin: "300px" });
    views.forEach((view) => { view.hidden = false; seen.observe(view); });
    new MutationObserver(() => drawn.forEach((t) => Plotly.relayout(t, { "font.color": colour() })))
      .observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  };
  document.head.append(script);
});
