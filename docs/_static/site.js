/* Makes pages that are complete without it easier to read: tables that sort, search and keep their first columns,
   pictures that enlarge, code that one click shows. No request beyond the page's own files. */
(() => {
  "use strict";
  const LONG = 12; // rows above which a table is searched and sorted
  const CELL = /^(.+?) (\[[^\]]+\])(?: \(([^)]+)\))?$/; // measured [low, high] (published)

  const make = (tag, fields = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), fields);
    element.append(...children);
    return element;
  };

  function foldedCode(article) {
    const cells = [...article.querySelectorAll("details.hide")];
    if (!cells.length) return;
    const button = make("button", { type: "button", className: "lr-all-code", textContent: "Show all code" });
    button.onclick = () => {
      const open = button.textContent.startsWith("Show");
      cells.forEach((cell) => { cell.open = open; });
      button.textContent = open ? "Fold all code" : "Show all code";
    };
    article.querySelector("h1").before(button);
  }

  function threeLines(cell) {
    // a number, its interval and what was published below each other: three narrow lines for a wide one
    const found = CELL.exec(cell.textContent.trim());
    if (!found) return;
    const bold = cell.querySelector("strong, b") !== null;
    const value = make(bold ? "strong" : "span", { className: "lr-value", textContent: found[1] });
    cell.dataset.order = found[1].replace("−", "-");
    cell.replaceChildren(value, make("span", { className: "lr-ci", textContent: found[2] }));
    if (found[3]) cell.append(make("span", { className: "lr-printed", textContent: found[3] }));
  }

  function withoutNumbers(table) {
    // the numbers of a data frame's rows say nothing
    const heads = table.tHead ? [...table.tHead.rows] : [];
    const body = [...table.tBodies].flatMap((part) => [...part.rows]);
    const plain = heads.every((row) => row.cells[0].textContent.trim() === "")
      && body.every((row) => row.cells[0].tagName === "TH" && /^\d+$/.test(row.cells[0].textContent.trim()));
    if (heads.length === 1 && body.length && plain) [...heads, ...body].forEach((row) => row.cells[0].remove());
  }

  function scrolling(table, label) {
    const box = make("div", { className: "lr-scroll", role: "region", tabIndex: 0 });
    box.setAttribute("aria-label", label);
    const wrapper = table.closest(".table-wrapper");
    (wrapper || table).before(box);
    box.append(table);
    if (wrapper) wrapper.remove();
    return box;
  }

  function keepFirstColumns(table) {
    const rows = [...table.rows];
    const words = (cell) => cell && !/^[−+-]?[\d.]/.test(cell.textContent.trim());
    const body = table.tBodies[0] && table.tBodies[0].rows[0];
    const kept = body && words(body.cells[0]) && words(body.cells[1]) && innerWidth > 300 ? 2 : 1;
    if (!body || body.cells.length < 4) return;
    const first = body.cells[0].offsetWidth;
    if (kept === 2 && first + body.cells[1].offsetWidth > table.parentElement.clientWidth / 2) return stick(1);
    stick(kept);
    function stick(n) {
      for (const row of rows) {
        for (let i = 0; i < n && i < row.cells.length; i += 1) {
          row.cells[i].classList.add("lr-stays");
          row.cells[i].style.left = i ? `${first}px` : "0";
        }
      }
    }
  }

  function searched(table, search = "") {
    return new DataTable(table, {
      paging: false,
      order: [],
      autoWidth: false,
      search: { search },
      layout: { topStart: "search", topEnd: "info", bottomStart: null, bottomEnd: null },
      language: { search: "search", info: "_TOTAL_ rows", infoFiltered: "(of _MAX_)", infoEmpty: "no row" },
    });
  }

  function filtered(table, api) {
    const form = table.closest("[data-filters]");
    if (!form) return;
    for (const select of form.querySelectorAll("select[data-column]")) {
      select.onchange = () => {
        const exact = select.dataset.column === "0";
        const value = select.value;
        api.column(Number(select.dataset.column))
          .search(value ? (text) => (exact ? text === value : text.includes(value)) : "")
          .draw();
      };
    }
  }

  function tables(article) {
    const asked = new URLSearchParams(location.search).get("q") || "";
    let heading = document.title;
    for (const element of article.querySelectorAll("h1, h2, h3, table")) {
      if (element.tagName !== "TABLE") { heading = element.firstChild.textContent; continue; }
      const ours = element.dataset.table;
      const computed = element.closest("div.cell_output") !== null;
      if (element.classList.contains("dataframe")) withoutNumbers(element);
      if (computed) element.querySelectorAll("td").forEach(threeLines);
      const rows = element.tBodies.length ? element.tBodies[0].rows.length : 0;
      const plain = !element.querySelector("[rowspan], [colspan]");
      if (element.classList.contains("lr-cards")) { filtered(element, searched(element)); continue; }
      if (element.rows[0] && element.rows[0].cells.length < 4 && !ours) element.classList.add("lr-words");
      const box = scrolling(element, `Table: ${heading}`);
      box.classList.toggle("lr-tall", rows > LONG && !element.classList.contains("lr-words"));
      if (ours || (computed && rows > LONG && element.tHead && plain)) {
        box.replaceWith(element);
        searched(element, ours === "evidence" ? asked : "");
        element.before(box);
        box.append(element);
      }
      if (!ours || ours === "networks") keepFirstColumns(element);
    }
  }

  function pictures(article) {
    const viewer = make("dialog", { className: "lr-viewer" });
    const large = make("img", { alt: "" });
    const close = make("button", { type: "button", className: "lr-button", textContent: "Close" });
    viewer.append(close, make("div", { tabIndex: 0 }, large));
    viewer.setAttribute("aria-label", "Enlarged figure");
    close.onclick = () => viewer.close();
    large.onclick = () => viewer.classList.toggle("lr-whole");
    for (const image of article.querySelectorAll("div.cell_output img")) {
      const button = make("button", { type: "button", className: "lr-enlarge" });
      button.setAttribute("aria-label", `Enlarge. ${image.alt}`);
      button.onclick = () => {
        large.src = image.src;
        large.alt = image.alt;
        viewer.classList.remove("lr-whole");
        viewer.showModal();
      };
      image.before(button);
      button.append(image);
    }
    document.body.append(viewer);
  }

  function target() {
    const chosen = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!chosen) return;
    const details = chosen.querySelector("details");
    if (details && chosen.tagName === "TR") details.open = true;
    chosen.scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const article = document.querySelector("article");
    if (!article || !article.querySelector("h1")) return;
    foldedCode(article);
    tables(article);
    pictures(article);
    target();
    addEventListener("hashchange", target);
  });
})();
