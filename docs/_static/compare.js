/* Pictures of one face by several methods: two under a slider, all as tiles; zoom and move all together.
   lrCompare(box, items): items are {name, picture, note}, picture an address or a canvas; the last is the reference. */
window.lrCompare = (box, items) => {
  "use strict";
  const make = (tag, fields = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), fields);
    element.append(...children);
    return element;
  };
  const shown = (item) => make("img", {
    src: item.picture instanceof HTMLCanvasElement ? item.picture.toDataURL() : item.picture,
    alt: `${item.name}${item.note ? `, ${item.note}` : ""}`,
    draggable: false,
  });
  const view = { zoom: 1, x: 0, y: 0 };
  const apply = () => {
    const most = 1 - 1 / view.zoom; // of the picture's side, what lies outside the window
    view.x = Math.min(Math.max(view.x, 0), most);
    view.y = Math.min(Math.max(view.y, 0), most);
    root.style.setProperty("--zoom", view.zoom);
    root.classList.toggle("lr-zoomed", view.zoom > 1); // a finger then moves the faces, not the page
    root.style.setProperty("--x", `${-100 * view.x * view.zoom}%`);
    root.style.setProperty("--y", `${-100 * view.y * view.zoom}%`);
  };
  const pick = (label, chosen) => {
    const select = make("select");
    items.forEach((item, i) => select.append(make("option", { value: i, textContent: item.name, selected: i === chosen })));
    const field = make("label", {}, `${label} `, select);
    return [field, select];
  };
  const root = make("div", { className: "lr-compare" });
  const best = items.reduce((top, item, i) => (item.psnr > (items[top].psnr || 0) ? i : top), 1);
  const [leftField, left] = pick("left", 1);
  const [rightField, right] = pick("right", best === 1 ? items.length - 1 : best);
  const zoom = make("input", { type: "range", min: 1, max: 6, step: 0.25, value: 1 });
  const cut = make("input", { type: "range", min: 0, max: 100, value: 50, className: "lr-cut" });
  cut.setAttribute("aria-label", "how much of the left picture is shown");
  const pair = make("div", { className: "lr-pair lr-window" });
  const names = make("p", { className: "lr-names" });
  const say = () => {
    const text = (item) => `${item.name}${item.psnr ? ` (${item.psnr.toFixed(2)} dB)` : ""}`;
    pair.replaceChildren(shown(items[right.value]), make("div", { className: "lr-top" }, shown(items[left.value])));
    names.replaceChildren(make("span", {}, `◀ ${text(items[left.value])}`), make("span", {}, `${text(items[right.value])} ▶`));
  };
  left.onchange = say;
  right.onchange = say;
  cut.oninput = () => root.style.setProperty("--cut", `${cut.value}%`);
  zoom.oninput = () => {
    const middle = 1 / view.zoom / 2;
    const next = Number(zoom.value);
    view.x += middle - 1 / next / 2;
    view.y += middle - 1 / next / 2;
    view.zoom = next;
    apply();
  };
  const tiles = make("ul", { className: "lr-tiles" });
  for (const item of items) {
    tiles.append(make("li", {}, make("div", { className: "lr-window" }, shown(item)),
      make("b", { textContent: item.name }), make("span", { textContent: item.note || "" })));
  }
  const controls = make("div", { className: "lr-controls" }, leftField, rightField, make("label", {}, "enlarge all ", zoom));
  root.append(controls, make("div", { className: "lr-slider" }, pair, cut, names), tiles);
  let from = null;
  root.addEventListener("pointerdown", (event) => {
    const frame = event.target.closest(".lr-window");
    if (!frame || view.zoom === 1) return;
    from = { x: event.clientX, y: event.clientY, side: frame.clientWidth * view.zoom };
    frame.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  root.addEventListener("pointermove", (event) => {
    if (!from) return;
    view.x -= (event.clientX - from.x) / from.side;
    view.y -= (event.clientY - from.y) / from.side;
    from.x = event.clientX;
    from.y = event.clientY;
    apply();
  });
  root.addEventListener("pointerup", () => { from = null; });
  root.addEventListener("pointercancel", () => { from = null; });
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  pair.tabIndex = 0;
  pair.setAttribute("role", "group");
  pair.setAttribute("aria-label", "two pictures under a slider; once enlarged, arrow keys move all pictures");
  pair.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || view.zoom === 1) return;
    event.preventDefault();
    view.x += step[0] * 0.05;
    view.y += step[1] * 0.05;
    apply();
  });
  box.replaceChildren(root);
  say();
  apply();
};

/* On a study's page: the pictures that were made with the site, by setting and face. */
addEventListener("DOMContentLoaded", () => {
  const box = document.getElementById("lr-compared");
  if (!box) return;
  const [setting, face] = box.querySelectorAll("select");
  for (const name of Object.keys(window.lrCompared)) setting.append(new Option(name));
  window.lrCompared["4x"].forEach((_, i) => face.append(new Option(`face ${i + 1}`, i)));
  setting.value = "4x";
  const show = () => {
    const items = window.lrCompared[setting.value][face.value].map((item) => ({
      name: item.name,
      picture: `../_static/play/faces/${item.file}`,
      psnr: Number(item.psnr || 0),
      note: item.psnr ? `${item.psnr} dB` : "",
    }));
    window.lrCompare(box.querySelector("div"), items);
  };
  setting.onchange = show;
  face.onchange = show;
  show();
});
